/**
 * The device that kernels run on: acquired once and shared by all models that bring none of their own, or
 * handed in by the caller. Work on it is a task (task.ts). After a device is lost almost nothing of WebGPU
 * reports an error (submits are silent, scopes are empty), so a task asks `check()` after whatever it awaits.
 */
import { describeAdapter, requestAdapter, type AdapterDescription } from './adapter.js';
import { DeviceError } from '../errors.js';
import type { LaneKernels } from './kernels/laneKernels.js';
import { GpuMemory } from './memory.js';
import { PipelineCache } from './pipelines.js';
import { Task, type Burst } from './task.js';
import { Throughput } from './throughput.js';
import { shortenWaits } from './wait.js';

/** A device with what the library keeps for it: pipelines, byte counters, and whether it is still there. */
export class Gpu {
  readonly device: GPUDevice;
  readonly info: AdapterDescription;
  /** The kernels for this device's subgroups. Undefined: it runs the tiled kernels. */
  readonly laneKernels: LaneKernels | undefined;
  /**
   * Kernels that should give the same bits do. The self-test clears it where a driver rounds them
   * differently: then the size of the input chooses nothing.
   */
  alternativesAgree = true;
  /** The first error on the library's own device that no task caught: a fault of the library. */
  uncaptured: GPUError | undefined;
  readonly memory: GpuMemory;
  readonly pipelines: PipelineCache;
  /** Starts with a cautious guess: a weak integrated GPU. */
  readonly throughput: Throughput;
  /** When the last work ended that was measured, by `performance.now`. */
  measuredUntilMs = 0;
  readonly #owned: boolean;
  #users = 0;
  #lost: GPUDeviceLostInfo | undefined;
  /** Called when the device is lost. */
  readonly #waiting = new Set<() => void>();

  /**
   * A `Gpu` with the kernels that are for its device.
   *
   * @param owned the device is the library's own: the last `release` destroys it
   */
  static async of(device: GPUDevice, info: AdapterDescription, owned: boolean): Promise<Gpu> {
    return new Gpu(device, info, owned, await loadLaneKernels(device, info));
  }

  constructor(device: GPUDevice, info: AdapterDescription, owned: boolean, laneKernels?: LaneKernels) {
    this.device = device;
    this.info = info;
    this.laneKernels = laneKernels;
    this.#owned = owned;
    // A software adapter that seems slower shares its processor; more submits would make it slower still, and no
    // driver resets it.
    this.throughput = info.software ? new Throughput(5e9, 5e9) : new Throughput(5e11);
    this.memory = new GpuMemory(device);
    this.pipelines = new PipelineCache(device, info);
    shortenWaits(device);
    void device.lost.then((lost) => {
      this.#lost ??= lost;
      for (const tell of this.#waiting) tell();
    });
    if (owned)
      device.addEventListener('uncapturederror', ({ error }) => {
        this.uncaptured ??= error;
      });
  }

  /** @throws DeviceError DEVICE_LOST */
  check(): void {
    if (this.#lost) {
      const why = this.#lost.message.trim().replace(/\.?$/, '.');
      throw new DeviceError(
        'DEVICE_LOST',
        `The GPU device was lost (${this.#lost.reason}): ${why} Load the model again; reload the page if that fails.`,
      );
    }
  }

  /**
   * Runs a piece of work on the device: see Task. What it made is freed when it ends, unless it was kept.
   *
   * @param label of the work, for error messages
   * @throws what `run` throws; DeviceError DEVICE_MEMORY, DEVICE_FAILED, DEVICE_LOST, DISPOSED; the signal's
   *   reason
   */
  async task<Result>(
    label: string,
    signal: AbortSignal | undefined,
    run: (task: Task) => Result | Promise<Result>,
  ): Promise<Result> {
    this.check();
    signal?.throwIfAborted();
    const task = new Task(this, label, signal);
    let failed = true;
    try {
      const result = await this.#untilLost(async () => {
        const value = await run(task);
        await task.finish();
        return value;
      });
      failed = false;
      return result;
    } finally {
      task.end(failed);
    }
  }

  /**
   * Makes buffers that the caller destroys. Resolves when the device has them.
   *
   * @throws DeviceError; nothing is left then
   */
  make<Result>(label: string, make: (burst: Burst) => Result): Promise<Result> {
    return this.task(label, undefined, async (task) => {
      const made = task.burst(make);
      await task.settled();
      task.keepAll();
      return made;
    });
  }

  /** A device that is lost answers nothing any more: nobody waits for it. */
  #untilLost<Result>(run: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const lost = (): void => {
        try {
          this.check();
        } catch (error) {
          reject(error as Error);
        }
      };
      this.#waiting.add(lost);
      void run()
        .then(resolve, reject)
        .finally(() => this.#waiting.delete(lost));
    });
  }

  /** What a task throws when the device has refused something of it. */
  refusal(label: string, error: GPUError): DeviceError {
    const { bytes } = this.memory;
    return isMemoryError(error)
      ? new DeviceError(
          'DEVICE_MEMORY',
          `${label}: the GPU ran out of memory with ${bytes} bytes of this library on it. Use a smaller model, image or batch, or close other pages. (${error.message})`,
        )
      : new DeviceError('DEVICE_FAILED', `${label}: the GPU refused an operation: ${error.message}`);
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

  /** What the adapter is believed to compute. */
  get flopsPerSecond(): number {
    return this.throughput.flopsPerSecond;
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

let shared: Promise<Gpu> | undefined;
const known = new WeakMap<GPUDevice, Promise<Gpu>>();

/**
 * The `Gpu` of a device that the caller made, or the library's own (made at the first call). It is retained
 * already: `release` it in the end.
 */
export async function acquireGpu(device?: GPUDevice): Promise<Gpu> {
  if (device) {
    let made = known.get(device);
    if (!made) known.set(device, (made = Gpu.of(device, describeAdapter(device.adapterInfo), false)));
    const gpu = await made;
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
  const made = Gpu.of(device, describeAdapter(adapter.info), true);
  known.set(device, made);
  return made;
}

/**
 * The kernels of a software adapter whose subgroups all have 4 or 8 lanes. Undefined for other devices, and if
 * their file cannot be loaded: the tiled kernels are right on such an adapter too, and slower.
 */
async function loadLaneKernels(
  { features, adapterInfo }: GPUDevice,
  { software }: AdapterDescription,
): Promise<LaneKernels | undefined> {
  if (!software || !features.has('subgroups')) return undefined;
  const { subgroupMinSize: lanes, subgroupMaxSize } = adapterInfo;
  if (lanes !== subgroupMaxSize || (lanes !== 4 && lanes !== 8)) return undefined;
  return import('./kernels/laneKernels.js').then(
    ({ laneKernels }) => laneKernels[lanes],
    () => undefined,
  );
}

// The classes of GPU errors are globals in browsers alone, so the name decides.
const isMemoryError = (error: GPUError): boolean => error.constructor.name === 'GPUOutOfMemoryError';
