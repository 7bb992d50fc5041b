/**
 * The one way to allocate, dispatch, submit and read on a device. A task is a piece of work with a name; each
 * of its synchronous stretches (a burst) stands in error scopes of its own, so that an error is told to the
 * task that made it, on a caller's device too, and to nobody else.
 */
import { DeviceError } from '../errors.js';
import type { GpuMemory } from './memory.js';
import type { CompiledKernel, PipelineCache } from './pipelines.js';
import { scoped } from './scopes.js';
import type { Throughput } from './throughput.js';
import { submittedWorkDone } from './wait.js';

/** Bytes of an upload after which `settled` is worth its wait. */
export const SETTLE_BYTES: number = 16 * 2 ** 20;

/** Buffers that an object owns, and whether it was disposed of. */
export interface Lease {
  /** Keeps the buffers alive until the returned function is called. @throws DeviceError DISPOSED */
  hold(): () => void;
  readonly disposed: boolean;
}

/** The buffers of something with `dispose()`: they are freed when it was called and no task uses them. */
export class OwnedBuffers implements Lease {
  readonly #free: () => void;
  readonly #message: string;
  #holders = 0;
  #disposed = false;

  /**
   * @param free frees the buffers; called once
   * @param message of the error that tells of a use after `dispose()`
   */
  constructor(free: () => void, message: string) {
    this.#free = free;
    this.#message = message;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /** @throws DeviceError DISPOSED */
  check(): void {
    if (this.#disposed) throw new DeviceError('DISPOSED', this.#message);
  }

  hold(): () => void {
    this.check();
    this.#holders += 1;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#holders -= 1;
      this.#freeIfUnused();
    };
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#freeIfUnused();
  }

  #freeIfUnused(): void {
    if (this.#disposed && this.#holders === 0) this.#free();
  }
}

/** The part of `Gpu` that tasks use. */
export interface TaskGpu {
  readonly device: GPUDevice;
  readonly memory: GpuMemory;
  readonly pipelines: PipelineCache;
  readonly throughput: Throughput;
  measuredUntilMs: number;
  check(): void;
  refusal(label: string, error: GPUError): DeviceError;
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer>;
}

/** What may be bound: a buffer, or a part of one. */
export type Bound = GPUBuffer | GPUBufferBinding;

/** What a synchronous stretch of a task can do. It submits once, at its end, if it has encoded anything. */
export class Burst {
  readonly #gpu: TaskGpu;
  readonly #label: string;
  readonly #made: Set<GPUBuffer>;
  /** Buffers whose verdict is not known yet, and which this burst uses. */
  readonly #touch: (buffer: GPUBuffer) => void;
  readonly #freed: GPUBuffer[] = [];
  readonly #textures: GPUTexture[] = [];
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;

  constructor(gpu: TaskGpu, label: string, made: Set<GPUBuffer>, touch: (buffer: GPUBuffer) => void) {
    this.#gpu = gpu;
    this.#label = label;
    this.#made = made;
    this.#touch = touch;
  }

  /** A storage buffer of `bytes`, the task's until it ends. @throws DeviceError DEVICE_LIMIT */
  storage(label: string, bytes: number): GPUBuffer {
    return this.#own(this.#gpu.memory.storage(label, bytes));
  }

  /** A storage buffer that holds `data`. */
  storageOf(
    label: string,
    data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
  ): GPUBuffer {
    return this.#own(this.#gpu.memory.storageOf(label, data));
  }

  /** A uniform buffer that holds `words` (unsigned integers). */
  uniformOf(label: string, words: readonly number[]): GPUBuffer {
    return this.#own(this.#gpu.memory.uniformOf(label, words));
  }

  /** A buffer for the results of queries. */
  queries(label: string, bytes: number): GPUBuffer {
    return this.#own(this.#gpu.memory.queries(label, bytes));
  }

  /** Writes ahead of everything that this burst encodes. */
  write(buffer: GPUBuffer, offset: number, data: GPUAllowSharedBufferSource, from = 0, size?: number): void {
    this.#touch(buffer);
    this.#gpu.device.queue.writeBuffer(buffer, offset, data, from, size);
  }

  /** One dispatch; `buffers` in the order of the kernel's bindings. */
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

