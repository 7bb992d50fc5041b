/**
 * Search by a part of an image: the query is the mean direction of the patches of a region; an image's score
 * is that of its best window, the mean of the window's scores with the query. Windows have the region's size
 * and some sizes about it, at every place where they fit.
 */
import { IndexError } from '../errors.js';
import { checkPatches, decodedPatches, unitPatch } from './checks.js';
import { checkedVector } from './codec.js';
import type { Items } from './items.js';
import type { IndexHeader } from './journal.js';
import type { PartQuery, PatchBox } from './options.js';
import { Pace } from './searchCpu.js';
import { TopK, type Scored } from './topK.js';

/** Sides of windows, as shares of the region's. */
const SCALES = [0.5, Math.SQRT1_2, 1, Math.SQRT2, 2];

export interface Part {
  /** Of length 1. */
  readonly vector: Float32Array<ArrayBuffer>;
  readonly rows: number;
  readonly cols: number;
}

/** @throws IndexError INDEX_PATCHES if the index has no patches, or the region is not inside of them */
export function partOf(query: PartQuery, { dim, patches }: IndexHeader): Part {
  const where = 'searchByPart';
  if (patches === 'none')
    throw new IndexError(
      'INDEX_PATCHES',
      `${where}: expected an index with patches, found one that keeps none. Make it with patches: 'f16' or 'int8'.`,
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
      `${where}: expected a region inside of ${rows} × ${cols} patches, found ${region.rows} × ${region.cols} at (${region.row}, ${region.col}). Regions are counted in patches, from the top left.`,
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

export interface PartScored extends Scored {
  readonly box: PatchBox;
}

/** The best rows that have patches; undefined if a row was moved meanwhile. */
export async function searchParts(
  items: Items,
  { dim, patches: storage }: IndexHeader,
  part: Part,
  topK: number,
  allowed: Uint8Array | undefined,
  threshold: number,
  signal: AbortSignal | undefined,
  whole: boolean,
): Promise<PartScored[] | undefined> {
  const { vectors, patches, ids } = items;
  const { moves, count } = vectors;
  if (storage === 'none') return [];
  const query = Float64Array.from(part.vector);
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
      part,
    );
    if (score >= threshold) {
      best.offer(row, score);
      boxes.set(row, box);
    }
    if (whole) continue;
    await pace.turn(signal);
    if (vectors.moves !== moves) return undefined;
  }
  return best.sorted().map((scored) => ({ ...scored, box: boxes.get(scored.row)! }));
}

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
 * The window with the highest mean; of equal ones the one of the size that comes first, then the topmost,
 * then the leftmost.
 */
function bestWindow(
  scores: Float64Array,
  rows: number,
  cols: number,
  part: Part,
): { score: number; box: PatchBox } {
  // sums[r][c]: of all patches above row r and left of column c
  const wide = cols + 1;
  const sums = new Float64Array((rows + 1) * wide);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++)
      sums[(r + 1) * wide + c + 1] =
        scores[r * cols + c]! + sums[r * wide + c + 1]! + sums[(r + 1) * wide + c]! - sums[r * wide + c]!;
  }
  let best = { score: -Infinity, box: { row: 0, col: 0, rows, cols } };
  for (const [height, width] of windowSizes(part, rows, cols)) {
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

/** Sizes of windows, each once: the region's own first. None is larger than the image. */
function windowSizes(part: Part, rows: number, cols: number): [number, number][] {
  const sizes = new Map<string, [number, number]>();
  for (const scale of [1, ...SCALES]) {
    const size: [number, number] = [
      Math.min(rows, Math.max(1, Math.round(part.rows * scale))),
      Math.min(cols, Math.max(1, Math.round(part.cols * scale))),
    ];
    sizes.set(size.join(' × '), size);
  }
  return [...sizes.values()];
}
