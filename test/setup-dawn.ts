// Gives Node a `navigator.gpu`: Dawn on the adapter named by TEST_ADAPTER, else on a real GPU, else on
// SwiftShader. No adapter: the run fails.
import { writeFileSync } from 'node:fs';
import { create, globals } from 'webgpu';
import { pollLessOften, useSwiftShader, useVulkanDriver } from '../scripts/software-gpu.mjs';

Object.assign(globalThis, globals);
pollLessOften();

const wanted = process.env['TEST_ADAPTER'] ?? 'any'; // any | swiftshader | the path of a Vulkan driver's ICD file
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
  throw new Error(
    `No WebGPU adapter for TEST_ADAPTER=${wanted}: these tests cannot run, and do not pass without one.`,
  );
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });

const folder = process.env['TEST_ADAPTER_FOLDER'];
if (folder) {
  const { description, vendor } = adapter.info;
  writeFileSync(
    `${folder}/dawn-${process.pid}`,
    `Dawn in Node: ${description || vendor}${adapter.features.has('shader-f16') ? ', shader-f16' : ''}`,
  );
}
