// Which GPU the benchmarks run on, in Node on Dawn.
import { create, globals } from 'webgpu';
import { chromiumPath, useSwiftShader, useVulkanDriver, vulkanFolder } from '../scripts/software-gpu.mjs';

/**
 * Toggles of Dawn that a stock browser does not have, and that ONNX Runtime's native engine turns on for
 * itself (webgpu_context.cc): no clamping of indices, no validation. What they gain is printed in columns of
 * its own.
 */
export const TUNED = 'disable_robustness,skip_validation';

/**
 * Makes every Vulkan program of this process use one driver. Call it before the first of them is loaded.
 * @param adapter `any` (what the system has), `swiftshader`, or the path of a Vulkan driver's ICD file
 */
export async function useAdapter(adapter) {
  if (adapter === 'any') return;
  if (adapter === 'swiftshader') {
    useSwiftShader(vulkanFolder(await chromiumPath()));
    return;
  }
  // A system without a Vulkan loader borrows Chromium's; one that has neither hears of it from Dawn.
  const folder = process.env.BENCH_LIBRARY ? undefined : vulkanFolder(await chromiumPath());
  useVulkanDriver(adapter, folder && `${folder}/libvulkan.so.1`);
}

/**
 * Gives this process `navigator.gpu`. @param toggles of Dawn, separated by commas; none: as a stock browser
 */
export async function installWebGpu(adapter, toggles = process.env.DAWN_FEATURES) {
  await useAdapter(adapter);
  Object.assign(globalThis, globals);
  const gpu = create(toggles ? [`enable-dawn-features=${toggles}`] : []);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
}
