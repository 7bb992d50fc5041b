/**
 * Acquires the GPU device: the caller's device, or one that all models of the page share. All work on the
 * device is done by tasks (`task.ts`). After a device is lost, Chrome reports almost no errors: submits are
 * ignored and error scopes stay empty. Therefore a task calls `check()` after every `await`. Firefox fails each
 * operation, and reports the loss later (`checkSoon`).
 */
import { describeAdapter, requestAdapter, type AdapterDescription } from './adapter.js';
import { DeviceError, DINOv2Error } from '../errors.js';
import type { LaneKernels } from './kernels/laneKernels.js';
import { GpuMemory } from './memory.js';
import { PipelineCache } from './pipelines.js';
import { Task, type Burst } from './task.js';
import { ThroughputEstimate } from './throughput.js';
import { shortenWaits } from './wait.js';

/**
 * Longest time in ms from a failure that a loss of the device causes until `device.lost` resolves, while the GPU has
 * no work.
 */
const LOSS_MS = 50;
/** The same while the GPU works: Firefox reports the loss when all submitted work has ended. */
const BUSY_LOSS_MS = 5000;

/**
 * A device with the state that the library keeps for it: buffers, pipelines, the throughput estimate, and
 * whether the device was lost.
 */
export class Gpu {
  /** The WebGPU device. */
  readonly device: GPUDevice;
  /** Describes the adapter of the device. */
  readonly info: AdapterDescription;
  /**
   * Kernels for software adapters, made for the subgroup size of this device. Undefined if the device uses
   * the tiled kernels.
   */
  readonly laneKernels: LaneKernels | undefined;
  /**
   * True if all kernels of an operation give the same bits. The self-test sets this property to false if the
   * kernels round differently with this driver. In that case, each operation uses a single kernel for all
   * input sizes.
   */
  alternativesAgree = true;
  /**
   * The first error on the library's own device that no task caught. Such an error is a bug of the library.
   */
  uncaptured: GPUError | undefined;
  /** The library's buffers on the device. */
  readonly memory: GpuMemory;
  /** The compiled kernels of the device. */
  readonly pipelines: PipelineCache;
  /**
   * Estimate of the floating-point operations per second. The initial estimate is that of a weak integrated
   * GPU, or of a software adapter.
   */
  readonly throughput: ThroughputEstimate;
  /** The time when the last measured work ended, by `performance.now`. */
  measuredUntilMs = 0;
  /** True if the library made the device. */
  readonly owned: boolean;
  #users = 0;
  #lost: GPUDeviceLostInfo | undefined;
  /** Functions that are called when the device is lost. */
  readonly #lostListeners = new Set<() => void>();

  /**
   * Makes the `Gpu` of a device. Loads the kernels for software adapters if the device needs them.
   *
   * @param owned true if the library made the device. The last call of `release` destroys such a device
   */
  static async of(device: GPUDevice, info: AdapterDescription, owned: boolean): Promise<Gpu> {
    return new Gpu(device, info, owned, await loadLaneKernels(device, info));
  }

