/**
 * `clusterRows`: spherical k-means, which clusters vectors by direction. k-means++ chooses the initial
 * centres from a sample of the rows; the seed determines the random numbers that it uses. Then two steps
 * alternate until no row is assigned to a different centre: every row is assigned to the centre with the
 * highest score, and every centre moves to the mean direction of its rows. All decisions are made in float64
 * and in the order in which items were added, so that GPU and CPU give the same clusters.
 */
import { ROWS_PER_CLUSTER, SAMPLE, unitRow } from './sample.js';
import type { Items } from './items.js';
import { Pace } from './searchCpu.js';

/** Assigns every row of the vector table to its nearest cluster centre. */
export interface Assigner {
  /**
   * Returns, for every row, the index of the centre with the highest exact score. If several centres have
   * this score, the first of them is chosen. Returns undefined if an existing row of the vector table changed
   * during the computation, because the scores could then mix old and new vectors.
   * @param centers unit vectors
   */
  assign(
    centers: readonly Float32Array<ArrayBuffer>[],
    signal: AbortSignal | undefined,
  ): Promise<Uint32Array | undefined>;
}

/** Clusters of rows of the vector table. */
export interface RowClusters {
  /** Row numbers in each cluster, nearest to its centre first. The largest cluster comes first. */
  readonly rows: readonly (readonly number[])[];
  /** Centre of each cluster, a unit vector, in the order of `rows`. */
  readonly centers: readonly Float32Array<ArrayBuffer>[];
}

/**
 * Computes the clusters of the rows. Returns undefined if an existing row of the vector table changed during
 * the computation, because the clusters could then mix old and new vectors.
 * @param assigner assigns rows on the GPU; if undefined, the CPU assigns them
 * @param whole true to run without yielding to the event loop, so that no vector can change during the
 *   computation
 */
export async function clusterRows(
  items: Items,
  k: number,
  seed: number,
  maxIterations: number,
  assigner: Assigner | undefined,
  signal: AbortSignal | undefined,
  whole: boolean,
): Promise<RowClusters | undefined> {
  const { vectors, rowOf } = items;
  const { dim, moves, count } = vectors;
  const order = [...rowOf.values()];
  const pace = new Pace();
  const rest = async (): Promise<boolean> => {
    if (whole) return true;
    await pace.rest(signal);
    return vectors.moves === moves;
  };
  const started = await startCenters(items, order, Math.min(k, count), seed, rest);
  if (!started) return undefined;
  let centers = started;
  let assigned = new Uint32Array(0);
  const unit = new Float32Array(dim);
  for (let iteration = 0; ; iteration++) {
    const next = assigner
      ? await assigner.assign(centers, signal)
      : await assignRows(items, count, centers, rest);
    if (!next || vectors.moves !== moves) return undefined;
    const settled = iteration > 0 && next.every((center, row) => center === assigned[row]);
    assigned = Uint32Array.from(next);
    if (settled || iteration >= maxIterations) break;
    const sums = centers.map(() => new Float64Array(dim));
    for (const [i, row] of order.entries()) {
      if (i % 256 === 0 && !(await rest())) return undefined;
      unitRow(vectors, row, unit);
      const sum = sums[assigned[row]!]!;
      for (let j = 0; j < dim; j++) sum[j] = sum[j]! + unit[j]!;
    }
    centers = sums.map((sum, c) => normalized(sum) ?? centers[c]!);
  }
  const scored = Array.from(centers, (): { row: number; score: number }[] => []);
  const queries = centers.map((center) => Float64Array.from(center));
  for (let row = 0; row < count; row++)
    scored[assigned[row]!]!.push({ row, score: vectors.score(queries[assigned[row]!]!, row) });
  const clusters = scored.map((rows, c) => ({
    rows: rows
      .sort((a, b) => b.score - a.score || (items.ids[a.row]! < items.ids[b.row]! ? -1 : 1))
      .map(({ row }) => row),
    center: centers[c]!,
    c,
  }));
  clusters.sort((a, b) => b.rows.length - a.rows.length || a.c - b.c);
  const filled = clusters.filter(({ rows }) => rows.length > 0);
  return { rows: filled.map(({ rows }) => rows), centers: filled.map(({ center }) => center) };
}

