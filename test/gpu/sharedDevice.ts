// One device for all test files of a process, so that each pipeline is compiled once. A file that loses, breaks or
// fakes its device, or counts compiled pipelines, requests a separate device (`requestDevice`).
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { asGpu, requestDevice } from './tiny.ts';

interface Shared {
  readonly device: GPUDevice;
  readonly gpu: Gpu;
  /** The reason, once the device is lost. */
  lost: string | undefined;
}

const shared = new Map<string, Promise<Shared>>();

async function open(features: readonly GPUFeatureName[], tiles = false): Promise<Shared> {
  const adapter = await requestAdapter();
  const present = features.filter((feature) => adapter.features.has(feature));
  const key = [tiles, ...present].join();
  let opened = shared.get(key);
  if (!opened) {
    opened = (async () => {
      const device = tiles ? asGpu(await requestDevice(present)) : await requestDevice(present);
      const made: Shared = { device, gpu: await acquireGpu(device), lost: undefined };
      void device.lost.then(({ reason }) => (made.lost = reason));
      return made;
    })();
    shared.set(key, opened);
  }
  return opened;
}

/** The process's device with WebGPU's default limits. Tests must not destroy it, and must free their buffers. */
export const sharedDevice = async (): Promise<GPUDevice> => (await open([])).device;

/** A `Gpu` on a shared device, with shader-f16 if the adapter supports it. */
export const sharedGpu = async (): Promise<Gpu> => (await open(['shader-f16'])).gpu;

/** A shared device that reports a GPU and so uses the tiled kernels, which take seconds to compile in software. */
export const sharedTiles = async (): Promise<GPUDevice> => (await open([], true)).device;

/** Names of methods replaced by an assignment or vi.spyOn, found as own properties that hide the prototype's. */
function replaced(name: string, object: object): string[] {
  const methods = Object.getOwnPropertyDescriptors(Object.getPrototypeOf(object) as object);
  return Object.entries(Object.getOwnPropertyDescriptors(object))
    .filter(([key, { value }]) => typeof value === 'function' && value !== methods[key]?.value)
    .map(([key]) => `${name}.${key} is replaced`);
}

/**
 * Lists what a test file left on the shared devices and on `navigator.gpu` that could affect the next file. Waits
 * for buffers to be freed, because `dispose()` returns before running forwards have ended.
 */
export async function leftovers(): Promise<string[]> {
  const found = replaced('navigator.gpu', navigator.gpu);
  for (const opened of shared.values()) {
    const { device, gpu, lost } = await opened;
    if (lost !== undefined) found.push(`the shared device is lost: ${lost}`);
    found.push(...replaced('device', device), ...replaced('device.queue', device.queue));
    for (let wait = 0; gpu.memory.buffers > 0 && wait < 100; wait++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    if (gpu.memory.buffers > 0)
      found.push(`${gpu.memory.buffers} buffers, ${gpu.memory.bytes} bytes, are left on the shared device`);
  }
  return found;
}
