/**
 * `searchParts`: finds images that contain a region similar to a region of the query image. The query vector
 * is the mean direction of the region's patches. The score of a window of patches is the mean of the scores
 * of its patches with the query vector; the score of an image is the score of its best window. Windows have
 * the region's size, and half, √½, √2 and 2 times its sides, at every position in the image.
 */
import { IndexError } from '../errors.js';
import { checkPatches, decodedPatches, unitPatch } from './checks.js';
import { checkedVector } from './codec.js';
import type { Items } from './items.js';
import type { IndexHeader } from './journal.js';
import type { PartQuery, PatchBox } from './options.js';
import { Pace } from './searchCpu.js';
import { TopK, type Scored } from './topK.js';

/** Window sides as multiples of the region's sides. */
const SCALES = [0.5, Math.SQRT1_2, 1, Math.SQRT2, 2];

/** The region of the query image for which `searchParts` looks. */
export interface RegionQuery {
  /** Mean direction of the region's patches, a vector of length 1. */
  readonly vector: Float32Array<ArrayBuffer>;
  /** Height of the region in patches. */
  readonly rows: number;
  /** Width of the region in patches. */
  readonly cols: number;
}

/**
 * Computes the query vector of a region. @throws IndexError INDEX_PATCHES if the index stores no patches, or
 * the region extends beyond the image
 */
export function regionQuery(query: PartQuery, { dim, patches }: IndexHeader): RegionQuery {
  const where = 'searchByPart';
  if (patches === 'none')
    throw new IndexError(
      'INDEX_PATCHES',
      `${where}: this index does not store patches. Make the index with patches: 'f16' or 'int8'.`,
    );
  const { rows, cols } = checkPatches(query, dim, where);
  const region = query.region ?? { row: 0, col: 0, rows, cols };
  const whole = [region.row, region.col, region.rows, region.cols].every(
    (value) => Number.isInteger(value) && value >= 0,
  );
  if (
    !whole ||
    region.rows < 1 ||
    region.cols < 1 ||
    region.row + region.rows > rows ||
    region.col + region.cols > cols
  ) {
    throw new IndexError(
      'INDEX_PATCHES',
      `${where}: expected a region within ${rows} × ${cols} patches, found ${region.rows} × ${region.cols} at (${region.row}, ${region.col}). Give the region in patches, not pixels, counted from the top left.`,
    );
  }
  const sum = new Float64Array(dim);
  for (let row = region.row; row < region.row + region.rows; row++) {
    for (let col = region.col; col < region.col + region.cols; col++) {
      const unit = unitPatch(query, row * cols + col, dim, where);
      for (let i = 0; i < dim; i++) sum[i] = sum[i]! + unit[i]!;
    }
  }
  return {
    vector: checkedVector(sum, { dim, metric: 'cosine' }, where),
    rows: region.rows,
    cols: region.cols,
  };
}

/** A row of the vector table with the score and the position of its best window. */
export interface PartScored extends Scored {
  readonly box: PatchBox;
}

/**
 * Finds the items with the best scores among the items that have patches. Returns undefined if an existing
 * row of the vector table changed during the search, because the results could then name wrong items.
 * @param whole true to run without yielding to the event loop, so that no vector can change during the
 *   computation
 * @throws the signal's reason
 */
export async function searchParts(
  items: Items,
  { dim, patches: storage }: IndexHeader,
  region: RegionQuery,
  topK: number,
  allowed: Uint8Array | undefined,
  threshold: number,
  signal: AbortSignal | undefined,
  whole: boolean,
): Promise<PartScored[] | undefined> {
  const { vectors, patches, ids } = items;
  const { moves, count } = vectors;
  if (storage === 'none') return [];
  const query = Float64Array.from(region.vector);
  const best = new TopK(topK, ids);
  const boxes = new Map<number, PatchBox>();
  const pace = new Pace();
  let decoded = new Float32Array(0);
  for (let row = 0; row < count; row++) {
    const grid = patches[row];
    if (!grid || (allowed && allowed[row] !== 1)) continue;
    const numbers = grid.rows * grid.cols * dim;
    if (decoded.length < numbers) decoded = new Float32Array(numbers);
    decodedPatches(grid, dim, storage, decoded);
    const { score, box } = bestWindow(
      patchScores(decoded, query, grid.rows * grid.cols),
      grid.rows,
      grid.cols,
      region,
    );
    if (score >= threshold) {
      best.offer(row, score);
      boxes.set(row, box);
    }
    if (whole) continue;
    await pace.rest(signal);
    if (vectors.moves !== moves) return undefined;
  }
  return best.sorted().map((scored) => ({ ...scored, box: boxes.get(scored.row)! }));
}

/** Computes the score of every patch: the dot product of the patch vector and the query vector. */
function patchScores(tokens: Float32Array, query: Float64Array, count: number): Float64Array {
  const dim = query.length;
  const scores = new Float64Array(count);
  for (let patch = 0, at = 0; patch < count; patch++, at += dim) {
    let [even, odd] = [0, 0];
    for (let i = 0; i + 1 < dim; i += 2) {
      even += query[i]! * tokens[at + i]!;
      odd += query[i + 1]! * tokens[at + i + 1]!;
    }
    scores[patch] = even + odd + (dim % 2 === 1 ? query[dim - 1]! * tokens[at + dim - 1]! : 0);
  }
  return scores;
}

/**
 * Returns the window with the highest mean score. If several windows have this score, returns the first of
 * them in the order of window size, row and column.
 */
function bestWindow(
  scores: Float64Array,
  rows: number,
  cols: number,
  region: RegionQuery,
): { score: number; box: PatchBox } {
  // sums[r][c] is the sum of all patch scores above row r and left of column c.
  const wide = cols + 1;
  const sums = new Float64Array((rows + 1) * wide);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++)
      sums[(r + 1) * wide + c + 1] =
        scores[r * cols + c]! + sums[r * wide + c + 1]! + sums[(r + 1) * wide + c]! - sums[r * wide + c]!;
  }
  let best = { score: -Infinity, box: { row: 0, col: 0, rows, cols } };
  for (const [height, width] of windowSizes(region, rows, cols)) {
    for (let row = 0; row + height <= rows; row++) {
      for (let col = 0; col + width <= cols; col++) {
        const top = row * wide + col;
        const bottom = top + height * wide;
        const score =
          (sums[bottom + width]! - sums[bottom]! - sums[top + width]! + sums[top]!) / (height * width);
        if (score > best.score) best = { score, box: { row, col, rows: height, cols: width } };
      }
    }
  }
  return best;
}

/** Returns the distinct window sizes, the region's own size first. No window is larger than the image. */
function windowSizes(region: RegionQuery, rows: number, cols: number): [number, number][] {
  const sizes = new Map<string, [number, number]>();
  for (const scale of [1, ...SCALES]) {
    const size: [number, number] = [
      Math.min(rows, Math.max(1, Math.round(region.rows * scale))),
      Math.min(cols, Math.max(1, Math.round(region.cols * scale))),
    ];
    sizes.set(size.join(' × '), size);
  }
  return [...sizes.values()];
}
