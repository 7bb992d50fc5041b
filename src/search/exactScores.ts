/**
 * The last step of a search on the GPU, on the CPU: computes the scores of the candidates in float64, selects the
 * best, and checks what the GPU computed. The check needs no self-test of the search kernels: it uses the
 * scores of a range of rows, all rows in the first search and a few in each later search.
 */
import { DeviceError } from '../errors.js';
import { scoreError, type ScaledQuery } from './errorBound.js';
import type { Items } from './items.js';
import type { Limits, Pace } from './searchCpu.js';
import { TopK, type Scored } from './topK.js';

/**
 * Number of products that check the scores of a range. In a range with more products, some blocks of rows are
 * not computed again.
 */
const CHECKED_PRODUCTS = 1 << 25;
/** Number of rows whose scores are computed without a pause. */
const ROWS = 64;

/** What the GPU found for one query. Scores are those with the scaled query. */
export interface Found {
  /** Row numbers of the candidates: the rows that can be among the best. */
  readonly rows: Uint32Array;
  /** The scores of the candidates. */
  readonly scores: Float32Array;
  /** The scores of consecutive rows, whether or not they are candidates. */
  readonly range: { readonly first: number; readonly scores: Float32Array };
}

/** Computes exact scores for one search. */
export class ExactScores {
  readonly #items: Items;
  readonly #limits: Limits;
  readonly #moves: number;
  readonly #gpuName: string;
  readonly #pace: Pace;
  readonly #signal: AbortSignal | undefined;

  /**
   * @param moves `vectors.moves` when the search began
   * @param gpuName name of the adapter, for error messages
   */
  constructor(
    items: Items,
    limits: Limits,
    moves: number,
    gpuName: string,
    pace: Pace,
    signal: AbortSignal | undefined,
  ) {
    this.#items = items;
    this.#limits = limits;
    this.#moves = moves;
    this.#gpuName = gpuName;
    this.#pace = pace;
    this.#signal = signal;
  }

  /**
   * Returns the best rows of one query, or undefined if an existing row of the vector table changed.
   * @throws DeviceError KERNEL_WRONG if an f32 score differs from the exact score by more than its error bound,
   *   if a candidate does not exist or occurs twice, or if a row of the range is missing in the result; the
   *   signal's reason
   */
  async best(
    vector: Float32Array<ArrayBuffer>,
    { scale, norm }: ScaledQuery,
    { rows, scores, range }: Found,
  ): Promise<Scored[] | undefined> {
    const { vectors, ids } = this.#items;
    const { topK, threshold, allowed } = this.#limits;
    const query = Float64Array.from(vector);
    const error = scoreError(vectors.dim, vectors.storage, norm, vectors.largestNorm);
    const check = (row: number, found: number, exact: number): void => {
      if (!(Math.abs(found - exact / scale) <= error))
        throw this.#wrong(`a score within ${error} of ${exact / scale} for row ${row}, found ${found}`);
    };
    const selected = new TopK(topK, ids);
    for (let i = 0; i < rows.length; i++) {
      if (i % (8 * ROWS) === 0 && !(await this.#rest())) return undefined;
      const row = rows[i]!;
      if (row >= vectors.count) throw this.#wrong(`a row below ${vectors.count}, found ${row}`);
      const score = vectors.score(query, row);
      check(row, scores[i]!, score);
      if (score >= threshold) selected.offer(row, score);
    }
    const best = selected.sorted();

    const hits = new Set(best.map(({ row }) => row));
    if (hits.size < best.length)
      throw this.#wrong(`${best.length} rows, found only ${hits.size} different rows`);
    // A row with a higher exact score than this must be in the result.
    const lowest = (best.length < topK ? threshold : best.at(-1)!.score) / scale;
    const blocks = Math.ceil(range.scores.length / ROWS);
    const step = Math.ceil((blocks * ROWS * vectors.dim) / CHECKED_PRODUCTS);
    const exact = new Float64Array(ROWS);
    for (let block = 0; block < blocks; block++) {
      if (!(await this.#rest())) return undefined;
      const first = range.first + block * ROWS;
      const found = range.scores.subarray(block * ROWS, (block + 1) * ROWS);
      const recompute = block % step === 0;
      if (recompute) vectors.scores(query, first, first + found.length, exact);
      for (const [i, score] of found.entries()) {
        const row = first + i;
        if (recompute) check(row, score, exact[i]!);
        if ((!allowed || allowed[row] === 1) && !(score - error <= lowest) && !hits.has(row))
          throw this.#wrong(
            `row ${row} with a score of ${score} among the best, found ${best.length} others`,
          );
      }
    }
    return best;
  }

  /** Yields to the event loop at intervals. Returns false if an existing row of the vector table changed. */
  async #rest(): Promise<boolean> {
    await this.#pace.rest(this.#signal);
    return this.#items.vectors.moves === this.#moves;
  }

  #wrong(difference: string): DeviceError {
    return wrongKernel(this.#gpuName, difference);
  }
}

/** Makes the error of a GPU that computed wrongly. `difference` states what was expected, and what was found. */
export const wrongKernel = (adapter: string, difference: string): DeviceError =>
  new DeviceError(
    'KERNEL_WRONG',
    `search on ${adapter}: expected ${difference}. Please report this with the name of your GPU and browser.`,
  );
