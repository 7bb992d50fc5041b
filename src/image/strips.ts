/**
 * Splits the rows of a stored image into strips for the first pass of the resize. Strips bound the GPU memory
 * of an image of any size, and images may be larger than a texture.
 */
import type { Taps } from './coefficients.js';

/**
 * Rows [begin, end) of the stored image, and the rectangle of the first pass's output (`between` in
 * shaders/resize.wgsl) that can be computed from these rows.
 */
export interface Strip {
  readonly begin: number;
  readonly end: number;
  /** Columns [x0, x1) and rows [y0, y1) of `between`. */
  readonly x0: number;
  readonly x1: number;
  readonly y0: number;
  readonly y1: number;
}

/** Input of `planStrips`. */
export interface StripPlan {
  /** Number of rows of the stored image. */
  readonly storedRows: number;
  /** True if the taps of a pixel run across stored rows, false if they run along one stored row. */
  readonly down: boolean;
  /** True if the first stored row is the last row of the upright image. */
  readonly flipped: boolean;
  /** Taps of the first pass. */
  readonly taps: Taps;
  /** Number of columns of `between`, the first pass's output. */
  readonly width: number;
  /**
   * Range of rows [firstRow, firstRow + rows) of the upright image that `between` holds. If the second pass
   * runs along rows, this range counts columns of the upright image instead.
   */
  readonly firstRow: number;
  readonly rows: number;
  /** Maximum number of stored rows in a strip, at least 1. */
  readonly mostRows: number;
}

/**
 * Plans the strips that cover all of `between`, in ascending or descending order of stored rows. A strip
 * exceeds `mostRows` only if a single pixel needs more rows.
 */
export function planStrips(plan: StripPlan): Strip[] {
  return plan.down ? stripsOfColumns(plan) : stripsOfRows(plan);
}

/** Plans the strips if taps run along stored rows: each stored row gives one row of `between`. */
function stripsOfRows({ storedRows, flipped, width, firstRow, rows, mostRows }: StripPlan): Strip[] {
  const first = flipped ? storedRows - firstRow - rows : firstRow;
  const strips: Strip[] = [];
  for (let begin = first; begin < first + rows; begin += mostRows) {
    const end = Math.min(begin + mostRows, first + rows);
    const y0 = flipped ? storedRows - end - firstRow : begin - firstRow;
    strips.push({ begin, end, x0: 0, x1: width, y0, y1: y0 + end - begin });
  }
  return strips;
}

/**
 * Plans the strips if taps run across stored rows: a strip gives the columns whose taps it contains, so
 * strips overlap.
 */
function stripsOfColumns({ storedRows, flipped, taps, width, rows, mostRows }: StripPlan): Strip[] {
  const strips: Strip[] = [];
  const stride = taps.count + 1;
  let x0 = 0;
  while (x0 < width) {
    let [from, to] = [Infinity, 0];
    let x1 = x0;
    for (; x1 < width; x1++) {
      const begin = taps.table[x1 * stride]!;
      if (begin < 0) continue; // outside the resized image: no taps
      const [low, high] = [Math.min(from, begin), Math.max(to, Math.min(begin + taps.count, taps.end))];
      if (high - low > mostRows && to > 0) break;
      [from, to] = [low, high];
    }
    if (to === 0) [from, to] = [taps.begin, taps.begin + 1]; // only padding: reads any one row
    const [begin, end] = flipped ? [storedRows - to, storedRows - from] : [from, to];
    strips.push({ begin, end, x0, x1, y0: 0, y1: rows });
    x0 = x1;
  }
  return strips;
}
