/**
 * `GpuRows`: the copy of a vector table on the GPU, in the layout of shared/search_rows.wgsl. Rows are
 * grouped in panels of 64. A panel contains the first 32-bit word of each of its rows, then the second word
 * of each row, and so on. The copy consists of several buffers (chunks), because a binding has a maximum
 * size, and because adding a chunk copies no rows. A new chunk is as large as all existing chunks together,
 * up to a limit.
 */
import type { Gpu } from '../gpu/device.js';
import { SETTLE_BYTES, type Task } from '../gpu/task.js';
import { F16_FACTOR } from './errorBound.js';
import type { VectorStorage } from './journal.js';
import type { VectorTable } from './table.js';

const PANEL_ROWS = 64;
/**
 * Number of quads in a panel. A panel is a group of 64 rows; a quad is a group of four rows whose scores a
 * kernel computes at once.
 */
export const PANEL_QUADS: number = PANEL_ROWS / 4;
/**
 * The kernels process panels (groups of 64 rows) in pairs, so every buffer (chunk) has an even number of
 * panels.
 */
const PANELS_TOGETHER = 2;
const LARGEST_CHUNK_BYTES = 128 << 20;
/** Maximum number of bytes that are transposed and uploaded in one write. */
const WRITE_BYTES = 4 << 20;

/** Number of vector components in a 32-bit word. */
export const valuesPerWord = (storage: VectorStorage): 1 | 2 | 4 =>
  storage === 'f32' ? 1 : storage === 'f16' ? 2 : 4;

/**
 * Number of 32-bit words per row that hold vector components. The kernels read two words at a time (four for
 * f32), so the number is rounded up to a multiple of two (four for f32).
 */
export function wordsOf(dim: number, storage: VectorStorage): number {
  const together = storage === 'f32' ? 4 : 2;
  return together * Math.ceil(dim / valuesPerWord(storage) / together);
}

/** A GPU buffer that holds some of the panels (groups of 64 rows). */
export interface Chunk {
  readonly buffer: GPUBuffer;
  readonly firstPanel: number;
  readonly panels: number;
}

export class GpuRows {
  readonly #gpu: Gpu;
  readonly #table: VectorTable;
  /** Number of 32-bit words per row that hold vector components. */
  readonly words: number;
  /** Number of 32-bit words per row, including the scale of an int8 row. */
  readonly #rowWords: number;
  readonly #chunks: Chunk[] = [];
  #panels = 0;
  /** The most recent call of `update`. Updates run one at a time, so the next update waits for it. */
  #updates: Promise<unknown> = Promise.resolve();
  /** Number of rows that have been uploaded to the GPU. */
  #written = 0;

  constructor(gpu: Gpu, table: VectorTable) {
    this.#gpu = gpu;
    this.#table = table;
    this.words = wordsOf(table.dim, table.storage);
    this.#rowWords = this.words + (table.storage === 'int8' ? 1 : 0);
  }

  /**
   * Number of quads (four rows) for which the chunks have room. A buffer for scores needs room for the scores
   * of as many quads.
   */
  get quads(): number {
    return this.#panels * PANEL_QUADS;
  }

  get chunks(): readonly Chunk[] {
    return this.#chunks;
  }

  dispose(): void {
    for (const { buffer } of this.#chunks) this.#gpu.memory.destroy(buffer);
    this.#chunks.length = 0;
  }

  /**
   * Converts queries or cluster centres to the layout that the kernels read: groups of `width` vectors,
   * interleaved by dimension.
   */
  interleaved(vectors: readonly Float32Array<ArrayBuffer>[], width: number): Float32Array<ArrayBuffer> {
    const { dim, storage } = this.#table;
    const factor = storage === 'f16' ? F16_FACTOR : 1;
    const numbers = this.words * valuesPerWord(storage);
    const interleaved = new Float32Array(width * numbers * Math.ceil(vectors.length / width));
    for (const [v, vector] of vectors.entries()) {
      const begin = Math.floor(v / width) * numbers;
      for (let i = 0; i < dim; i++) interleaved[(begin + i) * width + (v % width)] = vector[i]! * factor;
    }
    return interleaved;
  }

  /**
   * Uploads the rows of the vector table that changed since the last call.
   * @throws DeviceError DEVICE_MEMORY, DEVICE_LOST
   */
  async update(): Promise<void> {
    const update = this.#updates.then(() =>
      this.#gpu.task('search vectors', undefined, (task) => this.#update(task)),
    );
    this.#updates = update.catch(() => undefined);
    return update;
  }

