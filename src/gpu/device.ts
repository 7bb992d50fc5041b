/**
 * The device that kernels run on: acquired once and shared by all models that bring none of their own, or
 * handed in by the caller. After a device is lost almost nothing of WebGPU reports an error (submits are
 * silent, scopes are empty), so everything that is awaited here asks `gpu.check()` before its result is
 * believed.
 */
import { DeviceError } from '../errors.js';
import { GpuMemory } from './memory.js';
import { PipelineCache } from './pipelines.js';
import { shortenWaits } from './wait.js';

/** A device with what the library keeps for it: pipelines, byte counters, and whether it is still there. */
export class Gpu {
  readonly device: GPUDevice;
  readonly info: AdapterDescription;
  /** Lanes of every subgroup, on an adapter that is a processor and has kernels for that many. */
  readonly lanes: 4 | 8 | undefined;
  /**
   * Kernels that should give the same bits do. The self-test clears it where a driver rounds them
   * differently: then the size of the input chooses nothing.
   */
  alternativesAgree = true;
  readonly memory: GpuMemory;
  readonly pipelines: PipelineCache;
  readonly #owned: boolean;
  #flopsPerSecond: number;
  #users = 0;
  #lost: GPUDeviceLostInfo | undefined;
  #error: GPUError | undefined;

  constructor(device: GPUDevice, info: AdapterDescription, owned: boolean) {
    this.device = device;
    this.info = info;
    this.lanes =
      info.software && device.features.has('subgroups') ? subgroupLanes(device.adapterInfo) : undefined;
    this.#owned = owned;
    this.#flopsPerSecond = info.software ? 5e9 : 5e11;
    this.memory = new GpuMemory(device);
    this.pipelines = new PipelineCache(device, info);
    shortenWaits(device);
    void device.lost.then((lost) => {
      this.#lost ??= lost;
    });
    // On a device of the caller's, errors that nobody caught may be the caller's own: there `watching` asks
    // for ours.
    if (owned) {
      device.addEventListener('uncapturederror', ({ error }) => {
        this.#error ??= error;
      });
    }
  }

  /** @throws DeviceError DEVICE_LOST, or what the device has complained about since the last check. */
  check(): void {
    if (this.#lost) {
      const why = this.#lost.message.trim().replace(/\.?$/, '.');
      throw new DeviceError(
        'DEVICE_LOST',
        `The GPU device was lost (${this.#lost.reason}): ${why} Load the model again; reload the page if that fails.`,
      );
    }
    const error = this.#error;
    this.#error = undefined;
    if (error)
      throw new DeviceError(
        isMemoryError(error) ? 'DEVICE_MEMORY' : 'DEVICE_FAILED',
        `The GPU refused an operation: ${error.message}`,
      );
  }

  /**
   * Runs `submit`, whose errors WebGPU reports later. On the library's own device the next `check` tells
   * them, and nothing is waited for; on a caller's device they are asked for here.
   */
  async watching(submit: () => void): Promise<void> {
    if (this.#owned) {
      submit();
      return;
    }
    this.device.pushErrorScope('validation');
    let verdict: Promise<GPUError | null>;
    try {
      submit();
    } finally {
      verdict = this.device.popErrorScope();
      verdict.catch(() => undefined);
    }
    const error = await verdict.catch(() => null); // a scope of a lost device rejects: check() has the reason
    this.check();
    if (error) throw new DeviceError('DEVICE_FAILED', `The GPU refused an operation: ${error.message}`);
  }

  /**
   * Runs `allocate`, then waits for the device's verdict on its buffers: a failed allocation is an error
   * here, not silence later.
   */
  async allocating<T>(allocate: () => T): Promise<T> {
    this.check();
    this.device.pushErrorScope('validation');
    this.device.pushErrorScope('out-of-memory');
    let result: T;
    let settled: Promise<(GPUError | null)[]>;
    try {
      result = allocate();
    } finally {
      settled = Promise.all([this.device.popErrorScope(), this.device.popErrorScope()]);
      settled.catch(() => undefined); // where `allocate` throws, nobody awaits them
    }
    const errors = await settled.catch((cause: unknown) => {
      this.check();
      throw new DeviceError(
        'DEVICE_LOST',
        'The GPU device was lost while memory was allocated. Load the model again.',
        { cause },
      );
    });
    for (const error of errors) {
      if (!error) continue;
      const { bytes } = this.memory;
      if (!isMemoryError(error))
        throw new DeviceError('DEVICE_FAILED', `The GPU refused an allocation: ${error.message}`);
      throw new DeviceError(
        'DEVICE_MEMORY',
        `The GPU ran out of memory with ${bytes} bytes of this library on it. Use a smaller model, image or batch, or close other pages. (${error.message})`,
      );
    }
    this.check();
    return result;
  }