  constructor(device: GPUDevice, info: AdapterDescription, owned: boolean, laneKernels?: LaneKernels) {
    this.device = device;
    this.info = info;
    this.laneKernels = laneKernels;
    this.owned = owned;
    // On a software adapter, the estimate has a lower bound. An adapter that seems slower than this bound
    // shares its CPU with other programs: more submits would slow it further, and no driver resets a
    // software adapter after a long submit.
    this.throughput = info.software ? new ThroughputEstimate(5e9, 5e9) : new ThroughputEstimate(5e11);
    this.memory = new GpuMemory(device);
    this.pipelines = new PipelineCache(device, info, () => this.checkSoon());
    shortenWaits(device);
    void device.lost.then((lost) => {
      this.#lost ??= lost;
      for (const listener of this.#lostListeners) listener();
    });
    if (owned)
      device.addEventListener('uncapturederror', ({ error }) => {
        this.uncaptured ??= error;
      });
  }

  /** Why the device was lost; undefined if it was not. */
  get lost(): GPUDeviceLostInfo | undefined {
    return this.#lost;
  }

  /** Throws if the device was lost. @throws DeviceError DEVICE_LOST */
  check(): void {
    if (this.#lost) throw lostError(this.#lost.reason, this.#lost.message.trim().replace(/\.?$/, '.'));
  }

  /**
   * Runs work on the device; see `Task`. When the task ends, its buffers are destroyed, except the buffers
   * that it keeps (`Task.keep`).
   *
   * @param label name of the work in error messages
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
    } catch (error) {
      if (error instanceof DeviceError && error.code === 'DEVICE_FAILED') await this.checkSoon();
      throw error;
    } finally {
      task.end(failed);
    }
  }

  /**
   * Does the same as `check`, but waits for a loss that may be the cause of a failure: operations of a lost
   * device may fail before `device.lost` resolves.
   */
  async checkSoon(): Promise<void> {
    this.check();
    const { device } = this;
    await new Promise<void>((resolve) => {
      const limit = setTimeout(resolve, BUSY_LOSS_MS);
      const end = (): void => {
        clearTimeout(limit); // a timer keeps a Node process alive
        resolve();
      };
      const soon = (): unknown => setTimeout(end, LOSS_MS);
      void device.lost.then(end);
      device.queue.onSubmittedWorkDone().then(soon, soon);
    });
    this.check();
  }

  /**
   * Creates buffers that the caller must destroy. Resolves when the device has allocated the buffers.
   *
   * @throws DeviceError if an allocation failed. In that case, no buffer exists
   */
  make<Result>(label: string, make: (burst: Burst) => Result): Promise<Result> {
    return this.task(label, undefined, async (task) => {
      const made = task.burst(make);
      await task.settled();
      task.keepAll();
      return made;
    });
  }

  /**
   * Runs `run`, but rejects as soon as the device is lost: promises of a lost device may never settle.
   */
  #untilLost<Result>(run: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const lost = (): void => {
        try {
          this.check();
        } catch (error) {
          reject(error as Error);
        }
      };
      this.#lostListeners.add(lost);
      void run()
        .then(resolve, reject)
        .finally(() => this.#lostListeners.delete(lost));
    });
  }

  /**
   * Converts what an error scope caught, or what a call of WebGPU threw, into the error that the task throws.
   * Returns the library's own errors unchanged.
   *
   * @param asked bytes of the buffers that the failed burst created
   * @param held bytes of the library's buffers before the burst
   * @throws DeviceError DEVICE_LOST, which is the cause if the device was lost
   */
  refusal(label: string, cause: unknown, asked = 0, held: number = this.memory.bytes): DINOv2Error {
    if (cause instanceof DINOv2Error) return cause;
    this.check();
    const why = (cause as Partial<Error>).message ?? String(cause);
    return isMemoryError(cause)
      ? new DeviceError(
          'DEVICE_MEMORY',
          `${label}: the GPU ran out of memory when asked for ${megabytes(asked)}, in addition to the ${megabytes(held)} that this library held. Use a smaller model, dtype, image or batch, or close other pages. (${why})`,
        )
      : new DeviceError('DEVICE_FAILED', `${label}: the GPU rejected an operation: ${why}`, { cause });
  }

  /**
   * Does the same as `refusal` for a rejected promise of WebGPU, which may reject a moment before the loss of the
   * device is known.
   */
  async rejection(label: string, cause: unknown): Promise<DINOv2Error> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return this.refusal(label, cause);
  }

  /**
   * Reads bytes of a buffer. `offset` and `bytes` are multiples of 4.
   *
   * @throws DeviceError DEVICE_LOST if the device is lost before the read completes; DEVICE_FAILED,
   *   DEVICE_MEMORY, DEVICE_LIMIT
   */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.check();
    try {
      const result = await this.memory.read(buffer, offset, bytes);
      this.check();
      return result;
    } catch (cause) {
      throw await this.rejection(`${buffer.label} (read back)`, cause);
    }
  }

  /** True if the adapter emulates a GPU on the CPU; see `AdapterDescription.software`. */
  get software(): boolean {
    return this.info.software;
  }

  /** Estimate of the adapter's floating-point operations per second. */
  get flopsPerSecond(): number {
    return this.throughput.flopsPerSecond;
  }

  /** Increments the number of users of the device. Call `release` once for each call of `retain`. */
  retain(): void {
    this.#users += 1;
  }

  /** Decrements the number of users. At 0, the device is destroyed if the library made it. */
  release(): void {
    this.#users -= 1;
    if (this.#users > 0 || !this.owned) return;
    // `device.lost` resolves later. Until then, `acquireGpu` must not return this device.
    this.#lost ??= {
      reason: 'destroyed',
      message: 'the last model on it was disposed of',
    } as GPUDeviceLostInfo;
    this.device.destroy();
  }
}

let shared: Promise<Gpu> | undefined;
const known = new WeakMap<GPUDevice, Promise<Gpu>>();

/**
 * Returns the `Gpu` of the caller's device, or of the shared device, which the first call makes. Calls
 * `retain` on the result: call `release` when the result is no longer used.
 *
 * @throws DeviceError WEBGPU_MISSING, WEBGPU_INSECURE, ADAPTER_MISSING, DEVICE_FAILED, DEVICE_LOST
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
      // A lost device is replaced by a new device, but only once. Any other error is thrown.
      if (shared === attempt) shared = undefined;
      if (!again || !(error instanceof DeviceError && error.code === 'DEVICE_LOST')) throw error;
    }
  }
}

async function requestOwnGpu(): Promise<Gpu> {
  const adapter = await requestAdapter();
  const has = (feature: GPUFeatureName): boolean => adapter.features.has(feature);
  // Kernels respect WebGPU's default limits. Only large inputs need the higher limits requested here.
  const { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D } = adapter.limits;
  const requiredLimits = { maxStorageBufferBindingSize, maxBufferSize, maxTextureDimension2D };
  const requiredFeatures = (['shader-f16', 'subgroups', 'timestamp-query'] as const).filter(has);
  const device = await adapter
    .requestDevice({ label: 'dinov2-webgpu', requiredLimits, requiredFeatures })
    .catch((cause: unknown) => {
      throw new DeviceError(
        'DEVICE_FAILED',
        `The GPU adapter failed to provide a device: ${String(cause)}. Reload the page. If the error persists, update the browser and the graphics driver.`,
        { cause },
      );
    });
  const made = Gpu.of(device, describeAdapter(adapter.info), true);
  known.set(device, made);
  return made;
}

/**
 * Loads the kernels for a software adapter whose subgroups all have 4 or 8 lanes. Returns undefined for other
 * devices, and if the file fails to load. In these cases the tiled kernels are used: they are correct on
 * every adapter, but slower on such a software adapter.
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

// Node has no global GPUOutOfMemoryError, so `instanceof` cannot be used.
const isMemoryError = (error: unknown): boolean =>
  (error as object).constructor.name === 'GPUOutOfMemoryError';

/** Makes the error of a call on a device that was lost, or that another one has replaced. */
export const lostError = (reason: string, why: string): DeviceError =>
  new DeviceError('DEVICE_LOST', `The GPU device was lost (${reason}): ${why} Compute the features again.`);

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