  async #update(task: Task): Promise<void> {
    const panelBytes = PANEL_ROWS * this.#rowWords * 4;
    const { maxStorageBufferBindingSize, maxBufferSize } = this.#gpu.device.limits;
    const most =
      Math.floor(
        Math.min(maxStorageBufferBindingSize, maxBufferSize, LARGEST_CHUNK_BYTES) /
          panelBytes /
          PANELS_TOGETHER,
      ) * PANELS_TOGETHER;
    while (this.#panels * PANEL_ROWS < this.#table.count) {
      const missing = Math.ceil(this.#table.count / PANEL_ROWS) - this.#panels;
      const panels = Math.min(
        most,
        PANELS_TOGETHER * Math.ceil(Math.max(missing, this.#panels) / PANELS_TOGETHER),
      );
      const buffer = await this.#gpu.make('search vectors', (burst) =>
        burst.storage(`search vectors ${this.#chunks.length}`, panels * panelBytes),
      );
      this.#chunks.push({ buffer, firstPanel: this.#panels, panels });
      this.#panels += panels;
    }
    const { count } = this.#table;
    const changed = this.#table.takeChanged().filter((row) => row < Math.min(this.#written, count));
    const panels = [...new Set(changed.map((row) => Math.floor(row / PANEL_ROWS)))].sort((a, b) => a - b);
    for (const panel of panels) await this.#write(task, panel, panel + 1);
    if (this.#written < count)
      await this.#write(task, Math.floor(this.#written / PANEL_ROWS), Math.ceil(count / PANEL_ROWS));
    this.#written = count;
  }

  /**
   * Uploads the panels (groups of 64 rows) from `begin` to `end - 1`. The last panel may have unused rows,
   * whose scores are never read.
   */
  async #write(task: Task, begin: number, end: number): Promise<void> {
    let writtenBytes = 0;
    const panelWords = PANEL_ROWS * this.#rowWords;
    const atOnce = Math.max(1, Math.floor(WRITE_BYTES / 4 / panelWords));
    for (const { buffer, firstPanel, panels } of this.#chunks) {
      for (
        let panel = Math.max(begin, firstPanel);
        panel < Math.min(end, firstPanel + panels);
        panel += atOnce
      ) {
        const stop = Math.min(end, firstPanel + panels, panel + atOnce);
        const words = new Uint32Array((stop - panel) * panelWords);
        const last = Math.min(this.#table.count, stop * PANEL_ROWS);
        for (let row = panel * PANEL_ROWS; row < last; row++)
          this.#transpose(row, words, (Math.floor(row / PANEL_ROWS) - panel) * panelWords);
        task.burst((burst) => burst.write(buffer, (panel - firstPanel) * panelWords * 4, words));
        writtenBytes += words.byteLength;
        if (writtenBytes < SETTLE_BYTES) continue;
        await task.settled();
        writtenBytes = 0;
      }
    }
  }

  /** Writes a row into `words` in the layout of its panel, where the words of 64 rows are interleaved. */
  #transpose(row: number, words: Uint32Array<ArrayBuffer>, panelBegin: number): void {
    const { numbers, begin, scale } = this.#table.view(row);
    const { dim } = this.#table;
    let at = panelBegin + (row % PANEL_ROWS);
    if (numbers instanceof Float32Array) {
      const bits = new Uint32Array(numbers.buffer);
      for (let i = 0; i < dim; i++, at += PANEL_ROWS) words[at] = bits[begin + i]!;
    } else if (numbers instanceof Uint16Array) {
      for (let i = 0; i < dim; i += 2, at += PANEL_ROWS)
        words[at] = numbers[begin + i]! | (i + 1 < dim ? numbers[begin + i + 1]! << 16 : 0);
    } else {
      for (let i = 0; i < dim; i += 4, at += PANEL_ROWS) {
        for (let j = 0; j < Math.min(4, dim - i); j++)
          words[at] = words[at]! | ((numbers[begin + i + j]! & 0xff) << (8 * j));
      }
      words[panelBegin + this.words * PANEL_ROWS + (row % PANEL_ROWS)] = new Uint32Array(
        Float32Array.of(scale).buffer,
      )[0]!;
    }
  }
}
