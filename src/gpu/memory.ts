/** GPU buffers with labels, limits checked before the device does, and a count of what is alive. */
import { DeviceError } from '../errors.js';
import { BufferUsage, MAP_READ } from './constants.js';

export class GpuMemory {
  readonly #device: GPUDevice;
  readonly #live = new Map<GPUBuffer, number>();
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
    this.#live.delete(buffer);
    this.#bytes -= bytes;
    buffer.destroy();
  }

  /**
   * Copies `bytes` of a buffer back, from byte `offset` (both multiples of 4).
   * @throws whatever `mapAsync` rejects with; the caller asks `Gpu.check()` for the reason.
   */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<ArrayBuffer> {
    const staging = this.#create(
      `${buffer.label} (read back)`,
      bytes,
      BufferUsage.MAP_READ | BufferUsage.COPY_DST,
      this.#device.limits.maxBufferSize,
    );
    try {
      const encoder = this.#device.createCommandEncoder({ label: 'read back' });
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, bytes);
      this.#device.queue.submit([encoder.finish()]);
      await staging.mapAsync(MAP_READ);
      return staging.getMappedRange().slice(0, bytes);
    } finally {
      this.destroy(staging);
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
