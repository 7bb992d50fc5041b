// Gives Node a `navigator.gpu`: Dawn on the adapter named by TEST_ADAPTER, else on a real GPU, else on SwiftShader. No adapter: the run fails.
import { writeFileSync } from 'node:fs';
import { create, globals } from 'webgpu';
import { useSwiftShader, useVulkanDriver } from '../scripts/software-gpu.mjs';

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
if (!adapter) throw new Error(`No WebGPU adapter for TEST_ADAPTER=${wanted}: these tests cannot run, and do not pass without one.`);
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });

const folder = process.env['TEST_ADAPTER_FOLDER'];
if (folder) {
  const { description, vendor } = adapter.info;
  writeFileSync(`${folder}/dawn-${process.pid}`, `Dawn in Node: ${description || vendor}${adapter.features.has('shader-f16') ? ', shader-f16' : ''}`);
}

/**
 * While anything is under way Dawn asks for it again with every turn of the event loop, and keeps a core busy with that, which a software driver's compiler and
 * the other test files need. The first questions of a wait are asked at once, for what takes microseconds; those after them once in a millisecond.
 */
function pollLessOften(): void {
  const AT_ONCE = 50;
  const immediate = globalThis.setImmediate;
  let polling = false;
  let polls = 0;
  const patient = (callback: (...args: unknown[]) => void, ...args: unknown[]): unknown => {
    if (!/\[native code\]/.test(Function.prototype.toString.call(callback))) return immediate(callback, ...args);
    polls = polling ? polls + 1 : 0;
    const poll = (): void => {
      polling = true;
      try {
        callback(...args);
      } finally {
        polling = false;
      }
    };
    return polls < AT_ONCE ? immediate(poll) : setTimeout(poll, 1);
  };
  globalThis.setImmediate = Object.assign(patient, immediate) as typeof setImmediate;
}
