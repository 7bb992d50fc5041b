/**
 * `GpuSearch`: exact search on the GPU. The GPU computes all scores in f32, finds a floor (a score below
 * which no row can be among the best), and returns the candidates: the rows whose scores reach the floor. The
 * CPU computes the scores of the candidates in float64, so the result does not depend on f32 rounding.
 *
 * Let e be the error bound of an f32 score (`errorBound.ts`). Split the f32 scores into blocks, and let t be
 * the k-th largest of the blocks' maxima. At least k rows have f32 scores of t or more, hence exact scores of
 * t - e or more. So each of the k best rows has an exact score of at least t - e, and an f32 score of at
 * least t - 2e. All rows with such an f32 score are candidates. Their number has no limit: of 200,000 equal
 * vectors, all are candidates, and the search takes as long as on the CPU.
 *
 * This holds if the GPU computes correctly, which `ExactScores` checks.
 */
import type { Kernel, KernelVariant } from '../gpu/kernels/kernel.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import type { Gpu } from '../gpu/device.js';
import {
  searchCollect,
  searchFloor,
  searchMaxima,
  searchScores,
  searchScores4,
} from '../gpu/kernels/searchKernels.js';
import { inLines } from '../gpu/workgroups.js';
import type { Task } from '../gpu/task.js';
import { GpuAssigner } from './assignGpu.js';
import type { Assigner } from './clusters.js';
import type { PairFinder } from './duplicates.js';
import { scaledQuery, scoreError, type ScaledQuery } from './errorBound.js';
import { ExactScores, type Found } from './exactScores.js';
import { GpuRows, valuesPerWord } from './gpuRows.js';
import type { Items } from './items.js';
import { GpuPairs } from './pairsGpu.js';
import { Pace, type Limits, type Query } from './searchCpu.js';
import type { Scored } from './topK.js';

/** Number of queries that share one pass over the vectors. */
const QUERIES = 4;
/**
 * Maximum number of quads (groups of four rows) per block. The GPU computes the highest score of each block.
 * Blocks are smaller if there would otherwise be fewer than BLOCKS_PER_HIT blocks for each requested result.
 */
const BLOCK_QUADS = 16;
const BLOCKS_PER_HIT = 4;
/**
 * The kernel search_floor computes the floor (the minimum score of a candidate) from an integer that is
 * ordered like the scores. It leaves this number of low bits of the integer 0, which lowers the floor by less
 * than the error margin.
 */
const IGNORED_BITS = 8;
/**
 * The first read of a search returns the number of all candidates, and up to k + MORE_CANDIDATES of the
 * candidates, where k is the number of requested results.
 */
const MORE_CANDIDATES = 512;
/**
 * If a score could be larger than this number, it might overflow f32, so the CPU is used instead of the GPU.
 */
const LARGEST_SUM = 1e37;
/** Number of rows whose scores a search checks. */
const CHECKED_ROWS = 64;
/** The same for the first search of each kernel. */
const CHECKED_ROWS_FIRST = 1 << 20;

/**
 * The compiled kernels. They compute the scores of one query or of four, the block maxima and the floor, and
 * collect the candidates.
 */
interface Kernels {
  readonly one: CompiledKernel;
  readonly four: CompiledKernel;
  readonly maxima: CompiledKernel;
  readonly floor: CompiledKernel;
  readonly collect: CompiledKernel;
}

/** GPU buffers for searches over a given number of rows. Later searches reuse the buffers. */
interface Scratch {
  readonly quads: number;
  readonly queries: number;
  readonly scores: GPUBuffer;
  readonly maxima: GPUBuffer;
  readonly allowed: GPUBuffer;
  readonly query: GPUBuffer;
  readonly queries4: GPUBuffer;
  readonly limits: GPUBuffer;
  readonly floors: GPUBuffer;
  readonly counts: GPUBuffer;
  readonly found: GPUBuffer;
  readonly select: GPUBuffer;
  readonly sizes: readonly GPUBuffer[];
}

export class GpuSearch {
  #disposed = false;
  readonly #gpu: Gpu;
  readonly #items: Items;
  readonly #rows: GpuRows;
  readonly #kernels: Kernels;
  #scratch: Scratch | undefined;
  /**
   * The most recent search. Searches run one at a time because they share buffers, so the next search waits
   * for it.
   */
  #lastSearch: Promise<unknown> = Promise.resolve();
  /** A promise that settles when all computations of `duplicates` and `clusters` have ended. */
  #users: Promise<unknown> = Promise.resolve();
  /** Contains 1 after the first search with one query, and 2 after the first with more: each has its own kernel. */
  readonly #checked = new Set<number>();
  /** Number of searches that checked CHECKED_ROWS rows. */
  #searches = 0;