  /** The compute pass, for bind groups that were made before. */
  pass(): GPUComputePassEncoder {
    return (this.#pass ??= this.encoder().beginComputePass({ label: this.#label }));
  }

  /** A texture that is gone when the burst has ended. */
  texture(descriptor: GPUTextureDescriptor): GPUTexture {
    const texture = this.#gpu.device.createTexture(descriptor);
    this.#textures.push(texture);
    return texture;
  }

  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.#touch(from);
    this.#touch(to);
    this.encoder().copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
  }

  /** Zeros from byte `offset` on; default: all of the buffer. */
  clear(buffer: GPUBuffer, offset = 0, bytes?: number): void {
    this.encoder().clearBuffer(buffer, offset, bytes);
  }

  /** The encoder outside of a pass, for what has no method here. */
  encoder(): GPUCommandEncoder {
    this.#pass?.end();
    this.#pass = undefined;
    return (this.#encoder ??= this.#gpu.device.createCommandEncoder({ label: this.#label }));
  }

  /** Frees a buffer when the burst has ended; what was submitted still finds it. */
  free(buffer: GPUBuffer): void {
    this.#freed.push(buffer);
  }

  /** Submits what was encoded. Called by the task alone. */
  end(): void {
    this.#pass?.end();
    if (this.#encoder) this.#gpu.device.queue.submit([this.#encoder.finish()]);
  }

  /** Frees what was given up; the GPU keeps it until it is done. Called by the task alone. */
  clean(): void {
    for (const texture of this.#textures) texture.destroy();
    for (const buffer of this.#freed) {
      this.#made.delete(buffer);
      this.#gpu.memory.destroy(buffer);
    }
  }

  #own(buffer: GPUBuffer): GPUBuffer {
    this.#made.add(buffer);
    return buffer;
  }
}

/** Verdicts of buffers that a task has kept before its device had spoken. */
const pending = new WeakMap<GPUBuffer, Promise<void>>();

export class Task {
  readonly signal: AbortSignal | undefined;
  readonly #gpu: TaskGpu;
  readonly #label: string;
  readonly #made = new Set<GPUBuffer>();
  readonly #kept: GPUBuffer[] = [];
  readonly #leases = new Map<Lease, () => void>();
  /** Of bursts that nobody has waited for. */
  readonly #verdicts = new Set<Promise<void>>();
  #ended = false;

  constructor(gpu: TaskGpu, label: string, signal: AbortSignal | undefined) {
    this.#gpu = gpu;
    this.#label = label;
    this.signal = signal;
  }

  /**
   * A synchronous stretch: opens error scopes, runs, submits at most once, closes the scopes. Does not wait:
   * the verdict is joined by the next `read` or `settled`, or carried by what is kept.
   */
  burst<Result>(run: (burst: Burst) => Result): Result {
    this.#continues();
    this.#checkLeases();
    const burst = new Burst(this.#gpu, this.#label, this.#made, (buffer) => this.#join(pending.get(buffer)));
    return this.#scoped(() => {
      try {
        const value = run(burst);
        burst.end();
        return value;
      } finally {
        burst.clean();
      }
    });
  }

  /** Copies bytes back (`offset` and `bytes` multiples of 4), once all bursts before are known to be right. */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    this.#continues();
    this.#checkLeases();
    this.#join(pending.get(buffer));
    const reading = this.#gpu.read(buffer, offset, bytes);
    reading.catch(() => undefined); // a verdict says more
    await this.settled();
    const result = await reading;
    this.#continues();
    return result;
  }

  /** Waits for the device's word on all bursts so far. @throws DeviceError */
  async settled(): Promise<void> {
    const verdicts = [...this.#verdicts];
    await Promise.all(verdicts);
    for (const each of verdicts) this.#verdicts.delete(each);
    this.#continues();
  }

  /**
   * Waits until everything that was submitted so far is computed.
   * @param lastsLong see `waitFor` in wait.ts
   */
  async computed(lastsLong = false): Promise<void> {
    await submittedWorkDone(this.#gpu.device, lastsLong).catch((cause: unknown) => {
      this.#gpu.check();
      throw new DeviceError(
        'DEVICE_FAILED',
        `${this.#label}: the GPU did not finish (${String(cause)}). Load the model again.`,
        { cause },
      );
    });
    await this.settled();
  }

