/** An image on the GPU between the two passes of its resize. */
import { DeviceError } from '../errors.js';
import type { GpuMemory } from '../gpu/memory.js';
import type { Burst } from '../gpu/task.js';
import type { Resample } from './coefficients.js';
import type { Geometry, ResolvedPreprocessing } from './geometry.js';
import type { Normalization } from './normalization.js';
import { placementOf, type ImagePlacement } from './placement.js';

/**
 * An image after the first pass of its resize. Its buffer holds pixels of 4 bytes: one for each output column
 * of each source row that the second pass reads. `Preprocessor.write` runs the second pass and releases the
 * buffer; otherwise call `dispose`.
 */
export class PreparedImage {
  readonly geometry: Geometry;
  readonly resample: Resample;
  readonly normalization: Normalization;
  /** The Exif orientation that the option `orientation: 'ignore'` ignored. 1 if none was ignored. */
  readonly #ignored: number;
  readonly #memory: GpuMemory;
  readonly #between: GPUBuffer;
  #used = false;

  constructor(
    geometry: Geometry,
    { resample, normalization }: Pick<ResolvedPreprocessing, 'resample' | 'normalization'>,
    memory: GpuMemory,
    between: GPUBuffer,
    ignored: number,
  ) {
    this.geometry = geometry;
    this.resample = resample;
    this.normalization = normalization;
    this.#memory = memory;
    this.#between = between;
    this.#ignored = ignored;
  }

  /** Returns how the pixels of the image map to patches. */
  placement(patchSize: number): ImagePlacement {
    return placementOf(this.geometry, patchSize, this.#ignored);
  }

  /** Width of the output in pixels. */
  get width(): number {
    return this.geometry.width;
  }

  /** Height of the output in pixels. */
  get height(): number {
    return this.geometry.height;
  }

  /** Size of the output in bytes: (3, height, width) in float32. */
  get bytes(): number {
    return 3 * this.height * this.width * Float32Array.BYTES_PER_ELEMENT;
  }

  /**
   * The buffer with the output of the first pass: `between` of shaders/resize.wgsl.
   * @throws DeviceError DISPOSED, if the image was written or disposed before
   */
  get between(): GPUBuffer {
    if (this.#used)
      throw new DeviceError(
        'DISPOSED',
        'PreparedImage: already written or disposed. Prepare the image again.',
      );
    return this.#between;
  }

  /** Destroys the buffer at once. */
  dispose(): void {
    this.#used = true;
    this.#memory.destroy(this.#between);
  }

  /** Destroys the buffer when `burst`, which reads it, has ended. */
  release(burst: Burst): void {
    this.#used = true;
    burst.free(this.#between);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
