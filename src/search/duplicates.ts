/**
 * `duplicateRows`: finds groups of near-duplicates. Two items whose score reaches the threshold are in one
 * group. Groups are transitive: if a matches b and b matches c, all three are in one group. Every pair of
 * items is compared, except pairs that are already in one group. The GPU only proposes candidate pairs, with
 * a margin for its rounding errors (`pairsGpu.ts`); `duplicateRows` computes the scores of the candidates in
 * float64.
 */
import { Groups } from './groups.js';
import type { Items } from './items.js';
import { Pace } from './searchCpu.js';
import type { VectorTable } from './table.js';

/**
 * Finds candidate pairs: pairs of rows a < b that are not yet in one group, and whose score may reach the
 * threshold.
 */
export interface PairFinder {
  /**
   * Compares all rows, and passes the candidate pairs that it finds to `onPairs`.
   * @param groups the groups of rows that have been joined so far
   * @param onPairs joins the candidate pairs whose score reaches the threshold; resolves to false if an
   *   existing row of the vector table changed
   * @returns false if an existing row of the vector table changed, so that all rows must be compared again
   * @throws DeviceError; the signal's reason
   */
  find(
    threshold: number,
    groups: Groups,
    onPairs: (pairs: Uint32Array) => Promise<boolean>,
    signal: AbortSignal | undefined,
  ): Promise<boolean>;
}

/**
 * Computes the groups of near-duplicates. Each group has two or more rows. Returns undefined if an existing
 * row of the vector table changed during the computation, because the groups could then mix old and new
 * vectors.
 * @param finder proposes candidate pairs; if undefined, all pairs are scored on the CPU
 * @param whole true to run without yielding to the event loop, so that no vector can change during the
 *   computation
 */
export async function duplicateRows(
  items: Items,
  threshold: number,
  finder: PairFinder | undefined,
  signal: AbortSignal | undefined,
  whole: boolean,
): Promise<number[][] | undefined> {
  const { vectors } = items;
  const { moves, count } = vectors;
  const groups = new Groups(count);
  joinEqual(vectors, groups, count, threshold);
  const pace = new Pace();
  const rest = async (): Promise<boolean> => {
    if (whole) return true;
    await pace.rest(signal);
    return vectors.moves === moves;
  };
  if (finder) {
    const query = new Float64Array(vectors.dim);
    const decoded = new Float32Array(vectors.dim);
    const onPairs = async (pairs: Uint32Array): Promise<boolean> => {
      let last = -1;
      for (let i = 0; i < pairs.length; i += 2) {
        if (i % 1024 === 0 && !(await rest())) return false;
        const [a, b] = [pairs[i]!, pairs[i + 1]!];
        if (groups.find(a) === groups.find(b)) continue;
        if (a !== last) query.set(vectors.decode(a, decoded));
        last = a;
        if (vectors.score(query, b) >= threshold) groups.join(a, b);
      }
      return rest();
    };
    return (await finder.find(threshold, groups, onPairs, signal)) ? groups.rows() : undefined;
  }
  const scores = new Float64Array(1024);
  for (let a = 0; a < count; a++) {
    if (groups.joins === count - 1) break; // all rows are in one group
    const query = Float64Array.from(vectors.decode(a));
    for (let begin = a + 1; begin < count; begin += 1024) {
      const end = Math.min(count, begin + 1024);
      vectors.scores(query, begin, end, scores);
      for (let b = begin; b < end; b++) if (scores[b - begin]! >= threshold) groups.join(a, b);
      if (!(await rest())) return undefined;
    }
  }
  return groups.rows();
}

/**
 * Joins rows with identical bytes in one group before pairs are compared, so that many copies of one vector
 * do not produce many candidate pairs. Copies are joined only if their score with each other reaches the
 * threshold: with the metric `dot`, the score of a short vector with its copy may be lower.
 */
function joinEqual(vectors: VectorTable, groups: Groups, count: number, threshold: number): void {
  const firstOf = new Map<number, number[]>();
  for (let row = 0; row < count; row++) {
    const bytes = vectors.encoded(row);
    let hash = 0x811c9dc5;
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
    const known = firstOf.get(hash);
    const same = known?.find((other) => {
      const others = vectors.encoded(other);
      return bytes.every((byte, i) => byte === others[i]);
    });
    if (same === undefined) {
      if (known) known.push(row);
      else firstOf.set(hash, [row]);
    } else if (vectors.score(Float64Array.from(vectors.decode(row)), same) >= threshold) {
      groups.join(same, row);
    }
  }
}
