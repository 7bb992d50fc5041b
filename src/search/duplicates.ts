/**
 * Near-duplicates: items are in one group if a chain of pairs leads from one to the other, each pair with a
 * score from a threshold on. Every pair is compared, or joined already by others. A GPU names candidates with
 * a proven margin (`pairsGpu.ts`); the verdict is float64's, here.
 */
import { Groups } from './groups.js';
import type { Items } from './items.js';
import { Pace } from './searchCpu.js';
import type { VectorTable } from './table.js';

/** Names pairs (a, b), a < b, whose score may reach the threshold, and whose groups differ. */
export interface PairFinder {
  /**
   * Calls `onPairs` with pairs until all rows have been compared; `labels` tells what is joined by now.
   * False: a row was moved, begin again.
   * @throws DeviceError; the signal's reason
   */
  find(
    threshold: number,
    groups: Groups,
    onPairs: (pairs: Uint32Array) => Promise<boolean>,
    signal: AbortSignal | undefined,
  ): Promise<boolean>;
}

/** Groups of rows; undefined if a row was moved meanwhile. */
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
  const turn = async (): Promise<boolean> => {
    if (whole) return true;
    await pace.turn(signal);
    return vectors.moves === moves;
  };
  if (finder) {
    const query = new Float64Array(vectors.dim);
    const decoded = new Float32Array(vectors.dim);
    const onPairs = async (pairs: Uint32Array): Promise<boolean> => {
      let last = -1;
      for (let i = 0; i < pairs.length; i += 2) {
        if (i % 1024 === 0 && !(await turn())) return false;
        const [a, b] = [pairs[i]!, pairs[i + 1]!];
        if (groups.find(a) === groups.find(b)) continue;
        if (a !== last) query.set(vectors.decode(a, decoded));
        last = a;
        if (vectors.score(query, b) >= threshold) groups.join(a, b);
      }
      return turn();
    };
    return (await finder.find(threshold, groups, onPairs, signal)) ? groups.rows() : undefined;
  }
  const scores = new Float64Array(1024);
  for (let a = 0; a < count; a++) {
    if (groups.joins === count - 1) break; // all are one group
    const query = Float64Array.from(vectors.decode(a));
    for (let begin = a + 1; begin < count; begin += 1024) {
      const end = Math.min(count, begin + 1024);
      vectors.scores(query, begin, end, scores);
      for (let b = begin; b < end; b++) if (scores[b - begin]! >= threshold) groups.join(a, b);
      if (!(await turn())) return undefined;
    }
  }
  return groups.rows();
}

/**
 * Vectors of the same bytes need no comparison, however many they are. Only if such a pair reaches the
 * threshold: short vectors do not.
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
