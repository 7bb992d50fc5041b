/**
 * The weights of Pillow's bicubic resize, bit for bit: float64 at first, in Pillow's order of operations,
 * then whole numbers with 22 bits behind the point (python-pillow/Pillow, src/libImaging/Resample.c:
 * bicubic_filter, precompute_coeffs, normalize_coeffs_8bpc).
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
  /** Weights of a pixel; where it needs fewer, the last ones are 0. */
  readonly count: number;
  /** For every pixel: the first source pixel that it reads, then `count` weights. */
  readonly table: Int32Array<ArrayBuffer>;
  /** The source pixels [begin, end) are all that is read. */
  readonly begin: number;
  readonly end: number;
}

/** How far the cubic reaches to both sides of its centre. */
const SUPPORT = 2;

/** Keys's cubic with a = -1/2. */
function cubic(x: number): number {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  if (d < 2) return (((d - 5) * d + 8) * d - 4) * a;
  return 0;
}

/**
 * The taps of pixels [first, first + length) of a line of `sourceSize` pixels that is resized to
 * `resizedSize`.
 */
export function resizeTaps(sourceSize: number, resizedSize: number, first: number, length: number): Taps {
  const scale = sourceSize / resizedSize;
  const filterScale = Math.max(scale, 1);
  const support = SUPPORT * filterScale;
  const inverse = 1 / filterScale;
  const centreOf = (i: number): number => (first + i + 0.5) * scale;
  const fromOf = (i: number): number => Math.max(Math.trunc(centreOf(i) - support + 0.5), 0);
  const toOf = (i: number): number => Math.min(Math.trunc(centreOf(i) + support + 0.5), sourceSize);

  let count = 0;
  for (let i = 0; i < length; i++) count = Math.max(count, toOf(i) - fromOf(i));

  const table = new Int32Array(length * (count + 1));
  const weights = new Float64Array(count);
  for (let i = 0; i < length; i++) {
    const from = fromOf(i);
    const reads = toOf(i) - from;
    let sum = 0;
    for (let j = 0; j < reads; j++) {
      const weight = cubic((j + from - centreOf(i) + 0.5) * inverse);
      weights[j] = weight;
      sum += weight;
    }
    const at = i * (count + 1);
    table[at] = from;
    for (let j = 0; j < reads; j++) {
      const weight = weights[j]! / sum;
      table[at + 1 + j] = Math.trunc(weight * 2 ** WEIGHT_BITS + (weight < 0 ? -0.5 : 0.5));
    }
  }
  return { count, table, begin: fromOf(0), end: toOf(length - 1) };
}
