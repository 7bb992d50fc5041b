/** Checks normalised pixels that a caller passes to `forward`, and computes their size in patches. */
import { ImageError, OptionError } from '../errors.js';
import type { ImagePlacement } from '../image/placement.js';
import type { Grid } from './vit.js';

/** The size of normalised pixels, float32 (batch, 3, height, width). */
export interface PixelSize {
  /** Height in pixels. */
  readonly height: number;
  /** Width in pixels. */
  readonly width: number;
  /** Number of images. Default: 1. */
  readonly batch?: number | undefined;
}

/**
 * Returns the grid of whole patches in a batch of images. A remainder at the right and at the bottom is
 * ignored.
 * @param where name of the call, for error messages
 * @throws OptionError OPTION_VALUE, if a size is not a whole number of at least 1, or less than one patch
 */
export function gridOf(where: string, { height, width, batch = 1 }: PixelSize, patchSize: number): Grid {
  if (![height, width, batch].every((extent) => Number.isInteger(extent) && extent > 0)) {
    throw new OptionError(
      'OPTION_VALUE',
      `${where}: expected height, width and batch to be whole numbers of at least 1, found height ${height}, width ${width}, batch ${batch}.`,
    );
  }
  const grid = { batch, rows: Math.floor(height / patchSize), cols: Math.floor(width / patchSize) };
  if (grid.rows >= 1 && grid.cols >= 1) return grid;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected at least one patch of ${patchSize} × ${patchSize}, found an image of ${height} × ${width}. Enlarge the image.`,
  );
}

/**
 * Copies the pixels and crops them to whole patches. Copies them even if nothing is cropped, because the
 * caller may refill its array before the forward pass starts.
 * @param pixels float32 (batch, 3, height, width)
 * @returns float32 (batch, 3, rows · patchSize, cols · patchSize)
 * @throws ImageError INPUT_SHAPE, if `pixels` is not a Float32Array of the stated size; INPUT_NOT_FINITE, if
 *   a value is NaN or infinite
 */
export function croppedPixels(
  pixels: Float32Array,
  { height, width, batch = 1 }: PixelSize,
  grid: Grid,
  patchSize: number,
): Float32Array<ArrayBuffer> {
  if (!(pixels instanceof Float32Array)) {
    throw new ImageError(
      'INPUT_SHAPE',
      `forward: expected a Float32Array of normalised pixels, found ${Object.prototype.toString.call(pixels)}. Convert it, or pass the image to features().`,
    );
  }
  if (pixels.length !== batch * 3 * height * width) {
    throw new ImageError(
      'INPUT_SHAPE',
      `forward: expected ${batch} × 3 × ${height} × ${width} = ${batch * 3 * height * width} values, found ${pixels.length}.`,
    );
  }
  const bad = pixels.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new ImageError(
      'INPUT_NOT_FINITE',
      `forward: expected finite pixels, found ${pixels[bad]} at index ${bad}. Check the normalisation.`,
    );
  }
  const [rows, cols] = [grid.rows * patchSize, grid.cols * patchSize];
  if (rows === height && cols === width) return Float32Array.from(pixels);
  const planes = batch * 3;
  const cropped = new Float32Array(planes * rows * cols);
  for (let plane = 0; plane < planes; plane++) {
    for (let row = 0; row < rows; row++) {
      const from = (plane * height + row) * width;
      cropped.set(pixels.subarray(from, from + cols), (plane * rows + row) * cols);
    }
  }
  return cropped;
}

/** Returns the placement of normalised pixels, which were not resized. */
export const placementOfPixels = (width: number, height: number, patchSize: number): ImagePlacement => ({
  width,
  height,
  orientation: 1,
  resizedWidth: width,
  resizedHeight: height,
  left: 0,
  top: 0,
  patchSize,
});
