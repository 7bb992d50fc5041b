/** `searchCpu`: search on the CPU, with every score in float64. */
import { pause } from '../platform/pause.js';
import type { Items } from './items.js';
import { TopK, type Scored } from './topK.js';

/** A query of a search. */
export interface Query {
  /** The query vector (dim), of length 1 for the metric `cosine`. */
  readonly vector: Float32Array<ArrayBuffer>;
}

/** Restrictions on the results of a search. */
export interface Limits {
  /** Maximum number of results. */
  readonly topK: number;
  /** 1 for each row that the filter allows, 0 for any other row; undefined allows all rows. */
  readonly allowed: Uint8Array | undefined;
  /** Minimum score of a result. */
  readonly threshold: number;
}

/** Time in ms after which a loop yields to the event loop. */
const SLICE_MS = 12;
const ROWS = 1024;

/** Yields to the event loop at regular intervals during a long loop, so that the page stays responsive. */
export class Pace {
  #last = performance.now();

  /** Yields to the event loop if the interval has passed since the last yield. */
  async rest(signal: AbortSignal | undefined): Promise<void> {
    if (performance.now() - this.#last < SLICE_MS) return;
    await pause();
    signal?.throwIfAborted();
    this.#last = performance.now();
  }
}

/**
 * Finds the rows with the highest scores for each query. Returns undefined if an existing row of the vector
 * table changed during the search. The results could then name wrong items, so the caller must search again.
 * @param whole true to run without yielding to the event loop, so that no vector can change during the
 *   computation
 * @throws the signal's reason
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
    await pace.rest(signal);
    if (vectors.moves !== moves) return undefined;
  }
  return best.map((each) => each.sorted());
}
