/** A map with one value for each patch, on the GPU. */
import type { Gpu } from '../gpu/device.js';
import { OwnedBuffers } from '../gpu/lease.js';
import { F32_BYTES } from '../graph/constants.js';
import { PatchMap } from './patchMap.js';

// Frees the buffer of a map that is garbage-collected without dispose().
const abandoned = new FinalizationRegistry<OwnedBuffers>((owned) => owned.dispose());

/** A map with one value for each patch of an image, on the GPU. `dispose()` frees the GPU memory. */
export class GpuPatchMap {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** @internal */
  readonly gpu: Gpu;
  /** @internal */
  readonly lease: OwnedBuffers;
  readonly #buffer: GPUBuffer;

  /** @internal */
  constructor(gpu: Gpu, rows: number, cols: number, buffer: GPUBuffer) {
    this.gpu = gpu;
    this.rows = rows;
    this.cols = cols;
    this.#buffer = buffer;
    gpu.retain();
    this.lease = new OwnedBuffers(() => {
      gpu.memory.destroy(buffer);
      gpu.release();
    }, 'This map is disposed. Read it before dispose(), or compute it again.');
    abandoned.register(this, this.lease, this);
  }

  /** The values: f32 (rows, cols). */
  get buffer(): GPUBuffer {
    this.lease.check();
    return this.#buffer;
  }

  /** Reads the values. */
  async read(): Promise<PatchMap> {
    const { gpu, rows, cols, buffer } = this;
    const bytes = await gpu.task('patch map', undefined, async (task) => {
      task.use(this.lease);
      return task.read(buffer, 0, rows * cols * F32_BYTES);
    });
    return new PatchMap(rows, cols, new Float32Array(bytes));
  }

  /** Frees the GPU memory. Further calls do nothing. */
  dispose(): void {
    abandoned.unregister(this);
    this.lease.dispose();
  }

  /** Calls `dispose()`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