  private constructor(gpu: Gpu, items: Items, rows: GpuRows, kernels: Kernels) {
    this.#gpu = gpu;
    this.#items = items;
    this.#rows = rows;
    this.#kernels = kernels;
  }

  /** Compiles the kernels and makes the object. @throws DeviceError */
  static async create(gpu: Gpu, items: Items): Promise<GpuSearch> {
    const rows = new GpuRows(gpu, items.vectors);
    const constants = {
      VALUES: valuesPerWord(items.vectors.storage),
      WORDS: rows.words,
      WORKGROUP: lanesOf(gpu),
    };
    const compile = (kernel: Kernel, names: KernelVariant['constants'] = {}): Promise<CompiledKernel> =>
      gpu.pipelines.compile({ kernel, constants: names });
    const [one, four, maxima, floor, collect] = await Promise.all([
      compile(searchScores, constants),
      compile(searchScores4, constants),
      compile(searchMaxima),
      compile(searchFloor, { IGNORED_BITS }),
      compile(searchCollect),
    ]);
    return new GpuSearch(gpu, items, rows, { one, four, maxima, floor, collect });
  }

  /** Makes a pair finder for `duplicates`. Returns undefined if scores could overflow f32. */
  async pairs(): Promise<PairFinder | undefined> {
    const { vectors } = this.#items;
    if (vectors.largestNorm ** 2 * vectors.dim >= LARGEST_SUM) return undefined;
    const pairs = await GpuPairs.create(this.#gpu, vectors, this.#rows);
    return { find: (...args) => this.#using(() => pairs.find(...args)) };
  }

  /**
   * Makes an object that assigns rows to clusters, for `clusters`. Returns undefined if scores could overflow
   * f32.
   */
  async assigner(): Promise<Assigner | undefined> {
    const { vectors } = this.#items;
    if (vectors.largestNorm * vectors.dim >= LARGEST_SUM) return undefined;
    const assigner = await GpuAssigner.create(this.#gpu, this.#items, this.#rows);
    return { assign: (...args) => this.#using(() => assigner.assign(...args)) };
  }

  /** Prevents `dispose` from freeing the buffers before `run` has ended. */
  #using<T>(run: () => Promise<T>): Promise<T> {
    const running = run();
    this.#users = Promise.allSettled([this.#users, running]);
    return running;
  }

  /**
   * Frees all buffers once running computations have ended. Further calls have no effect, and can occur: if
   * several searches fail at the same time, each of them calls `dispose`.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    void Promise.allSettled([this.#lastSearch, this.#users]).then(() => {
      this.#rows.dispose();
      this.#freeScratch();
      this.#gpu.release();
    });
  }

  /**
   * True if the GPU can search for these queries: their scores cannot overflow f32, and a buffer can hold all
   * rows as candidates.
   */
  canHold(queries: readonly Query[]): boolean {
    const { dim, largestNorm } = this.#items.vectors;
    const largest = queries.reduce(
      (most, { vector }) => vector.reduce((sum, value) => Math.max(sum, Math.abs(value)), most),
      0,
    );
    // Size in bytes of the candidate buffer. It may have room for twice the number of rows.
    const bytes = 8 * QUERIES * 2 * this.#items.vectors.count;
    return (
      largestNorm * dim < LARGEST_SUM &&
      largest < LARGEST_SUM &&
      bytes < this.#gpu.device.limits.maxStorageBufferBindingSize
    );
  }

  /**
   * Finds the rows with the highest scores for each query, among the rows that exist at the time of the call.
   * Returns undefined if one of these rows changed during the search, so that the caller must search again.
   * @throws DeviceError KERNEL_WRONG if the GPU computed wrongly (`ExactScores.best`); the signal's reason
   */
  async search(
    queries: readonly Query[],
    limits: Limits,
    signal: AbortSignal | undefined,
  ): Promise<Scored[][] | undefined> {
    const before = this.#lastSearch;
    // The filter was evaluated for the rows that exist now, so rows that are added later are not searched.
    const { count, moves } = this.#items.vectors;
    const run = before.then(() => this.#search(queries, limits, count, moves, signal));
    this.#lastSearch = run.catch(() => undefined);
    return run;
  }

  async #search(
    queries: readonly Query[],
    limits: Limits,
    count: number,
    moves: number,
    signal: AbortSignal | undefined,
  ): Promise<Scored[][] | undefined> {
    const { vectors } = this.#items;
    const results: Scored[][] = [];
    const { adapter } = this.#gpu.pipelines;
    const exact = new ExactScores(this.#items, limits, moves, adapter, new Pace(), signal);
    for (let begin = 0; begin < queries.length; begin += QUERIES) {
      signal?.throwIfAborted();
      await this.#rows.update();
      if (vectors.moves !== moves) return undefined;
      const group = queries.slice(begin, begin + QUERIES);
      const scaled = group.map(({ vector }) => scaledQuery(vector));
      const found = await this.#gpu.task('search', signal, (task) =>
        this.#candidates(task, scaled, limits, count, vectors.largestNorm, moves),
      );
      if (!found) return undefined;
      for (const [q, each] of found.entries()) {
        const best = await exact.best(group[q]!.vector, scaled[q]!, each);
        if (!best) return undefined;
        results.push(best);
      }
      this.#checked.add(Math.min(group.length, 2));
    }
    return results;
  }

  /**
   * Runs the kernels and reads the candidates of each query. Returns undefined if an existing row of the
   * vector table changed before the candidates were read, because their row numbers could then belong to
   * different items.
   */
  async #candidates(
    task: Task,
    queries: readonly ScaledQuery[],
    { topK, allowed, threshold }: Limits,
    count: number,
    largestNorm: number,
    moves: number,
  ): Promise<Found[] | undefined> {
    const { dim, storage } = this.#items.vectors;
    const scratch = await this.#prepared(queries.length === 1 ? 1 : QUERIES);
    if (this.#items.vectors.moves !== moves) return undefined;
    const { quads: stride } = scratch;
    const block = Math.max(1, Math.min(BLOCK_QUADS, Math.floor(count / (4 * BLOCKS_PER_HIT * topK))));
    const blocks = Math.ceil(Math.ceil(count / 4) / block);
    const query = scratch.queries === 1 ? scratch.query : scratch.queries4;
    const bounds = new Float32Array(2 * QUERIES);
    for (const [q, { norm, scale }] of queries.entries()) {
      const error = scoreError(dim, storage, norm, largestNorm);
      // The factor and the last term allow for rounding when this margin is computed and when the kernel
      // subtracts it.
      bounds[2 * q] = 2 * error * 1.001 + 2 ** -22 * norm * largestNorm;
      const lowest = threshold / scale - error * 1.001;
      bounds[2 * q + 1] = Math.max(-3.4e38, lowest - 2 ** -22 * Math.abs(Math.max(-3.4e38, lowest)));
    }
    const { one, four, maxima, floor, collect } = this.#kernels;
    // One read returns the numbers of candidates and the first candidates of each query. These nearly always
    // are all of its candidates.
    const few = Math.min(topK + MORE_CANDIDATES, count);
    const range = this.#rangeToCheck(queries.length, count);
    const found = 4 * QUERIES + queries.length * 8 * few;
    const results = task.burst((burst) => {
      burst.write(scratch.select, 0, Uint32Array.of(count, stride, block, blocks, topK, allowed ? 1 : 0));
      const vectors = queries.map(({ values }) => values);
      burst.write(query, 0, this.#rows.interleaved(vectors, scratch.queries));
      burst.write(scratch.limits, 0, bounds);
      if (allowed) burst.write(scratch.allowed, 0, bitsOf(allowed));
      burst.clear(scratch.counts);
      const lanes = lanesOf(this.#gpu);
      for (const [c, { buffer, firstPanel, panels }] of this.#rows.chunks.entries()) {
        const used = Math.min(panels, Math.ceil(count / 128) * 2 - firstPanel);
        if (used <= 0) break;
        burst.write(scratch.sizes[c]!, 0, Uint32Array.of(used * 16, firstPanel * 16, stride));
        burst.dispatch(
          scratch.queries === 1 ? one : four,
          [scratch.sizes[c]!, buffer, query, scratch.scores],
          inLines(Math.ceil((used * 16) / (2 * lanes))),
        );
      }
      const { select, scores, allowed: filter, maxima: blockMaxima, limits: margins, floors } = scratch;
      burst.dispatch(maxima, [select, scores, filter, blockMaxima], [Math.ceil(blocks / 16), queries.length]);
      burst.dispatch(floor, [select, blockMaxima, margins, floors], [1, queries.length]);
      const [x, z] = inLines(Math.ceil(count / 64));
      burst.dispatch(
        collect,
        [select, scores, filter, floors, scratch.counts, scratch.found],
        [x, queries.length, z],
      );
      const made = burst.storage('search results', found + queries.length * 4 * range.length);
      burst.copy(scratch.counts, 0, made, 0, 4 * QUERIES);
      for (let q = 0; q < queries.length; q++)
        burst.copy(scratch.found, q * stride * 32, made, 4 * QUERIES + q * 8 * few, 8 * few);
      for (let q = 0; q < queries.length; q++) {
        const bytes = 4 * range.length;
        burst.copy(scratch.scores, 16 * q * stride + 4 * range.first, made, found + q * bytes, bytes);
      }
      return made;
    });
    return this.#collected(task, scratch, results, queries.length, few, range);
  }

  /** Chooses the rows whose scores a search checks: each search checks the rows after those of the last. */
  #rangeToCheck(queries: number, count: number): { first: number; length: number } {
    if (!this.#checked.has(Math.min(queries, 2)))
      return { first: 0, length: Math.min(CHECKED_ROWS_FIRST, count) };
    const first = CHECKED_ROWS * (this.#searches++ % Math.ceil(count / CHECKED_ROWS));
    return { first, length: Math.min(CHECKED_ROWS, count - first) };
  }

  /** Reads the candidates of each query. If a query has more than `few` candidates, a second read follows. */
  async #collected(
    task: Task,
    { found, quads }: Scratch,
    results: GPUBuffer,
    queries: number,
    few: number,
    { first, length: checked }: { first: number; length: number },
  ): Promise<Found[]> {
    const perQuery = quads * 4 * 8;
    const words = new Uint32Array(await task.read(results, 0, results.size));
    const ranges = new Float32Array(words.buffer, 4 * QUERIES + queries * 8 * few);
    const pairs: Uint32Array<ArrayBuffer>[] = [];
    for (let q = 0; q < queries; q++) {
      const number = Math.min(words[q]!, 4 * quads); // a wrong number would allocate too much memory
      const all = new Uint32Array(2 * number);
      all.set(words.subarray(QUERIES + q * 2 * few).subarray(0, 2 * Math.min(few, number)));
      if (number > few)
        all.set(new Uint32Array(await task.read(found, q * perQuery + 8 * few, 8 * (number - few))), 2 * few);
      pairs.push(all);
    }
    return pairs.map((all, q) => {
      const scores = new Float32Array(all.buffer);
      const length = all.length / 2;
      return {
        rows: Uint32Array.from({ length }, (_, i) => all[2 * i]!),
        scores: Float32Array.from({ length }, (_, i) => scores[2 * i + 1]!),
        range: { first, scores: ranges.subarray(q * checked, (q + 1) * checked) },
      };
    });
  }

  /**
   * Returns the buffers for a search. Makes larger buffers if the existing buffers do not have room for all
   * rows.
   */
  async #prepared(queries: number): Promise<Scratch> {
    const { quads, chunks, words } = this.#rows;
    const numbers = words * valuesPerWord(this.#items.vectors.storage);
    const scratch = this.#scratch;
    if (scratch?.quads === quads && scratch.queries >= queries && scratch.sizes.length === chunks.length)
      return { ...scratch, queries };
    this.#freeScratch();
    const rows = 4 * quads;
    const made = await this.#gpu.make('search buffers', (burst) => ({
      scores: burst.storage('search scores', 4 * rows * queries),
      maxima: burst.storage('search maxima', 4 * rows * queries),
      allowed: burst.storage('search filter', rows / 8),
      query: burst.uniformOf(
        'search query',
        Array.from({ length: numbers }, () => 0),
      ),
      queries4: burst.storage('search queries', 16 * numbers),
      limits: burst.storage('search limits', 8 * QUERIES),
      floors: burst.storage('search floors', 4 * QUERIES),
      counts: burst.storage('search counts', 4 * QUERIES),
      found: burst.storage('search found', 8 * rows * queries),
      select: burst.uniformOf('search size', [0, 0, 0, 0, 0, 0]),
      sizes: chunks.map((_, i) => burst.uniformOf(`search chunk ${i}`, [0, 0, 0])),
    }));
    this.#scratch = { quads, queries, ...made };
    return this.#scratch;
  }

  #freeScratch(): void {
    if (!this.#scratch) return;
    const { quads: _, queries: __, ...buffers } = this.#scratch;
    for (const buffer of Object.values(buffers).flat()) this.#gpu.memory.destroy(buffer);
    this.#scratch = undefined;
  }
}

/**
 * Returns the workgroup size of the kernel search_scores. On SwiftShader, sizes of 8 and 16 show no clear
 * difference (207 and 225 ms with prototypes of the kernel, on a busy machine). The size of 64 for GPUs is an
 * estimate that was not measured.
 */
const lanesOf = ({ software }: Gpu): number => (software ? 8 : 64);

/** Packs flags into 32-bit words. The first flag of a word is in its lowest bit. */
function bitsOf(flags: Uint8Array): Uint32Array<ArrayBuffer> {
  const bits = new Uint32Array(Math.ceil(flags.length / 32));
  for (let i = 0; i < flags.length; i++) if (flags[i] === 1) bits[i >>> 5] = bits[i >>> 5]! | (1 << (i & 31));
  return bits;
}
