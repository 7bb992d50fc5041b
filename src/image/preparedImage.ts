/** What an image is between the two passes of its resize. */
import { DeviceError } from '../errors.js';
import type { GpuMemory } from '../gpu/memory.js';
import type { Burst } from '../gpu/task.js';
import type { Resample } from './coefficients.js';
import type { Geometry, ResolvedPreprocessing } from './geometry.js';
import type { Normalization } from './normalization.js';

/**
 * An image on the GPU after the first pass of its resize, waiting for the second: 4 bytes for each of the
 * output's columns in every source row that it needs. `Preprocessor.write` uses it up; else call `dispose`.
 */
export class PreparedImage {
  readonly geometry: Geometry;
  readonly resample: Resample;
  readonly normalization: Normalization;
  readonly #memory: GpuMemory;
  readonly #between: GPUBuffer;
  #used = false;

  constructor(
    geometry: Geometry,
    { resample, normalization }: Pick<ResolvedPreprocessing, 'resample' | 'normalization'>,
    memory: GpuMemory,
    between: GPUBuffer,
  ) {
    this.geometry = geometry;
    this.resample = resample;
    this.normalization = normalization;
    this.#memory = memory;
    this.#between = between;
  }

  /** Of the output, in pixels. */
  get width(): number {
    return this.geometry.width;
  }

  get height(): number {
    return this.geometry.height;
  }

  /** Bytes of its pixels, (3, height, width) in float32. */
  get bytes(): number {
    return 3 * this.height * this.width * Float32Array.BYTES_PER_ELEMENT;
  }

  /**
   * What the first pass gave: `between` of shaders/resize.wgsl.
   * @throws DeviceError DISPOSED, if it was written or disposed before.
   */
  get between(): GPUBuffer {
    if (this.#used)
      throw new DeviceError(
        'DISPOSED',
        'PreparedImage: expected one that waits to be written, found one that was written or disposed. Prepare the image again.',
      );
    return this.#between;
  }

  dispose(): void {
    this.#used = true;
    this.#memory.destroy(this.#between);
  }

  /** As `dispose`, when the burst that reads it has ended. */
  release(burst: Burst): void {
    this.#used = true;
    burst.free(this.#between);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
