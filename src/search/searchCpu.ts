/** Search on the CPU: every score in float64, the best k kept. */
import { pause } from '../platform/pause.js';
import type { Items } from './items.js';
import { TopK, type Scored } from './topK.js';

/** What is searched for. */
export interface Query {
  /** f32 numbers, of length 1 for `cosine`. */
  readonly vector: Float32Array<ArrayBuffer>;
}

export interface Limits {
  readonly topK: number;
  /** 1 for rows that may be found; undefined: all may. */
  readonly allowed: Uint8Array | undefined;
  readonly threshold: number;
}

/** Milliseconds after which the page gets its turn. */
const SLICE_MS = 12;
const ROWS = 1024;

/** Says when a long loop should `pause`. */
export class Pace {
  #last = performance.now();

  /** @throws the signal's reason */
  async turn(signal: AbortSignal | undefined): Promise<void> {
    if (performance.now() - this.#last < SLICE_MS) return;
    await pause();
    signal?.throwIfAborted();
    this.#last = performance.now();
  }
}

/**
 * The best of the rows that are there now, for each query; undefined if a row was moved meanwhile, and the
 * search is to be done again.
 * @param whole do it in one go, whatever it takes
 */
export async function searchCpu(
  items: Items,
  queries: readonly Query[],
  { topK, allowed, threshold }: Limits,
  signal: AbortSignal | undefined,
  whole: boolean,
): Promise<Scored[][] | undefined> {
  const { vectors, ids } = items;
  const { count, moves } = vectors;
  const wide = queries.map(({ vector }) => Float64Array.from(vector));
  const best = queries.map(() => new TopK(topK, ids));
  const scores = new Float64Array(ROWS);
  const pace = new Pace();
  for (let begin = 0; begin < count; begin += ROWS) {
    const end = Math.min(count, begin + ROWS);
    for (const [q, query] of wide.entries()) {
      vectors.scores(query, begin, end, scores);
      for (let row = begin; row < end; row++) {
        const score = scores[row - begin]!;
        if (score >= threshold && (!allowed || allowed[row] === 1)) best[q]!.offer(row, score);
      }
    }
    if (whole) continue;
    await pace.turn(signal);
    if (vectors.moves !== moves) return undefined;
  }
  return best.map((each) => each.sorted());
}
