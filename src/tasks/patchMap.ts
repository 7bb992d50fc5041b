/** A map with one value for each patch, such as a similarity: colours, resampling, drawing. */
import { OptionError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import { context2dOf, putPixels } from './canvas.js';
import { pictureSize, type PictureSize } from './resizedPicture.js';
import { show } from '../platform/json.js';

/** A patch of an image, counted from the top left. */
export interface PatchPosition {
  /** Row of the patch, counted from 0 at the top. */
  readonly row: number;
  /** Column of the patch, counted from 0 at the left. */
  readonly col: number;
}

/** Options of `PatchMap.rgba` and `PatchMap.draw`. */
export interface PatchMapColorOptions extends PictureSize {
  /** `viridis`: dark blue to yellow. `gray`: black to white. Default: `viridis`. */
  readonly colormap?: 'viridis' | 'gray' | undefined;
  /**
   * The two values that get the first and the last colour of the colour map. Values outside this range are
   * clamped. Default: the smallest and the largest value of the map.
   */
  readonly range?: readonly [low: number, high: number] | undefined;
  /**
   * At a size other than one pixel per patch: true interpolates the values of the map bilinearly, false makes
   * each patch a rectangle. Default: true.
   */
  readonly smooth?: boolean | undefined;
}

/** Colours of matplotlib's viridis at equal distances: red, green and blue. */
const VIRIDIS = [
  [68, 1, 84],
  [71, 44, 122],
  [59, 81, 139],
  [44, 113, 142],
  [33, 144, 141],
  [39, 173, 129],
  [92, 200, 99],
  [170, 220, 50],
  [253, 231, 37],
] as const;
const GRAY = [
  [0, 0, 0],
  [255, 255, 255],
] as const;

/** Largest side of a picture in pixels. */
const MAX_SIDE = 16_384;

/**
 * A map with one value for each patch of an image. A map is plain data in memory: it needs no `dispose()`.
 * @example
 * ```js
 * const map = similarity.map({ row: 8, col: 5 });
 * map.at(8, 5); // 1: a patch is equal to itself
 * map.draw(canvas);
 * ```
 */
export class PatchMap {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** The values, (rows, cols), row by row from the top left. */
  readonly values: Float32Array<ArrayBuffer>;

  /**
   * Creates a map of rows × cols values.
   * @throws OptionError OPTION_VALUE if the number of values is not rows · cols
   */
  constructor(rows: number, cols: number, values: Float32Array<ArrayBuffer>) {
    if (values.length !== rows * cols || rows < 1 || cols < 1)
      throw wrong('PatchMap', `rows × cols = ${rows} × ${cols} values`, values.length);
    this.rows = rows;
    this.cols = cols;
    this.values = values;
  }

  /**
   * Returns the value of a patch.
   * @throws OptionError OPTION_VALUE, if there is no patch at this row and column
   */
  at(row: number, col: number): number {
    if (!isIndex(row, this.rows) || !isIndex(col, this.cols))
      throw wrong(
        'PatchMap.at',
        `a patch of the ${this.rows} × ${this.cols} grid (rows × columns)`,
        `row ${row}, col ${col}`,
      );
    return this.values[row * this.cols + col]!;
  }

  /**
   * Returns the map at a different size, by bilinear interpolation: (height, width). A patch is a square with
   * its value at the centre, as in PyTorch's `interpolate(…, mode='bilinear', align_corners=False)`.
   * @throws OptionError OPTION_VALUE, if a side is out of range
   */
  resized(width: number, height: number): PatchMap {
    for (const side of [width, height])
      if (!Number.isInteger(side) || side < 1 || side > MAX_SIDE)
        throw wrong('PatchMap.resized', `sides from 1 to ${MAX_SIDE} pixels`, `${width} × ${height}`);
    const [across, down] = [tapsOf(this.cols, width), tapsOf(this.rows, height)];
    const out = new Float32Array(height * width);
    for (let y = 0; y < height; y++) {
      const { first, second, weight } = down[y]!;
      const [upper, lower] = [first * this.cols, second * this.cols];
      for (let x = 0; x < width; x++) {
        const tap = across[x]!;
        const top = mix(this.values[upper + tap.first]!, this.values[upper + tap.second]!, tap.weight);
        const bottom = mix(this.values[lower + tap.first]!, this.values[lower + tap.second]!, tap.weight);
        out[y * width + x] = mix(top, bottom, weight);
      }
    }
    return new PatchMap(height, width, out);
  }

  /**
   * Returns the map as colours: RGBA, (height, width, 4), for `new ImageData(pixels, width, height)`. Values that
   * are NaN or infinite are transparent.
   * @throws OptionError OPTION_VALUE, if an option has an invalid value; OPTION_NAME, if an option is unknown
   */
  rgba(options: PatchMapColorOptions = {}): Uint8ClampedArray<ArrayBuffer> {
    return this.#picture('PatchMap.rgba', options).pixels;
  }

  /** Computes the colours. `where` is the name of the method, for error messages. */
  #picture(
    where: string,
    options: PatchMapColorOptions,
  ): { pixels: Uint8ClampedArray<ArrayBuffer>; width: number; height: number } {
    const { colormap = 'viridis', range, smooth = true } = checkOptions(where, options);
    const { width, height } = pictureSize(where, options, this.rows, this.cols);
    const stops = stopsOf(where, colormap);
    const { values } = this.#sized(width, height, smooth);
    const [low, high] = checkRange(where, range ?? extremes(this.values));
    const pixels = new Uint8ClampedArray(4 * values.length);
    for (const [i, value] of values.entries()) {
      if (!Number.isFinite(value)) continue; // stays transparent
      const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5;
      const place = share * (stops.length - 1);
      const stop = Math.min(Math.floor(place), stops.length - 2);
      for (let channel = 0; channel < 3; channel++)
        pixels[4 * i + channel] = mix(stops[stop]![channel]!, stops[stop + 1]![channel]!, place - stop);
      pixels[4 * i + 3] = 255;
    }
    return { pixels, width, height };
  }

  #sized(width: number, height: number, smooth: boolean): PatchMap {
    const { rows, cols, values } = this;
    if (width === cols && height === rows) return this;
    if (smooth) return this.resized(width, height);
    const out = Float32Array.from({ length: height * width }, (_, i) => {
      const row = Math.floor(((Math.floor(i / width) + 0.5) * rows) / height);
      return values[row * cols + Math.floor((((i % width) + 0.5) * cols) / width)]!;
    });
    return new PatchMap(height, width, out);
  }

  /**
   * Draws the map on a canvas, and sets the canvas to the size of the picture. CSS can scale the canvas on
   * the page.
   * @throws ImageError IMAGE_TYPE, if the canvas already has a context other than '2d'; OptionError as `rgba`
   */
  draw(canvas: HTMLCanvasElement | OffscreenCanvas, options: PatchMapColorOptions = {}): void {
    const { pixels, width, height } = this.#picture('PatchMap.draw', options);
    putPixels(context2dOf('PatchMap.draw', canvas), pixels, width, height);
  }
}

