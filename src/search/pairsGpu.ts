/**
 * `GpuPairs`: finds candidate pairs of near-duplicates on the GPU. The rows are split into tiles. The rows of
 * each tile are compared with each other and with the rows of all later tiles.
 */
import type { Gpu } from '../gpu/device.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { searchPairs } from '../gpu/kernels/searchKernels.js';
import { SUBMIT_MS } from '../gpu/submits.js';
import type { Task } from '../gpu/task.js';
import { MAX_WORKGROUPS } from '../gpu/workgroups.js';
import type { PairFinder } from './duplicates.js';
import { scoreError } from './errorBound.js';
import { wrongKernel } from './exactScores.js';
import type { Groups } from './groups.js';
import { PANEL_QUADS, valuesPerWord, type Chunk, type GpuRows } from './gpuRows.js';
import type { VectorTable } from './table.js';

/** Maximum number of candidate pairs of one tile that the GPU buffer can hold. */
const CAPACITY = 1 << 19;
/**
 * The first read of a tile's results returns the number of all its candidate pairs, and at most this many of
 * the pairs.
 */
const FEW = 2048;
/** Number of rows of which all pairs are compared with float64 first, to check the GPU. */
const CHECKED_ROWS = 128;

interface Tile {
  readonly chunk: Chunk;
  /** Index of the first quad (four rows) of the tile within its chunk. */
  readonly first: number;
  /** Number of quads in the tile. */
  readonly quads: number;
}

export class GpuPairs implements PairFinder {
  readonly #gpu: Gpu;
  readonly #table: VectorTable;
  readonly #rows: GpuRows;
  readonly #kernel: CompiledKernel;
  readonly #side: number;

  private constructor(gpu: Gpu, table: VectorTable, rows: GpuRows, kernel: CompiledKernel, side: number) {
    this.#gpu = gpu;
    this.#table = table;
    this.#rows = rows;
    this.#kernel = kernel;
    this.#side = side;
  }

  static async create(gpu: Gpu, table: VectorTable, rows: GpuRows): Promise<GpuPairs> {
    const side = gpu.software ? 4 : 8;
    const kernel = await gpu.pipelines.compile({
      kernel: searchPairs,
      constants: { VALUES: valuesPerWord(table.storage), WORDS: rows.words, SIDE: side },
    });
    return new GpuPairs(gpu, table, rows, kernel, side);
  }