  /**
   * Measures what was just submitted, beside everything else: nobody waits for it, and the task may end
   * meanwhile. Work that was refused is not counted.
   *
   * @param flops of the work
   * @param startMs when its encoding began, by `performance.now`
   * @param submits that it was cut into, each of which was waited for
   */
  measure(flops: number, startMs: number, submits: number): void {
    const gpu = this.#gpu;
    const verdicts = [...this.#verdicts];
    const measured = async (): Promise<void> => {
      await submittedWorkDone(gpu.device, true);
      const doneMs = performance.now();
      const begunMs = Math.max(startMs, gpu.measuredUntilMs); // earlier work that is measured too does not count
      gpu.measuredUntilMs = doneMs;
      await submittedWorkDone(gpu.device, true); // how late the browser tells the end of work that has ended
      const lateMs = performance.now() - doneMs;
      await Promise.all(verdicts);
      gpu.throughput.saw(flops, doneMs - begunMs - submits * lateMs, doneMs - startMs);
    };
    measured().catch(() => undefined); // the task tells what has failed, a lost device too
  }

  /** The buffer outlives the task, and is the caller's to destroy; it carries the verdict of its making. */
  keep(buffer: GPUBuffer): GPUBuffer {
    this.#made.delete(buffer);
    this.#kept.push(buffer);
    return buffer;
  }

  /** Keeps all that was made so far. */
  keepAll(): void {
    for (const buffer of this.#made) this.keep(buffer);
  }

  /**
   * Uses the buffers of something that may be disposed of meanwhile: they live until the task ends. A burst or
   * read that begins after that rejects with DISPOSED.
   * @throws DeviceError DISPOSED
   */
  use(...leases: readonly Lease[]): void {
    for (const lease of leases) if (!this.#leases.has(lease)) this.#leases.set(lease, lease.hold());
  }

  /** Ends the task well. Called by `Gpu.task` alone. */
  async finish(): Promise<void> {
    this.#continues();
    const verdicts = [...this.#verdicts];
    if (verdicts.length === 0) return;
    const all = Promise.all(verdicts).then(() => undefined);
    if (this.#kept.length === 0) return all;
    all.catch(() => undefined); // who reads what was kept is told
    for (const buffer of this.#kept) {
      pending.set(buffer, all);
      const forget = (): void => void (pending.get(buffer) === all && pending.delete(buffer));
      all.then(forget, () => undefined); // a failure stays with the buffer
    }
  }

  /** Frees what the task made, and lets go of what it used. */
  end(failed: boolean): void {
    this.#ended = true;
    for (const buffer of this.#made) this.#gpu.memory.destroy(buffer);
    if (failed) for (const buffer of this.#kept) this.#gpu.memory.destroy(buffer);
    for (const release of this.#leases.values()) release();
    for (const verdict of this.#verdicts) verdict.catch(() => undefined);
  }

  #scoped<Result>(run: () => Result): Result {
    const { result, verdict } = scoped(this.#gpu.device, run);
    this.#join(
      verdict.then((error) => {
        if (error) throw this.#gpu.refusal(this.#label, error);
      }),
    );
    return result;
  }

  #join(verdict: Promise<void> | undefined): void {
    if (!verdict || this.#verdicts.has(verdict)) return;
    verdict.catch(() => undefined); // it is told to whoever joins it
    this.#verdicts.add(verdict);
  }

  /** @throws the reason why the task cannot go on */
  #continues(): void {
    this.#gpu.check();
    this.signal?.throwIfAborted();
    if (this.#ended)
      throw new DeviceError(
        'DEVICE_FAILED',
        `${this.#label}: the task has ended. This is a bug; please report it.`,
      );
  }

  /** What was submitted before a `dispose()` gives right numbers; nothing is submitted after it. */
  #checkLeases(): void {
    for (const lease of this.#leases.keys())
      if (lease.disposed)
        throw new DeviceError(
          'DISPOSED',
          `${this.#label}: what it used was disposed of meanwhile. Dispose of it later, or compute it again.`,
        );
  }
}