  /**
   * Copies bytes back from a buffer (`offset` and `bytes` multiples of 4).
   * @throws DeviceError DEVICE_LOST if the device went meanwhile: reading back is where a lost device is
   *   noticed
   */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.check();
    try {
      const result = await this.memory.read(buffer, offset, bytes);
      this.check();
      return result;
    } catch (cause) {
      // mapAsync may reject a moment before `lost` resolves.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.check();
      throw cause instanceof DeviceError
        ? cause
        : new DeviceError(
            'DEVICE_FAILED',
            `${buffer.label}: could not be read back (${String(cause)}). Load the model again.`,
            { cause },
          );
    }
  }

  /** See `AdapterDescription.software`. */
  get software(): boolean {
    return this.info.software;
  }

  /**
   * What the adapter is believed to compute: a cautious guess at first (a weak integrated GPU), raised by
   * what is measured.
   */
  get flopsPerSecond(): number {
    return this.#flopsPerSecond;
  }

  /**
   * Only ever raises the estimate: a browser that reports the end of work late makes an adapter look slow.
   */
  sawThroughput(flopsPerSecond: number): void {
    this.#flopsPerSecond = Math.max(this.#flopsPerSecond, flopsPerSecond);
  }

  /** Counts a user of the device. */
  retain(): void {
    this.#users += 1;
  }

  /** Takes back a `retain`; the last one destroys the device, if it is the library's own. */
  release(): void {
    this.#users -= 1;
    if (this.#users > 0 || !this.#owned) return;
    // Known at once: `lost` resolves later, and nobody may acquire this device meanwhile.
    this.#lost ??= {
      reason: 'destroyed',
      message: 'the last model that used it was disposed of',
    } as GPUDeviceLostInfo;
    this.device.destroy();
  }
}

/** What is known of an adapter, as plain data. */
export interface AdapterDescription {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly isFallbackAdapter: boolean;
  /**
   * A processor plays the GPU (SwiftShader, llvmpipe, WARP): right, and slow. Other kernels are fast there,
   * and submits are kept short.
   */
  readonly software: boolean;
}

let shared: Promise<Gpu> | undefined;
const known = new WeakMap<GPUDevice, Gpu>();

/**
 * The `Gpu` of a device that the caller made, or the library's own (made at the first call). It is retained
 * already: `release` it in the end.
 */
export async function acquireGpu(device?: GPUDevice): Promise<Gpu> {
  if (device) {
    const gpu = known.get(device) ?? new Gpu(device, describeAdapter(device.adapterInfo), false);
    known.set(device, gpu);
    gpu.check();
    gpu.retain();
    return gpu;
  }
  for (let again = true; ; again = false) {
    const attempt = (shared ??= requestOwnGpu());
    try {
      const gpu = await attempt;
      gpu.check();
      gpu.retain();
      return gpu;
    } catch (error) {
      // A lost device is replaced by a new one, once; any other failure is the caller's to see.
      if (shared === attempt) shared = undefined;
      if (!again || !(error instanceof DeviceError && error.code === 'DEVICE_LOST')) throw error;
    }
  }
}

async function requestOwnGpu(): Promise<Gpu> {
  const adapter = await requestAdapter();
  const has = (feature: GPUFeatureName): boolean => adapter.features.has(feature);
  // Kernels stay inside WebGPU's default limits; what is asked for beyond them is memory, for large inputs.
  const { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D } = adapter.limits;
  const requiredLimits = { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D };
  const requiredFeatures = (['shader-f16', 'subgroups', 'timestamp-query'] as const).filter(has);
  const device = await adapter
    .requestDevice({ label: 'dinov2-webgpu', requiredLimits, requiredFeatures })
    .catch((cause: unknown) => {
      throw new DeviceError(
        'DEVICE_FAILED',
        `The GPU adapter gave no device: ${String(cause)}. Reload the page; update the browser or the graphics driver if it happens again.`,
        { cause },
      );
    });
  const gpu = new Gpu(device, describeAdapter(adapter.info), true);
  known.set(device, gpu);
  return gpu;
}

/** @throws DeviceError WEBGPU_MISSING, WEBGPU_INSECURE or ADAPTER_MISSING, each with what to do. */
export async function requestAdapter(): Promise<GPUAdapter> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu as GPU | undefined;
  if (!gpu) {
    if (globalThis.isSecureContext === false) {
      throw new DeviceError(
        'WEBGPU_INSECURE',
        'WebGPU needs a secure page. Open it over https, or from localhost.',
      );
    }
    throw new DeviceError(
      'WEBGPU_MISSING',
      'There is no WebGPU here (navigator.gpu is absent). Use a current Chrome, Edge, Safari or Firefox; in Node, the package `webgpu`.',
    );
  }
  const adapter = await gpu
    .requestAdapter({ powerPreference: 'high-performance' })
    .catch((cause: unknown) => {
      throw new DeviceError(
        'ADAPTER_MISSING',
        `WebGPU failed when it was asked for a GPU: ${String(cause)}. Restart the browser; update it or the graphics driver if it happens again.`,
        { cause },
      );
    });
  if (adapter) return adapter;
  throw new DeviceError(
    'ADAPTER_MISSING',
    'WebGPU is here, but offers no GPU. Turn on hardware acceleration in the browser, update the graphics driver, and restart the browser: it may also have blocked the GPU after crashes.',
  );
}

export function describeAdapter(info: GPUAdapterInfo | undefined): AdapterDescription {
  const { vendor = '', architecture = '', description = '', isFallbackAdapter = false } = info ?? {};
  const software =
    isFallbackAdapter ||
    /swiftshader|llvmpipe|lavapipe|\bwarp\b|basic render/i.test(`${vendor} ${architecture} ${description}`);
  return { vendor, architecture, description, isFallbackAdapter, software };
}

/** How many lanes every subgroup has, if the adapter promises one size and it is 4 or 8. */
function subgroupLanes({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo): 4 | 8 | undefined {
  return subgroupMinSize === subgroupMaxSize && (subgroupMinSize === 4 || subgroupMinSize === 8)
    ? subgroupMinSize
    : undefined;
}

// The classes of GPU errors are globals in browsers alone, so the name decides.
const isMemoryError = (error: GPUError): boolean => error.constructor.name === 'GPUOutOfMemoryError';
