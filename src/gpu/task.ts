/**
 * Tasks: the only way to allocate, dispatch, submit and read on a device. A task is a named piece of
 * asynchronous work. A task uses the device in bursts: synchronous functions, each inside its own error
 * scopes. Therefore each GPU error is reported to the task that caused the error and to no other code, even
 * on a device that the caller provided.
 */
import { DeviceError, type DINOv2Error } from '../errors.js';
import type { Lease } from './lease.js';
import type { GpuMemory } from './memory.js';
import type { CompiledKernel, PipelineCache } from './pipelines.js';
import type { CompiledRender } from './renderPipelines.js';
import { scoped } from './scopes.js';
import type { ThroughputEstimate } from './throughput.js';
import { submittedWorkDone } from './wait.js';

/** An upload awaits `Task.settled` after each chunk of this many bytes. */
export const SETTLE_BYTES: number = 16 * 2 ** 20;

/**
 * The part of `Gpu` that tasks use. Declared here so that `task.ts` and `device.ts` do not import each other.
 */
export interface TaskGpu {
  /** The WebGPU device. */
  readonly device: GPUDevice;
  /** The library's buffers on the device. */
  readonly memory: GpuMemory;
  /** The compiled kernels of the device. */
  readonly pipelines: PipelineCache;
  /** Estimate of the adapter's floating-point operations per second. */
  readonly throughput: ThroughputEstimate;
  /** The time when the last measured work ended, by `performance.now`. */
  measuredUntilMs: number;
  /** Throws if the device was lost. @throws DeviceError DEVICE_LOST */
  check(): void;
  /** Converts what an error scope caught, or what a call of WebGPU threw; see `Gpu.refusal`. */
  refusal(label: string, cause: unknown, asked?: number, held?: number): DINOv2Error;
  /** Converts what a promise of WebGPU rejected with; see `Gpu.rejection`. */
  rejection(label: string, cause: unknown): Promise<DINOv2Error>;
  /** Reads bytes of a buffer. @throws DeviceError */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer>;
}

/** A buffer, or a part of a buffer, to bind to a kernel. */
export type Bound = GPUBuffer | GPUBufferBinding;

/**
 * The GPU operations of one burst of a task. All commands that the burst encodes are submitted together at
 * the end of the burst.
 */
export class Burst {
  readonly #gpu: TaskGpu;
  readonly #label: string;
  readonly #made: Set<GPUBuffer>;
  /** Called with every buffer that this burst uses, so that the task throws if creating the buffer failed. */
  readonly #touch: (buffer: GPUBuffer) => void;
  readonly #freed: GPUBuffer[] = [];
  readonly #textures: GPUTexture[] = [];
  /** Bytes of the buffers that this burst created. */
  bytes = 0;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;

  constructor(gpu: TaskGpu, label: string, made: Set<GPUBuffer>, touch: (buffer: GPUBuffer) => void) {
    this.#gpu = gpu;
    this.#label = label;
    this.#made = made;
    this.#touch = touch;
  }

  /** Creates a storage buffer, which is destroyed when the task ends. @throws DeviceError DEVICE_LIMIT */
  storage(label: string, bytes: number): GPUBuffer {
    return this.#own(this.#gpu.memory.storage(label, bytes));
  }

  /** Creates a storage buffer that holds `data`. @throws DeviceError DEVICE_LIMIT */
  storageOf(
    label: string,
    data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
  ): GPUBuffer {
    return this.#own(this.#gpu.memory.storageOf(label, data));
  }

  /** Creates a uniform buffer that holds `words` (u32). @throws DeviceError DEVICE_LIMIT */
  uniformOf(label: string, words: readonly number[]): GPUBuffer {
    return this.#own(this.#gpu.memory.uniformOf(label, words));
  }

  /** Creates a buffer that receives the results of timestamp queries. @throws DeviceError DEVICE_LIMIT */
  queries(label: string, bytes: number): GPUBuffer {
    return this.#own(this.#gpu.memory.queries(label, bytes));
  }

