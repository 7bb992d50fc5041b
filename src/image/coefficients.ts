/**
 * The filter weights of Pillow's resize, bit for bit. They are computed in float64 in Pillow's order of
 * operations, then rounded to fixed point with 22 fractional bits. Source: python-pillow/Pillow,
 * src/libImaging/Resample.c (filters, precompute_coeffs, normalize_coeffs_8bpc) and Geometry.c
 * (ImagingScaleAffine, for `nearest`).
 */

/**
 * Fractional bits of a weight. A weighted sum of 8-bit values fits in 32 bits, which
 * test/image/coefficients.test.ts proves.
 */
export const WEIGHT_BITS = 22;

/** Names of Pillow's resampling filters. The index in this list is Pillow's number for the filter. */
export const RESAMPLES: readonly Resample[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'];

/** Name of one of Pillow's resampling filters. */
export type Resample = 'nearest' | 'lanczos' | 'bilinear' | 'bicubic' | 'box' | 'hamming';

/** For each pixel of a resized line, the source pixels that it reads and their weights. */
export interface Taps {
  /** Number of pixels in the line. */
  readonly length: number;
  /** Number of weights per pixel. A pixel that needs fewer weights has zeros at the end. */
  readonly count: number;
  /**
   * For every pixel: the index of the first source pixel that it reads, then `count` weights. The index is -1
   * for a pixel outside the resized line.
   */
  readonly table: Int32Array<ArrayBuffer>;
  /** Only source pixels in [begin, end) are read. */
  readonly begin: number;
  readonly end: number;
}

interface Filter {
  /** Radius: the weight is 0 at a larger distance from the centre. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

/** Computes Keys' cubic convolution kernel with a = -1/2. */
function cubic(x: number): number {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

/** Factors of the Hamming window. They are rounded to single precision, as in Pillow's C code. */
const HAMMING = [Math.fround(0.54), Math.fround(0.46)] as const;

function hamming(x: number): number {
  const d = Math.abs(x);
  if (d === 0) return 1;
  if (d >= 1) return 0;
  const angle = d * Math.PI;
  return (Math.sin(angle) / angle) * (HAMMING[0] + HAMMING[1] * Math.cos(angle));
}

function sinc(x: number): number {
  if (x === 0) return 1;
  const angle = x * Math.PI;
  return Math.sin(angle) / angle;
}

const FILTERS: Readonly<Record<Exclude<Resample, 'nearest'>, Filter>> = {
  box: { support: 0.5, weight: (x) => Number(x > -0.5 && x <= 0.5) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: { support: 1, weight: hamming },
  bicubic: { support: 2, weight: cubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/**
 * Computes the taps (source pixels and weights) of pixels [first, first + length) of a line that is resized
 * from `sourceSize` to `resizedSize` pixels. For a padded crop the range may begin below 0 and end past the
 * resized line. At least one pixel of the range must lie inside the line.
 */
export function resizeTaps(
  sourceSize: number,
  resizedSize: number,
  first: number,
  length: number,
  resample: Resample,
): Taps {
  const inside = { from: Math.max(first, 0), to: Math.min(first + length, resizedSize) };
  // Pillow copies a line whose length does not change.
  const taps =
    sourceSize === resizedSize || resample === 'nearest'
      ? nearestTaps(sourceSize, resizedSize, inside.from, inside.to)
      : filterTaps(sourceSize, resizedSize, inside.from, inside.to, FILTERS[resample]);
  if (inside.to - inside.from === length) return taps;
  const stride = taps.count + 1;
  const table = new Int32Array(length * stride);
  for (let i = 0; i < length; i++) table[i * stride] = -1;
  table.set(taps.table, (inside.from - first) * stride);
  return { ...taps, table, length };
}

/**
 * Computes the taps of the filter `nearest`: one source pixel for each resized pixel. Adds the step to the
 * position pixel by pixel, as Pillow does, to make the same rounding errors.
 */
function nearestTaps(sourceSize: number, resizedSize: number, from: number, to: number): Taps {
  const step = sourceSize / resizedSize;
  const table = new Int32Array((to - from) * 2);
  let at = step * 0.5;
  for (let i = 0; i < to; i++, at += step) {
    if (i < from) continue;
    const source = Math.trunc(at);
    table[(i - from) * 2] = Math.min(source, sourceSize - 1);
    // If rounding moves a position past the end of the source line, the pixel is black.
    table[(i - from) * 2 + 1] = source < sourceSize ? 2 ** WEIGHT_BITS : 0;
  }
  return { length: to - from, count: 1, table, begin: table[0]!, end: table.at(-2)! + 1 };
}

function filterTaps(
  sourceSize: number,
  resizedSize: number,
  from: number,
  to: number,
  { support: reach, weight: weightAt }: Filter,
): Taps {
  const length = to - from;
  const scale = sourceSize / resizedSize;
  const filterScale = Math.max(scale, 1);
  const support = reach * filterScale;
  const inverse = 1 / filterScale;
  const centreOf = (i: number): number => (from + i + 0.5) * scale;
  const beginOf = (i: number): number => Math.max(Math.trunc(centreOf(i) - support + 0.5), 0);
  const endOf = (i: number): number => Math.min(Math.trunc(centreOf(i) + support + 0.5), sourceSize);

  let count = 0;
  for (let i = 0; i < length; i++) count = Math.max(count, endOf(i) - beginOf(i));

  const table = new Int32Array(length * (count + 1));
  const weights = new Float64Array(count);
  for (let i = 0; i < length; i++) {
    const begin = beginOf(i);
    const reads = endOf(i) - begin;
    let sum = 0;
    for (let j = 0; j < reads; j++) {
      const weight = weightAt((j + begin - centreOf(i) + 0.5) * inverse);
      weights[j] = weight;
      sum += weight;
    }
    const at = i * (count + 1);
    table[at] = begin;
    for (let j = 0; j < reads; j++) {
      const weight = sum === 0 ? weights[j]! : weights[j]! / sum;
      table[at + 1 + j] = Math.trunc(weight * 2 ** WEIGHT_BITS + (weight < 0 ? -0.5 : 0.5));
    }
  }
  return { length, count, table, begin: beginOf(0), end: endOf(length - 1) };
}
