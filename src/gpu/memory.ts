/** GPU buffers with labels, limits checked before the device does, and a count of what is alive. */
import { DeviceError } from '../errors.js';
import { BufferUsage, MAP_READ } from './constants.js';
import { waitFor } from './wait.js';

/** A read that was asked for, and its promise. */
interface Read {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
  readonly resolve: (bytes: ArrayBuffer) => void;
  readonly reject: (reason: unknown) => void;
}

export class GpuMemory {
  readonly #device: GPUDevice;
  readonly #live = new Map<GPUBuffer, number>();
  /** Reads whose copies are not submitted yet. */
  #asked: Read[] = [];
  #bytes = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Bytes of all buffers that this library holds on the device. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of buffers that this library holds on the device. */
  get buffers(): number {
    return this.#live.size;
  }

  /**
   * A buffer for shaders to read and write; it can be filled and copied from. `bytes` is rounded up to 4, and
   * is at least 4.
   */
  storage(label: string, bytes: number): GPUBuffer {
    return this.#create(
      label,
      bytes,
      BufferUsage.STORAGE | BufferUsage.COPY_DST | BufferUsage.COPY_SRC,
      this.#device.limits.maxStorageBufferBindingSize,
    );
  }

  /** A storage buffer that holds `data`. */
  storageOf(
    label: string,
    data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Int32Array<ArrayBuffer>,
  ): GPUBuffer {
    const buffer = this.storage(label, data.byteLength);
    this.#device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }

  /** A uniform buffer that holds `words` (unsigned integers). */
  uniformOf(label: string, words: readonly number[]): GPUBuffer {
    const data = new Uint32Array(Math.ceil(words.length / 4) * 4);
    data.set(words);
    const buffer = this.#create(
      label,
      data.byteLength,
      BufferUsage.UNIFORM | BufferUsage.COPY_DST,
      this.#device.limits.maxUniformBufferBindingSize,
    );
    this.#device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }

  /** A buffer that the results of queries are written to, to be read back. */
  queries(label: string, bytes: number): GPUBuffer {
    return this.#create(
      label,
      bytes,
      BufferUsage.QUERY_RESOLVE | BufferUsage.COPY_SRC,
      this.#device.limits.maxBufferSize,
    );
  }

  destroy(buffer: GPUBuffer): void {
    const bytes = this.#live.get(buffer);
    if (bytes === undefined) return;
    if (this.#asked.some((read) => read.buffer === buffer)) this.#startReads();
    this.#live.delete(buffer);
    this.#bytes -= bytes;
    buffer.destroy();
  }

  /**
   * Copies `bytes` of a buffer back, from byte `offset` (both multiples of 4). Reads that are asked for in the
   * same microtask share a submit and a map. The copy is made after that microtask: until the read settles,
   * write nothing to the buffer. `destroy` may be called at once.
   * @throws DeviceError DEVICE_LIMIT; whatever `mapAsync` rejects with; a GPUError of the copy. The caller asks
   *   `Gpu.check()` for the reason.
   */
  read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ buffer, offset, bytes, resolve, reject });
      if (this.#asked.length === 1) queueMicrotask(() => this.#startReads());
    });
  }

  /** Starts the reads that were asked for, as many together as fit into a buffer. */
  #startReads(): void {
    const asked = this.#asked;
    this.#asked = [];
    for (let begin = 0; begin < asked.length;) {
      let end = begin + 1;
      let total = asked[begin]!.bytes;
      while (end < asked.length && total + asked[end]!.bytes <= this.#device.limits.maxBufferSize)
        total += asked[end++]!.bytes;
      void this.#readTogether(asked.slice(begin, end), total);
      begin = end;
    }
  }

  async #readTogether(reads: readonly Read[], totalBytes: number): Promise<void> {
    const device = this.#device;
    let staging: GPUBuffer | undefined;
    try {
      staging = this.#create(
        `${reads[0]!.buffer.label} (read back)`,
        totalBytes,
        BufferUsage.MAP_READ | BufferUsage.COPY_DST,
        device.limits.maxBufferSize,
      );
      // The callers' error scopes are closed by now. A copy that is refused leaves zeros in the staging buffer,
      // which must not be taken for results.
      device.pushErrorScope('validation');
      let verdict: Promise<GPUError | null>;
      try {
        const encoder = device.createCommandEncoder({ label: 'read back' });
        let at = 0;
        for (const { buffer, offset, bytes } of reads) {
          encoder.copyBufferToBuffer(buffer, offset, staging, at, bytes);
          at += bytes;
        }
        device.queue.submit([encoder.finish()]);
      } finally {
        verdict = device.popErrorScope();
        verdict.catch(() => undefined);
      }
      const [error] = await Promise.all([verdict, waitFor(device, staging.mapAsync(MAP_READ))]);
      if (error)
        throw new DeviceError('DEVICE_FAILED', `The GPU refused to copy results back: ${error.message}`);
      const all = staging.getMappedRange();
      let at = 0;
      for (const { bytes, resolve } of reads) resolve(all.slice(at, (at += bytes)));
    } catch (error) {
      for (const { reject } of reads) reject(error);
    } finally {
      if (staging) this.destroy(staging);
    }
  }

  #create(label: string, bytes: number, usage: number, limit: number): GPUBuffer {
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    const most = Math.min(limit, this.#device.limits.maxBufferSize);
    if (size > most) {
      throw new DeviceError(
        'DEVICE_LIMIT',
        `${label}: needs a buffer of ${size} bytes, and this device allows ${most}. Use a smaller image, batch or model.`,
      );
    }
    const buffer = this.#device.createBuffer({ label, size, usage });
    this.#live.set(buffer, size);
    this.#bytes += size;
    return buffer;
  }
}
