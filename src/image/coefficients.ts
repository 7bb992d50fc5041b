/**
 * The weights of Pillow's resize, bit for bit: float64 at first, in Pillow's order of operations, then whole
 * numbers with 22 bits behind the point (python-pillow/Pillow, src/libImaging/Resample.c: filters,
 * precompute_coeffs, normalize_coeffs_8bpc; Geometry.c: ImagingScaleAffine for `nearest`).
 */

/**
 * Bits behind the point of a weight. A sum of 8-bit values times weights stays in 32 bits:
 * test/image/coefficients.test.ts.
 */
export const WEIGHT_BITS = 22;

/** Pillow's resampling filters, each at its number there. */
export const RESAMPLES = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'] as const;

/** One of Pillow's resampling filters. */
export type Resample = (typeof RESAMPLES)[number];

/** What each pixel of a resized line is made of. */
export interface Taps {
  /** Pixels of the line. */
  readonly length: number;
  /** Weights of a pixel; where it needs fewer, the last ones are 0. */
  readonly count: number;
  /**
   * For every pixel: the first source pixel that it reads, then `count` weights. The first is -1 for a pixel
   * outside the resized line.
   */
  readonly table: Int32Array<ArrayBuffer>;
  /** The source pixels [begin, end) are all that is read. */
  readonly begin: number;
  readonly end: number;
}

interface Filter {
  /** How far it reaches to both sides of its centre. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

/** Keys's cubic with a = -1/2. */
function cubic(x: number): number {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

/** Pillow writes the two factors as C floats. */
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
 * The taps of pixels [first, first + length) of a line of `sourceSize` pixels that is resized to
 * `resizedSize`. The range may begin below 0 and end past the resized line, where a crop is padded; at least
 * one of its pixels lies inside.
 */
export function resizeTaps(
  sourceSize: number,
  resizedSize: number,
  first: number,
  length: number,
  resample: Resample,
): Taps {
  const inside = { from: Math.max(first, 0), to: Math.min(first + length, resizedSize) };
  // Pillow copies a side that keeps its length.
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

/** One tap a pixel. Pillow adds the step up pixel by pixel, and so its rounding. */
function nearestTaps(sourceSize: number, resizedSize: number, from: number, to: number): Taps {
  const step = sourceSize / resizedSize;
  const table = new Int32Array((to - from) * 2);
  let at = step * 0.5;
  for (let i = 0; i < to; i++, at += step) {
    if (i < from) continue;
    const source = Math.trunc(at);
    table[(i - from) * 2] = Math.min(source, sourceSize - 1);
    // A position that rounding has brought past the end stays black.
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
