/** A map with one value for each patch, on the GPU. */
import { ImageError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { OwnedBuffers } from '../gpu/lease.js';
import { F32_BYTES } from '../graph/constants.js';
import { checkOptions } from '../optionNames.js';
import { drawMap, type MapDrawOptions } from './drawMap.js';
import type { DrawTarget } from './drawTarget.js';
import { PatchMap, type PatchMapColorOptions } from './patchMap.js';

// Frees the buffer of a map that is garbage-collected without dispose().
const abandoned = new FinalizationRegistry<OwnedBuffers>((owned) => owned.dispose());

/**
 * A map with one value for each patch of an image, on the GPU. `dispose()` frees the GPU memory; a `using`
 * declaration calls it at the end of the block.
 *
 * A patch whose token contains NaN or infinity has the value NaN. `read` and `draw` then throw, and `drawTo`
 * leaves the patch transparent.
 * @example
 * ```js
 * const map = await features.similarity({ row: 8, col: 5 });
 * const values = await map.read(); // a PatchMap
 * map.dispose();
 * ```
 */
export class GpuPatchMap {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /**
   * The GPU on which the map is.
   * @internal
   */
  readonly gpu: Gpu;
  /**
   * Lease that tasks hold while they use the buffer.
   * @internal
   */
  readonly lease: OwnedBuffers;
  readonly #buffer: GPUBuffer;

  /**
   * Called by the methods that compute maps. The map takes ownership of the buffer.
   * @internal
   */
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

  /**
   * The values on the GPU: f32 (rows, cols), row by row from the top left. The map owns the buffer; do not
   * destroy it.
   * @throws DeviceError DISPOSED, after `dispose()`
   */
  get buffer(): GPUBuffer {
    this.lease.check();
    return this.#buffer;
  }

  /**
   * Reads the values into memory.
   * @throws ImageError INPUT_NOT_FINITE, if a value is NaN, because a token contains NaN or infinity;
   *   DeviceError
   */
  async read(): Promise<PatchMap> {
    const { gpu, rows, cols, buffer } = this;
    const bytes = await gpu.task('patch map', undefined, (task) => {
      task.use(this.lease);
      return task.read(buffer, 0, rows * cols * F32_BYTES);
    });
    const values = new Float32Array(bytes);
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new ImageError(
        'INPUT_NOT_FINITE',
        `GpuPatchMap.read: expected finite values, found ${values[bad]} at row ${Math.floor(bad / cols)}, col ${bad % cols}. The features contain NaN or infinity.`,
      );
    return new PatchMap(rows, cols, values);
  }

  /**
   * Reads the map and draws it on a canvas, and sets the canvas to the size of the picture.
   * @throws as `read` and `PatchMap.draw`
   */
  async draw(canvas: HTMLCanvasElement | OffscreenCanvas, options: PatchMapColorOptions = {}): Promise<void> {
    checkOptions('GpuPatchMap.draw', options);
    (await this.read()).draw(canvas, options);
  }

  /**
   * Draws the map on a texture or canvas, on the GPU, without reading anything back. Fills the whole target,
   * and keeps its size. A patch with the value NaN is transparent.
   * @throws OptionError OPTION_VALUE, if an option has an invalid value or the target cannot be drawn on;
   *   OPTION_NAME; ImageError IMAGE_TYPE, if the canvas has a context other than 'webgpu'; DeviceError
   * @example
   * ```js
   * [canvas.width, canvas.height] = [518, 392];
   * await map.drawTo(canvas, { range: [0, 1], smooth: true });
   * ```
   */
  async drawTo(target: DrawTarget, options: MapDrawOptions = {}): Promise<void> {
    await drawMap(this, target, checkOptions('GpuPatchMap.drawTo', options));
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