/** Returns the vector scaled to length 1, or undefined if all of its components are zero. */
function normalized(sum: Float64Array): Float32Array<ArrayBuffer> | undefined {
  let squares = 0;
  for (let i = 0; i < sum.length; i++) squares += sum[i]! ** 2;
  return squares > 0 ? Float32Array.from(sum, (value) => value / Math.sqrt(squares)) : undefined;
}

/**
 * Returns the index of the centre with the highest float64 score for one row. If several centres have this
 * score, returns the first of them.
 */
export function nearestCenter(items: Items, row: number, queries: readonly Float64Array[]): number {
  let [best, highest] = [0, -Infinity];
  for (let c = 0; c < queries.length; c++) {
    const score = items.vectors.score(queries[c]!, row);
    if (score > highest) [best, highest] = [c, score];
  }
  return best;
}

async function assignRows(
  items: Items,
  count: number,
  centers: readonly Float32Array<ArrayBuffer>[],
  rest: () => Promise<boolean>,
): Promise<Uint32Array | undefined> {
  const queries = centers.map((center) => Float64Array.from(center));
  const nearest = new Uint32Array(count);
  const highest = new Float64Array(count).fill(-Infinity);
  const scores = new Float64Array(1024);
  for (let begin = 0; begin < count; begin += 1024) {
    const end = Math.min(count, begin + 1024);
    for (const [c, query] of queries.entries()) {
      items.vectors.scores(query, begin, end, scores);
      for (let row = begin; row < end; row++) {
        if (!(scores[row - begin]! > highest[row]!)) continue;
        highest[row] = scores[row - begin]!;
        nearest[row] = c;
      }
      if (!(await rest())) return undefined;
    }
  }
  return nearest;
}

/**
 * Chooses the initial centres by k-means++ (Arthur and Vassilvitskii, 2007) on a sample of the rows: each
 * further centre is a row drawn with a probability proportional to its squared distance from the nearest
 * centre chosen so far. Returns undefined if an existing row of the vector table changed during the
 * computation, because the distances could then mix old and new vectors.
 */
async function startCenters(
  items: Items,
  order: readonly number[],
  k: number,
  seed: number,
  rest: () => Promise<boolean>,
): Promise<Float32Array<ArrayBuffer>[] | undefined> {
  const { vectors } = items;
  const random = randomNumbers(seed);
  const left = [...order];
  const size = Math.min(left.length, Math.max(SAMPLE, ROWS_PER_CLUSTER * k));
  for (let i = 0; i < size; i++) {
    const j = i + Math.floor(random() * (left.length - i));
    [left[i], left[j]] = [left[j]!, left[i]!];
  }
  const sample = left.slice(0, size).map((row) => unitRow(vectors, row, new Float32Array(vectors.dim)));
  const distances = new Float64Array(size).fill(Infinity);
  const centers: Float32Array<ArrayBuffer>[] = [];
  let chosen = 0;
  while (centers.length < k) {
    const center = sample[chosen]!;
    centers.push(center.slice());
    let sum = 0;
    for (let i = 0; i < size; i++) {
      const candidate = sample[i]!;
      let score = 0;
      for (let j = 0; j < candidate.length; j++) score += center[j]! * candidate[j]!;
      distances[i] = Math.min(distances[i]!, Math.max(0, 2 - 2 * score));
      if (i === chosen) distances[i] = 0;
      sum += distances[i]!;
    }
    if (!(await rest())) return undefined;
    if (centers.length === k) break;
    let target = random() * sum;
    // If rounding errors leave `target` above zero after the loop, the last row that may be drawn is chosen.
    chosen = distances.findLastIndex((distance) => distance > 0);
    if (chosen < 0) break; // the sample has fewer distinct directions than `k`
    for (let i = 0; i < size; i++) {
      target -= distances[i]!;
      if (target < 0 && distances[i]! > 0) {
        chosen = i;
        break;
      }
    }
  }
  return centers;
}

/** Returns a random number generator (mulberry32). The same seed gives the same numbers on every machine. */
function randomNumbers(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
