/** Requests the GPU in Node, with the package `webgpu` (Dawn, Chromium's WebGPU). */
import { existsSync } from 'node:fs';
import { DeviceError } from '../errors.js';

/**
 * The GPU of this process. Kept here, because WebGPU stops working when the object is garbage-collected.
 */
let opened: Promise<GPU> | undefined;

/**
 * Requests an adapter. Uses `navigator.gpu` if there is one (Electron, or a program that has set it), else
 * the package `webgpu`, which is loaded now.
 *
 * @throws DeviceError WEBGPU_MISSING, ADAPTER_MISSING
 */
export async function requestNodeAdapter(): Promise<GPUAdapter> {
  const gpu = ((globalThis.navigator as Navigator | undefined)?.gpu as GPU | undefined) ?? (await open());
  let cause: unknown;
  const adapter = await gpu
    .requestAdapter({ powerPreference: 'high-performance' })
    .catch((error: unknown) => void (cause = error));
  if (adapter) return adapter;
  const found = cause === undefined ? '' : ` (${String(cause)})`;
  throw new DeviceError(
    'ADAPTER_MISSING',
    `No GPU adapter was found${found}. ${adviceFor(process.platform)}`,
    {
      cause,
    },
  );
}

function open(): Promise<GPU> {
  opened ??= load();
  opened.catch(() => (opened = undefined)); // a later call tries again, for example after an installation
  return opened;
}

async function load(): Promise<GPU> {
  try {
    const { create } = await import('webgpu');
    return create([]);
  } catch (cause) {
    const { code } = cause as { readonly code?: unknown };
    throw new DeviceError(
      'WEBGPU_MISSING',
      code === 'ERR_MODULE_NOT_FOUND'
        ? 'The package webgpu is missing, which gives Node access to the GPU. Install it: npm install webgpu'
        : `The package webgpu, which gives Node access to the GPU, could not be loaded on ${process.platform} ${process.arch} (${String(cause)}). It has binaries for Linux (glibc), macOS and Windows, on x64 and arm64. Install the newest version: npm install webgpu@latest`,
      { cause },
    );
  }
}

/** Says what to do if there is no adapter, on this platform. */
export function adviceFor(
  platform: string,
  drivers: string | undefined = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES'],
): string {
  if (platform === 'darwin')
    return 'WebGPU needs Metal: run on a Mac with macOS 11 or newer, not in a virtual machine.';
  if (platform === 'win32')
    return 'WebGPU needs Direct3D 12: install the current driver of the graphics card, and run in a session that may use the card.';
  const missing = (drivers ?? '').split(':').filter((path) => path !== '' && !existsSync(path));
  const variable =
    missing.length > 0
      ? `VK_DRIVER_FILES names a file that does not exist (${missing.join(', ')}). `
      : drivers
        ? `VK_DRIVER_FILES is ${drivers}: no other driver is tried. `
        : '';
  return (
    `${variable}WebGPU needs Vulkan: the loader (Debian, Ubuntu: apt install libvulkan1) and the driver of the GPU. ` +
    'In a container, give it the GPU with its graphics driver (NVIDIA: --gpus all -e NVIDIA_DRIVER_CAPABILITIES=all). ' +
    "Without a GPU, Mesa's software driver lavapipe works, slowly, from version 25 on (apt install mesa-vulkan-drivers); " +
    'if it is not found, set VK_DRIVER_FILES to its file, such as /usr/share/vulkan/icd.d/lvp_icd.json.'
  );
}