  /** Writes data to a buffer. The write takes place before all commands that this burst encodes. */
  write(buffer: GPUBuffer, offset: number, data: GPUAllowSharedBufferSource, from = 0, size?: number): void {
    this.#touch(buffer);
    this.#gpu.device.queue.writeBuffer(buffer, offset, data, from, size);
  }

  /** Encodes one dispatch. `buffers` are in the order of the kernel's bindings. */
  dispatch(
    kernel: CompiledKernel,
    buffers: readonly Bound[],
    workgroups: readonly [number, number?, number?],
  ): void {
    const resources = buffers.map((bound): GPUBufferBinding => {
      const binding = 'buffer' in bound ? bound : { buffer: bound };
      this.#touch(binding.buffer);
      return binding;
    });
    const pass = this.pass();
    pass.setPipeline(kernel.pipeline);
    pass.setBindGroup(0, this.#gpu.pipelines.bind(kernel, resources));
    pass.dispatchWorkgroups(...workgroups);
  }

  /** The burst's compute pass, for dispatches with existing bind groups. */
  pass(): GPUComputePassEncoder {
    return (this.#pass ??= this.encoder().beginComputePass({ label: this.#label }));
  }

  /**
   * Encodes a render pass of its own that draws a triangle on `view`. `buffers` are in the order of the
   * kernel's bindings.
   */
  render(kernel: CompiledRender, buffers: readonly GPUBuffer[], view: GPUTextureView): void {
    for (const buffer of buffers) this.#touch(buffer);
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    const label = this.#label;
    const pass = this.encoder().beginRenderPass({
      label,
      colorAttachments: [{ view, loadOp: 'clear', storeOp: 'store' }],
    });
    pass.setPipeline(kernel.pipeline);
    pass.setBindGroup(0, this.#gpu.device.createBindGroup({ label, layout: kernel.layout, entries }));
    pass.draw(3);
    pass.end();
  }

  /** Creates a texture, which is destroyed at the end of the burst. */
  texture(descriptor: GPUTextureDescriptor): GPUTexture {
    const texture = this.#gpu.device.createTexture(descriptor);
    this.#textures.push(texture);
    return texture;
  }

  /** Encodes a copy between buffers. Offsets and `bytes` are multiples of 4. */
  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.#touch(from);
    this.#touch(to);
    this.encoder().copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
  }

  /** Encodes a command that fills a part of a buffer with zeros. Default: the whole buffer. */
  clear(buffer: GPUBuffer, offset = 0, bytes?: number): void {
    this.encoder().clearBuffer(buffer, offset, bytes);
  }

  /** The burst's command encoder, outside of a pass. For commands that `Burst` has no method for. */
  encoder(): GPUCommandEncoder {
    this.#pass?.end();
    this.#pass = undefined;
    return (this.#encoder ??= this.#gpu.device.createCommandEncoder({ label: this.#label }));
  }

  /**
   * Destroys a buffer of the task at the end of the burst. Commands of the burst may still use the buffer.
   */
  free(buffer: GPUBuffer): void {
    this.#freed.push(buffer);
  }

  /** Submits the commands that the burst encoded. Only the task calls this method. */
  end(): void {
    this.#pass?.end();
    if (this.#encoder) this.#gpu.device.queue.submit([this.#encoder.finish({ label: this.#label })]);
  }

  /** Destroys the burst's textures and freed buffers. Only the task calls this. */
  clean(): void {
    for (const texture of this.#textures) texture.destroy();
    for (const buffer of this.#freed) {
      this.#made.delete(buffer);
      this.#gpu.memory.destroy(buffer);
    }
  }

  #own(buffer: GPUBuffer): GPUBuffer {
    this.#made.add(buffer);
    this.bytes += buffer.size;
    return buffer;
  }
}

/**
 * The verdict on each buffer that outlives its task, until it is known whether one of the task's bursts
 * failed. A verdict is a promise that rejects with the first GPU error of the task.
 */
const pending = new WeakMap<GPUBuffer, Promise<void>>();

/**
 * Waits for verdicts, and throws the error of the first one that failed: it is the cause of errors in later bursts,
 * which use buffers that do not exist.
 */
async function inOrder(verdicts: readonly Promise<void>[]): Promise<void> {
  for (const verdict of verdicts) await verdict;
}

/** A named piece of asynchronous work on a device. `Gpu.task` makes one. */
export class Task {
  /** Aborts the task: its next burst, read or wait throws the signal's reason. */
  readonly signal: AbortSignal | undefined;
  readonly #gpu: TaskGpu;
  readonly #label: string;
  readonly #made = new Set<GPUBuffer>();
  readonly #kept: GPUBuffer[] = [];
  readonly #leases = new Map<Lease, () => void>();
  /** The verdicts (promises that reject if a burst failed) that the task has not awaited yet. */
  readonly #verdicts = new Set<Promise<void>>();
  #ended = false;

  constructor(gpu: TaskGpu, label: string, signal: AbortSignal | undefined) {
    this.#gpu = gpu;
    this.#label = label;
    this.signal = signal;
  }

  /**
   * Runs a burst (a synchronous function that uses the device): opens error scopes, calls `run`, submits at
   * most once, closes the scopes. Does not wait for the GPU. The next `read` or `settled` of this task
   * throws a GPU error of the burst. If the task ends without such a call, the error is thrown by the first
   * task that uses a buffer kept by this task.
   *
   * @throws what `run` throws; what WebGPU throws becomes DeviceError DEVICE_FAILED
   */
  burst<Result>(run: (burst: Burst) => Result): Result {
    this.#checkActive();
    this.#checkLeases();
    const gpu = this.#gpu;
    const burst = new Burst(gpu, this.#label, this.#made, (buffer) => this.#join(pending.get(buffer)));
    const held = gpu.memory.bytes;
    const refused = (cause: unknown): DINOv2Error => gpu.refusal(this.#label, cause, burst.bytes, held);
    try {
      const { result, verdict } = scoped(gpu.device, () => {
        try {
          const value = run(burst);
          burst.end();
          return value;
        } finally {
          burst.clean();
        }
      });
      const judged = verdict.then(
        (error) => {
          if (error) throw refused(error);
        },
        async (cause: unknown) => {
          throw await gpu.rejection(this.#label, cause);
        },
      );
      this.#join(judged);
      return result;
    } catch (cause) {
      throw refused(cause);
    }
  }

  /**
   * Reads bytes of a buffer, and waits until all earlier bursts are known to have no errors. `offset` and
   * `bytes` are multiples of 4.
   */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.#checkActive();
    this.#checkLeases();
    this.#join(pending.get(buffer));
    const reading = this.#gpu.read(buffer, offset, bytes);
    reading.catch(() => undefined); // if a burst failed, `settled` throws an error that states the cause
    await this.settled();
    const result = await reading;
    this.#checkActive();
    return result;
  }

  /** Waits until it is known whether any burst so far failed, and throws if one did. @throws DeviceError */
  async settled(): Promise<void> {
    const verdicts = [...this.#verdicts];
    await inOrder(verdicts);
    for (const each of verdicts) this.#verdicts.delete(each);
    this.#checkActive();
  }

  /**
   * Waits until the GPU has finished all work submitted so far.
   *
   * @param lastsLong see `waitFor` in `wait.ts`
   */
  async computed(lastsLong = false): Promise<void> {
    await submittedWorkDone(this.#gpu.device, lastsLong).catch(async (cause: unknown) => {
      throw await this.#gpu.rejection(this.#label, cause);
    });
    await this.settled();
  }

  /**
   * Measures how long the work submitted last takes, and records the time in the throughput estimate. Nothing
   * waits for the measurement, and the task may end before the measurement does. Failed work is not recorded.
   *
   * @param flops floating-point operations of the work
   * @param startMs the time when encoding began, by `performance.now`
   * @param submits number of submits that the work consists of. The task awaited each of them
   */
  measure(flops: number, startMs: number, submits: number): void {
    const gpu = this.#gpu;
    const verdicts = [...this.#verdicts];
    const measured = async (): Promise<void> => {
      await submittedWorkDone(gpu.device, true);
      const doneMs = performance.now();
      const begunMs = Math.max(startMs, gpu.measuredUntilMs); // excludes the time of earlier measured work
      gpu.measuredUntilMs = doneMs;
      await submittedWorkDone(gpu.device, true); // the GPU is idle, so only the browser's delay is measured
      const lateMs = performance.now() - doneMs;
      await Promise.all(verdicts);
      gpu.throughput.record(flops, doneMs - begunMs - submits * lateMs, doneMs - startMs);
    };
    measured().catch(() => undefined); // other calls of the task report errors and a lost device
  }

  /**
   * Keeps a buffer beyond the end of the task. The caller must destroy the buffer. If a burst of this task
   * failed, the next task that uses the buffer throws the error.
   */
  keep(buffer: GPUBuffer): GPUBuffer {
    this.#made.delete(buffer);
    this.#kept.push(buffer);
    return buffer;
  }

  /** Keeps all buffers that the task has created so far. */
  keepAll(): void {
    for (const buffer of this.#made) this.keep(buffer);
  }

  /**
   * Keeps the buffers of leases alive until the task ends, even if the owner of a lease is disposed of. After
   * such a disposal, the task's next burst or read throws `DISPOSED`.
   *
   * @throws DeviceError DISPOSED
   */
  use(...leases: readonly Lease[]): void {
    for (const lease of leases) if (!this.#leases.has(lease)) this.#leases.set(lease, lease.hold());
  }

  /**
   * Waits until it is known whether the last bursts of the task failed. A task that keeps buffers does not
   * wait here: the next task that uses a kept buffer waits instead. Only `Gpu.task` calls this method.
   */
  async finish(): Promise<void> {
    this.#checkActive();
    const verdicts = [...this.#verdicts];
    if (verdicts.length === 0) return;
    const all = inOrder(verdicts);
    if (this.#kept.length === 0) return all;
    all.catch(() => undefined); // the next task that uses a kept buffer throws the error
    for (const buffer of this.#kept) {
      pending.set(buffer, all);
      const forget = (): void => void (pending.get(buffer) === all && pending.delete(buffer));
      all.then(forget, () => undefined); // an error is kept for the next task that uses the buffer
    }
  }

  /** Destroys the task's buffers and releases its leases. Only `Gpu.task` calls this. */
  end(failed: boolean): void {
    this.#ended = true;
    for (const buffer of this.#made) this.#gpu.memory.destroy(buffer);
    if (failed) for (const buffer of this.#kept) this.#gpu.memory.destroy(buffer);
    for (const release of this.#leases.values()) release();
    for (const verdict of this.#verdicts) verdict.catch(() => undefined);
  }

  #join(verdict: Promise<void> | undefined): void {
    if (!verdict || this.#verdicts.has(verdict)) return;
    verdict.catch(() => undefined); // the task awaits it later
    this.#verdicts.add(verdict);
  }

  /** Throws if the device was lost, the task was aborted, or the task has ended. */
  #checkActive(): void {
    this.#gpu.check();
    this.signal?.throwIfAborted();
    if (this.#ended)
      throw new DeviceError(
        'DEVICE_FAILED',
        `${this.#label}: the task has ended. This is a bug; please report it.`,
      );
  }

  /**
   * Throws if the owner of a lease was disposed of. Results of work that was submitted before the disposal
   * are correct.
   */
  #checkLeases(): void {
    for (const lease of this.#leases.keys())
      if (lease.disposed)
        throw new DeviceError(
          'DISPOSED',
          `${this.#label}: features, or another object that this call uses, were disposed of before the call had finished. Call dispose() later, or compute the object again.`,
        );
  }
}
