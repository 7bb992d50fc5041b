/** Creates labelled GPU buffers, checks buffer sizes, counts the bytes, and reads buffers back. */
import { DeviceError } from '../errors.js';
import { BufferUsage, MAP_READ } from './constants.js';
import { scoped } from './scopes.js';
import { waitFor } from './wait.js';

/** A requested read of a buffer whose copy command is not submitted yet. */
interface PendingRead {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
  readonly resolve: (bytes: ArrayBuffer) => void;
  readonly reject: (reason: unknown) => void;
}

/** The buffers that this library created on a device. */
export class GpuMemory {
  readonly #device: GPUDevice;
  readonly #live = new Map<GPUBuffer, number>();
  #pendingReads: PendingRead[] = [];
  #bytes = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Total bytes of this library's buffers on the device. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of this library's buffers on the device. */
  get buffers(): number {
    return this.#live.size;
  }

  /**
   * Creates a storage buffer, which can also be written to and copied from.
   *
   * @param bytes size of the buffer; rounded up to a multiple of 4, at least 4
   * @throws DeviceError DEVICE_LIMIT
   */
  storage(label: string, bytes: number): GPUBuffer {
    return this.#create(
      label,
      bytes,
      BufferUsage.STORAGE | BufferUsage.COPY_DST | BufferUsage.COPY_SRC,
      this.#device.limits.maxStorageBufferBindingSize,
    );
  }

  /** Creates a storage buffer that holds `data`. @throws DeviceError DEVICE_LIMIT */
  storageOf(
    label: string,
    data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
  ): GPUBuffer {
    return this.#filled(this.storage(label, data.byteLength), data);
  }

  /** Creates a uniform buffer that holds `words` (u32). @throws DeviceError DEVICE_LIMIT */
  uniformOf(label: string, words: readonly number[]): GPUBuffer {
    const data = new Uint32Array(Math.ceil(words.length / 4) * 4);
    data.set(words);
    const buffer = this.#create(
      label,
      data.byteLength,
      BufferUsage.UNIFORM | BufferUsage.COPY_DST,
      this.#device.limits.maxUniformBufferBindingSize,
    );
    return this.#filled(buffer, data);
  }

  /** Creates a buffer that receives the results of timestamp queries. @throws DeviceError DEVICE_LIMIT */
  queries(label: string, bytes: number): GPUBuffer {
    return this.#create(
      label,
      bytes,
      BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC,
      this.#device.limits.maxBufferSize,
    );
  }

  /** Destroys a buffer that this object created. Reads that were requested earlier still complete. */
  destroy(buffer: GPUBuffer): void {
    const bytes = this.#live.get(buffer);
    if (bytes === undefined) return;
    if (this.#pendingReads.some((read) => read.buffer === buffer)) this.#startReads();
    this.#live.delete(buffer);
    this.#bytes -= bytes;
    buffer.destroy();
  }

  /**
   * Reads `bytes` bytes of a buffer from byte `offset`. Both must be multiples of 4. Reads requested in the
   * same microtask share one submit and one mapped buffer. The copy command is submitted after that
   * microtask, so do not write to the buffer until the read settles. Destroying the buffer immediately is
   * allowed.
   *
   * @throws DeviceError DEVICE_LIMIT; DISPOSED, if the buffer was destroyed earlier; a GPUError; what a call of
   *   WebGPU throws. `Gpu.read` converts these errors
   */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => {
      if (!this.#live.has(buffer))
        throw new DeviceError('DISPOSED', `${buffer.label}: disposed of before it was read.`);
      this.#pendingReads.push({ buffer, offset, bytes, resolve, reject });
      if (this.#pendingReads.length === 1) queueMicrotask(() => this.#startReads());
    });
  }

  /** Starts all pending reads. All reads that are started together share one staging buffer. */
  #startReads(): void {
    const reads = this.#pendingReads;
    this.#pendingReads = [];
    for (let begin = 0; begin < reads.length;) {
      let end = begin + 1;
      let total = reads[begin]!.bytes;
      while (end < reads.length && total + reads[end]!.bytes <= this.#device.limits.maxBufferSize)
        total += reads[end++]!.bytes;
      void this.#readTogether(reads.slice(begin, end), total);
      begin = end;
    }
  }

  async #readTogether(reads: readonly PendingRead[], totalBytes: number): Promise<void> {
    const device = this.#device;
    let staging: GPUBuffer | undefined;
    try {
      // If the copy fails, the staging buffer holds zeros. The error scope reports the failure, so the zeros
      // are not returned as results.
      const { verdict } = scoped(device, () => {
        const target = (staging = this.#create(
          `${reads[0]!.buffer.label} (read back)`,
          totalBytes,
          BufferUsage.MAP_READ | BufferUsage.COPY_DST,
          device.limits.maxBufferSize,
        ));
        const encoder = device.createCommandEncoder({ label: 'read back' });
        let at = 0;
        for (const { buffer, offset, bytes } of reads) {
          encoder.copyBufferToBuffer(buffer, offset, target, at, bytes);
          at += bytes;
        }
        device.queue.submit([encoder.finish({ label: 'read back' })]);
      });
      const mapping = waitFor(device, staging!.mapAsync(MAP_READ));
      mapping.catch(() => undefined); // if the copy failed, its error is thrown, which states the cause
      const error = await verdict;
      if (error) throw error; // `Gpu.read` converts it
      await mapping;
      const all = staging!.getMappedRange();
      let at = 0;
      for (const { bytes, resolve } of reads) resolve(all.slice(at, (at += bytes)));
    } catch (error) {
      // Each read is tried alone, so that its failure does not reach the callers of the other reads.
      if (reads.length > 1) for (const read of reads) void this.#readTogether([read], read.bytes);
      else reads[0]!.reject(error);
    } finally {
      if (staging) this.destroy(staging);
    }
  }

  #filled(buffer: GPUBuffer, data: GPUAllowSharedBufferSource): GPUBuffer {
    try {
      this.#device.queue.writeBuffer(buffer, 0, data);
      return buffer;
    } catch (error) {
      this.destroy(buffer);
      throw error;
    }
  }

  #create(label: string, bytes: number, usage: number, limit: number): GPUBuffer {
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    const most = Math.min(limit, this.#device.limits.maxBufferSize);
    if (size > most) {
      throw new DeviceError(
        'DEVICE_LIMIT',
        `${label}: needs a buffer of ${size} bytes, but this device allows at most ${most}. Use a smaller image, batch or model.`,
      );
    }
    const buffer = this.#device.createBuffer({ label, size, usage });
    this.#live.set(buffer, size);
    this.#bytes += size;
    return buffer;
  }
}
