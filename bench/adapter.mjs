// Selects the GPU adapter of the benchmarks in Node (Dawn).
import { create, globals } from 'webgpu';
import { chromiumPath, useSwiftShader, useVulkanDriver, vulkanFolder } from '../scripts/software-gpu.mjs';

/**
 * Dawn's toggles for "tuned" flags: no clamping of indices, no validation. A browser does not set these
 * toggles, but ONNX Runtime's native engine does (webgpu_context.cc). Results with these toggles are printed
 * in separate columns.
 */
export const TUNED = 'disable_robustness,skip_validation';

/**
 * Makes all Vulkan libraries of this process use one driver. Call it before a Vulkan library is loaded.
 * @param adapter `any` (the system's default), `swiftshader`, or the path of a Vulkan driver's ICD file
 */
export async function useAdapter(adapter) {
  if (adapter === 'any') return;
  if (adapter === 'swiftshader') {
    useSwiftShader(vulkanFolder(await chromiumPath()));
    return;
  }
  // If the system has no Vulkan loader, Chromium's loader is used. If Chromium has none either, Dawn reports
  // the error.
  const folder = process.env.BENCH_LIBRARY ? undefined : vulkanFolder(await chromiumPath());
  useVulkanDriver(adapter, folder && `${folder}/libvulkan.so.1`);
}

/**
 * Defines `navigator.gpu` in this process.
 * @param toggles Dawn's toggles, separated by commas. Without toggles, Dawn behaves as in a browser
 */
export async function installWebGpu(adapter, toggles = process.env.DAWN_FEATURES) {
  await useAdapter(adapter);
  Object.assign(globalThis, globals);
  const gpu = create(toggles ? [`enable-dawn-features=${toggles}`] : []);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
}