/** Returns the colours of a colour map at equal distances. @throws OptionError OPTION_VALUE */
export function stopsOf(where: string, colormap: string): readonly (readonly [number, number, number])[] {
  if (colormap === 'viridis') return VIRIDIS;
  if (colormap === 'gray') return GRAY;
  throw wrong(`${where}: colormap`, "'viridis' or 'gray'", JSON.stringify(colormap));
}

/** Checks the values of the first and the last colour. @throws OptionError OPTION_VALUE */
export function checkRange(
  where: string,
  range: readonly [low: number, high: number],
): readonly [low: number, high: number] {
  const [low, high] = range;
  if (Number.isFinite(low) && Number.isFinite(high) && low <= high) return range;
  throw wrong(`${where}: range`, 'two finite numbers, the lower one first', `${low}, ${high}`);
}

const isIndex = (value: number, count: number): boolean =>
  Number.isInteger(value) && value >= 0 && value < count;

/** The error for an argument with a value that a call cannot use. @param found the value, or a text about it */
export const wrong = (where: string, expected: string, found: unknown): OptionError =>
  new OptionError(
    'OPTION_VALUE',
    `${where}: expected ${expected}, found ${typeof found === 'string' ? found : show(found)}.`,
  );

const mix = (a: number, b: number, weight: number): number => a + (b - a) * weight;

/**
 * Returns, for each output along an axis: the two inputs that it interpolates, and the weight of the second
 * input.
 */
function tapsOf(inputs: number, outputs: number): { first: number; second: number; weight: number }[] {
  return Array.from({ length: outputs }, (_, i) => {
    const position = Math.min(inputs - 1, Math.max(0, ((i + 0.5) * inputs) / outputs - 0.5));
    const first = Math.floor(position);
    return { first, second: Math.min(inputs - 1, first + 1), weight: position - first };
  });
}

/** Returns the smallest and the largest finite value. Returns 0 and 1 if no value is finite. */
function extremes(values: Float32Array): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 1];
}
