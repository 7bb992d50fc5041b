// Provides `navigator.gpu` in Node: Dawn on the adapter named by TEST_ADAPTER, else on a real GPU, else on
// SwiftShader. Without an adapter the run fails. Vitest runs this file before every test file. The test files
// of a process share one Dawn, so each file is checked for resources it leaves behind.
import { writeFileSync } from 'node:fs';
import { afterAll, expect } from 'vitest';
import { create, globals } from 'webgpu';
import { pollLessOften, useSwiftShader, useVulkanDriver } from '../scripts/software-gpu.mjs';
import { leftovers } from './gpu/sharedDevice.ts';

if (globalThis.navigator?.gpu === undefined) await openDawn();

const { setImmediate: immediate, fetch: fetched } = globalThis;
const environment = { ...process.env };
afterAll(async () => {
  const left = await leftovers();
  if (globalThis.setImmediate !== immediate || globalThis.fetch !== fetched)
    left.push('a global is replaced');
  for (const name of new Set([...Object.keys(environment), ...Object.keys(process.env)]))
    if (environment[name] !== process.env[name]) left.push(`process.env.${name} is changed`);
  expect(left, 'resources and globals that this test file leaves behind').toEqual([]);
});

async function openDawn(): Promise<void> {
  Object.assign(globalThis, globals);
  pollLessOften();

  const wanted = process.env['TEST_ADAPTER'] ?? 'any'; // any | swiftshader | path of a Vulkan driver's ICD file
  const features = process.env['DAWN_FEATURES'];
  const options = features ? [`enable-dawn-features=${features}`] : [];
  const swiftShader = process.env['SWIFTSHADER_DIR'] ?? '';

  if (wanted === 'swiftshader') useSwiftShader(swiftShader);
  else if (wanted !== 'any') useVulkanDriver(wanted, swiftShader && `${swiftShader}/libvulkan.so.1`);
  let gpu = create(options);
  let adapter = await gpu.requestAdapter().catch(() => null);
  if (!adapter && wanted === 'any') {
    useSwiftShader(swiftShader);
    gpu = create(options);
    adapter = await gpu.requestAdapter().catch(() => null);
  }
  if (!adapter)
    throw new Error(`No WebGPU adapter for TEST_ADAPTER=${wanted}: these tests fail without an adapter.`);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });

  const folder = process.env['TEST_ADAPTER_FOLDER'];
  if (folder) {
    const { description, vendor } = adapter.info;
    writeFileSync(
      `${folder}/dawn-${process.pid}`,
      `Dawn in Node: ${description || vendor}${adapter.features.has('shader-f16') ? ', shader-f16' : ''}`,
    );
  }
}
