/**
 * Which rows of a stored image the first pass of the resize reads, and in which strips they go to the GPU: an
 * image of any size takes a bounded amount of memory there, and no side is limited by that of a texture.
 */
import type { Taps } from './coefficients.js';

/** Rows [begin, end) of the stored image, and the part of `between` that they are enough for. */
export interface Strip {
  readonly begin: number;
  readonly end: number;
  /** Columns [x0, x1) and rows [y0, y1) of `between`. */
  readonly x0: number;
  readonly x1: number;
  readonly y0: number;
  readonly y1: number;
}

export interface StripPlan {
  /** Rows of the stored image. */
  readonly storedRows: number;
  /** Whether the taps of a pixel follow each other from stored row to stored row, not along one. */
  readonly down: boolean;
  /** Whether the first stored row belongs to the last row of the upright image. */
  readonly flipped: boolean;
  /** Of the first pass. */
  readonly taps: Taps;
  /** Columns of `between`. */
  readonly width: number;
  /** Upright rows (columns, where the second pass goes along rows) that `between` holds: [firstRow, firstRow + rows). */
  readonly firstRow: number;
  readonly rows: number;
  /** Stored rows of a strip at most, at least 1. */
  readonly mostRows: number;
}

/**
 * Strips that give all of `between`, in the order of the stored rows or its reverse. A strip is longer than
 * `mostRows` only where a single pixel needs more rows.
 */
export function planStrips(plan: StripPlan): Strip[] {
  return plan.down ? stripsOfColumns(plan) : stripsOfRows(plan);
}

/** Taps lie along stored rows: each stored row gives a row of `between`. */
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

/** Taps lie across stored rows: a strip gives the columns of `between` whose taps it holds; strips overlap. */
function stripsOfColumns({ storedRows, flipped, taps, width, rows, mostRows }: StripPlan): Strip[] {
  const strips: Strip[] = [];
  const stride = taps.count + 1;
  let x0 = 0;
  while (x0 < width) {
    let [from, to] = [Infinity, 0];
    let x1 = x0;
    for (; x1 < width; x1++) {
      const begin = taps.table[x1 * stride]!;
      if (begin < 0) continue; // outside the resized image: reads nothing
      const [low, high] = [Math.min(from, begin), Math.max(to, Math.min(begin + taps.count, taps.end))];
      if (high - low > mostRows && to > 0) break;
      [from, to] = [low, high];
    }
    if (to === 0) [from, to] = [taps.begin, taps.begin + 1]; // nothing but padding: any row will do
    const [begin, end] = flipped ? [storedRows - to, storedRows - from] : [from, to];
    strips.push({ begin, end, x0, x1, y0: 0, y1: rows });
    x0 = x1;
  }
  return strips;
}