  async find(
    threshold: number,
    groups: Groups,
    onPairs: (pairs: Uint32Array) => Promise<boolean>,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const { moves, count, largestNorm, dim, storage } = this.#table;
    await this.#rows.update();
    const quads = Math.ceil(count / 4);
    return this.#gpu.task('search pairs', signal, async (task) => {
      const { labels, found, sizes } = task.burst((burst) => ({
        labels: burst.storageOf('search groups', groups.labels()),
        found: burst.storage('search pairs', 4 + 8 * CAPACITY),
        sizes: this.#rows.chunks.flatMap(({ panels }, c) =>
          Array.from({ length: Math.ceil((panels * PANEL_QUADS) / (MAX_WORKGROUPS * this.#side)) }, () =>
            burst.uniformOf(`search pairs ${c}`, [0, 0, 0, 0, 0, 0, 0, 0, 0]),
          ),
        ),
      }));
      await this.#check(task, groups.labels(), labels, found, sizes);
      if (this.#table.moves !== moves) return false;
      const lowest =
        threshold - scoreError(dim, storage, largestNorm, largestNorm) - 2 ** -22 * Math.abs(threshold);
      const lowestBits = new Uint32Array(Float32Array.of(Math.max(-3.4e38, lowest)).buffer)[0]!;
      for (const tile of this.#tiles(quads)) {
        if (groups.joins === count - 1) break; // all rows are in one group
        for (;;) {
          signal?.throwIfAborted();
          if (this.#table.moves !== moves) return false;
          const { pairs, complete } = await this.#compare(
            task,
            tile,
            count,
            quads,
            lowestBits,
            labels,
            found,
            sizes,
          );
          const before = groups.joins;
          if (!(await onPairs(pairs))) return false;
          const joined = groups.joins > before;
          if (joined) task.burst((burst) => burst.write(labels, 0, groups.labels()));
          if (complete) break;
          // The tile had more pairs than the buffer holds. Compare the tile again: pairs whose rows are in
          // one group by now are skipped. If no rows were joined since, score all pairs of the tile on the
          // CPU.
          if (!joined) {
            if (!(await this.#everyPair(tile, count, onPairs))) return false;
            break;
          }
        }
      }
      return true;
    });
  }

  /**
   * Compares the first rows with each other, with a threshold that half of their pairs reach, and checks the
   * pairs that the GPU finds.
   * @throws DeviceError KERNEL_WRONG
   */
  async #check(
    task: Task,
    groupOf: Uint32Array,
    labels: GPUBuffer,
    found: GPUBuffer,
    sizes: readonly GPUBuffer[],
  ): Promise<void> {
    const table = this.#table;
    const count = Math.min(CHECKED_ROWS, table.count);
    const expected: { readonly a: number; readonly b: number; readonly score: number }[] = [];
    for (let a = 0; a < count; a++) {
      const query = Float64Array.from(table.decode(a));
      for (let b = a + 1; b < count; b++)
        if (groupOf[a] !== groupOf[b]) expected.push({ a, b, score: table.score(query, b) });
    }
    if (expected.length === 0) return;
    expected.sort((one, other) => one.score - other.score);
    const threshold = Math.fround(expected[expected.length >> 1]!.score);
    const bits = new Uint32Array(Float32Array.of(threshold).buffer)[0]!;
    const quads = Math.ceil(count / 4);
    const tile = { chunk: this.#rows.chunks[0]!, first: 0, quads };
    const { pairs } = await this.#compare(task, tile, count, quads, bits, labels, found, sizes);
    const reached = new Set<number>();
    for (let i = 0; i < pairs.length; i += 2) reached.add(pairs[i]! * count + pairs[i + 1]!);
    const error = scoreError(table.dim, table.storage, table.largestNorm, table.largestNorm);
    for (const { a, b, score } of expected)
      if (Math.abs(score - threshold) > error && reached.has(a * count + b) !== score > threshold)
        throw wrongKernel(
          this.#gpu.pipelines.adapter,
          `that the pair of the rows ${a} and ${b} with a score of ${score} ${score > threshold ? 'reaches' : 'does not reach'} ${threshold}, found the opposite`,
        );
  }

  /**
   * Splits the rows into tiles. A tile has as many quads (four rows each) as the GPU can compare with all
   * rows in the time `SUBMIT_MS`.
   */
  *#tiles(quads: number): Generator<Tile> {
    const flops = 2 * 16 * quads * this.#table.dim;
    const most = Math.max(
      PANEL_QUADS,
      Math.min(MAX_WORKGROUPS, Math.floor((this.#gpu.flopsPerSecond * (SUBMIT_MS / 1000)) / flops)),
    );
    for (const chunk of this.#rows.chunks) {
      const used = Math.min(chunk.panels * PANEL_QUADS, quads - chunk.firstPanel * PANEL_QUADS);
      for (let first = 0; first < used; first += most)
        yield { chunk, first, quads: Math.min(most, used - first) };
    }
  }

  async #compare(
    task: Task,
    tile: Tile,
    count: number,
    quads: number,
    lowest: number,
    labels: GPUBuffer,
    found: GPUBuffer,
    sizes: readonly GPUBuffer[],
  ): Promise<{ pairs: Uint32Array; complete: boolean }> {
    const allA = tile.chunk.firstPanel * PANEL_QUADS + tile.first;
    task.burst((burst) => {
      burst.clear(found, 0, 4);
      let dispatches = 0;
      for (const { buffer, firstPanel, panels } of this.#rows.chunks) {
        const end = Math.min(panels * PANEL_QUADS, quads - firstPanel * PANEL_QUADS);
        const most = MAX_WORKGROUPS * this.#side;
        for (let first = Math.max(0, allA - firstPanel * PANEL_QUADS); first < end; first += most) {
          const length = Math.min(most, end - first);
          const size = sizes[dispatches++]!;
          const begin = firstPanel * PANEL_QUADS + first;
          burst.write(
            size,
            0,
            Uint32Array.of(count, tile.first, tile.quads, allA, first, length, begin, CAPACITY, lowest),
          );
          burst.dispatch(
            this.#kernel,
            [size, tile.chunk.buffer, buffer, labels, found],
            [Math.ceil(length / this.#side), Math.ceil(tile.quads / this.#side)],
          );
        }
      }
    });
    const first = new Uint32Array(await task.read(found, 0, 4 + 8 * FEW));
    const number = Math.min(first[0]!, CAPACITY);
    const pairs = new Uint32Array(2 * number);
    pairs.set(first.subarray(1, 1 + 2 * Math.min(number, FEW)));
    if (number > FEW)
      pairs.set(new Uint32Array(await task.read(found, 4 + 8 * FEW, 8 * (number - FEW))), 2 * FEW);
    return { pairs, complete: first[0]! <= CAPACITY };
  }

  async #everyPair(
    tile: Tile,
    count: number,
    onPairs: (pairs: Uint32Array) => Promise<boolean>,
  ): Promise<boolean> {
    const first = 4 * (tile.chunk.firstPanel * PANEL_QUADS + tile.first);
    for (let a = first; a < Math.min(count, first + 4 * tile.quads); a++) {
      if (
        !(await onPairs(
          Uint32Array.from({ length: 2 * (count - a - 1) }, (_, i) => (i % 2 === 0 ? a : a + 1 + (i >>> 1))),
        ))
      )
        return false;
    }
    return true;
  }
}
