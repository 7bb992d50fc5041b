/**
 * `GpuAssigner`: finds the nearest cluster centre of every row on the GPU. If the two highest scores of a row
 * differ by no more than their f32 rounding errors, the CPU finds the nearest centre of that row in float64.
 */
import type { Gpu } from '../gpu/device.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { searchAssign } from '../gpu/kernels/searchKernels.js';
import { inLines } from '../gpu/workgroups.js';
import { nearestCenter, type Assigner } from './clusters.js';
import { scoreError } from './errorBound.js';
import { wrongKernel } from './exactScores.js';
import { PANEL_QUADS, valuesPerWord, type GpuRows } from './gpuRows.js';
import type { Items } from './items.js';
import { Pace } from './searchCpu.js';

/** Upper bound of the length of a unit vector after rounding to f32. */
const CENTER_NORM = 1.001;
/** Number of rows of each assignment that are computed again in float64, to check the GPU. */
const CHECKED_ROWS = 32;

export class GpuAssigner implements Assigner {
  readonly #gpu: Gpu;
  readonly #items: Items;
  readonly #rows: GpuRows;
  readonly #kernel: CompiledKernel;
  readonly #lanes: number;

  private constructor(gpu: Gpu, items: Items, rows: GpuRows, kernel: CompiledKernel, lanes: number) {
    this.#gpu = gpu;
    this.#items = items;
    this.#rows = rows;
    this.#kernel = kernel;
    this.#lanes = lanes;
  }

  static async create(gpu: Gpu, items: Items, rows: GpuRows): Promise<GpuAssigner> {
    const lanes = gpu.software ? 16 : 64;
    const kernel = await gpu.pipelines.compile({
      kernel: searchAssign,
      constants: { VALUES: valuesPerWord(items.vectors.storage), WORDS: rows.words, WORKGROUP: lanes },
    });
    return new GpuAssigner(gpu, items, rows, kernel, lanes);
  }

  async assign(
    centers: readonly Float32Array<ArrayBuffer>[],
    signal: AbortSignal | undefined,
  ): Promise<Uint32Array | undefined> {
    signal?.throwIfAborted();
    const { vectors } = this.#items;
    const { moves, count } = vectors;
    await this.#rows.update();
    if (vectors.moves !== moves) return undefined;
    const [indices, first, next] = await this.#gpu.task('search centres', signal, async (task) => {
      const bytes = 4 * 4 * this.#rows.quads;
      const found = task.burst((burst) => {
        const centerBuffer = burst.storageOf('search centres', this.#rows.interleaved(centers, 4));
        const results = ['nearest', 'highest', 'second'].map((name) =>
          burst.storage(`search ${name}`, bytes),
        );
        for (const { buffer, firstPanel, panels } of this.#rows.chunks) {
          const quads = Math.min(panels * PANEL_QUADS, Math.ceil(count / 4) - firstPanel * PANEL_QUADS);
          if (quads <= 0) break;
          const size = burst.uniformOf('search centres size', [
            quads,
            firstPanel * PANEL_QUADS,
            centers.length,
          ]);
          const lines = inLines(Math.ceil(quads / this.#lanes));
          burst.dispatch(this.#kernel, [size, buffer, centerBuffer, ...results], lines);
        }
        return results;
      });
      return Promise.all(found.map((buffer) => task.read(buffer, 0, 4 * count)));
    });
    return this.#resolveTies(
      centers,
      new Uint32Array(indices!),
      new Float32Array(first!),
      new Float32Array(next!),
      moves,
      signal,
    );
  }

  /**
   * Computes the nearest centre again, in float64, for each row whose two highest f32 scores are so close
   * that rounding errors could have exchanged them, and for CHECKED_ROWS others.
   * @throws DeviceError KERNEL_WRONG if the GPU found another centre for one of the others
   */
  async #resolveTies(
    centers: readonly Float32Array<ArrayBuffer>[],
    nearest: Uint32Array,
    highest: Float32Array,
    second: Float32Array,
    moves: number,
    signal: AbortSignal | undefined,
  ): Promise<Uint32Array | undefined> {
    const { vectors } = this.#items;
    const error = scoreError(vectors.dim, vectors.storage, CENTER_NORM, vectors.largestNorm);
    const queries = centers.map((center) => Float64Array.from(center));
    const pace = new Pace();
    const step = Math.ceil(nearest.length / CHECKED_ROWS);
    for (let row = 0; row < nearest.length; row++) {
      if (row % 256 === 0) {
        await pace.rest(signal);
        if (vectors.moves !== moves) return undefined;
      }
      const close = !(highest[row]! - second[row]! > 2.001 * error);
      if (!close && row % step !== 0) continue;
      const exact = nearestCenter(this.#items, row, queries);
      if (!close && nearest[row] !== exact)
        throw wrongKernel(
          this.#gpu.pipelines.adapter,
          `centre ${exact} as the nearest of row ${row}, found ${nearest[row]}`,
        );
      nearest[row] = exact;
    }
    return nearest;
  }
}
