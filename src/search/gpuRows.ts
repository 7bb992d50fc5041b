/**
 * The copy of a table's vectors on the GPU, in the order of shared/search_rows.wgsl: panels of 64 rows, word
 * by word of four rows at once. The copy lies in several buffers, none larger than a binding may be; a new
 * one is as large as all before it, so that growing copies nothing.
 */
import type { Gpu } from '../gpu/device.js';
import { SETTLE_BYTES, type Task } from '../gpu/task.js';
import type { VectorStorage } from './journal.js';
import type { VectorTable } from './table.js';

const PANEL_ROWS = 64;
/** A kernel scores four rows of a panel at once: a quad. */
export const PANEL_QUADS: number = PANEL_ROWS / 4;
/** Lanes work at two panels. */
const PANELS_TOGETHER = 2;
const LARGEST_CHUNK_BYTES = 128 << 20;
/** Bytes that are turned round and written at once. */
const WRITE_BYTES = 4 << 20;

/** Numbers in a word. */
export const valuesPerWord = (storage: VectorStorage): 1 | 2 | 4 =>
  storage === 'f32' ? 1 : storage === 'f16' ? 2 : 4;

/** Words of a row that hold numbers: a multiple of 2, and whole vectors of four numbers. */
export function wordsOf(dim: number, storage: VectorStorage): number {
  const together = storage === 'f32' ? 4 : 2;
  return together * Math.ceil(dim / valuesPerWord(storage) / together);
}

export interface Chunk {
  readonly buffer: GPUBuffer;
  readonly firstPanel: number;
  readonly panels: number;
}

export class GpuRows {
  readonly #gpu: Gpu;
  readonly #table: VectorTable;
  readonly words: number;
  readonly #rowWords: number;
  readonly #chunks: Chunk[] = [];
  #panels = 0;
  /** One at a time. */
  #updates: Promise<unknown> = Promise.resolve();
  #written = 0;

  constructor(gpu: Gpu, table: VectorTable) {
    this.#gpu = gpu;
    this.#table = table;
    this.words = wordsOf(table.dim, table.storage);
    this.#rowWords = this.words + (table.storage === 'int8' ? 1 : 0);
  }

  /** Quads of four rows there is room for: what a buffer of scores has to hold. */
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
   * Writes what has changed in the table since the last call.
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
      const wanted = Math.ceil(this.#table.count / PANEL_ROWS) - this.#panels;
      const panels = Math.min(
        most,
        PANELS_TOGETHER * Math.ceil(Math.max(wanted, this.#panels) / PANELS_TOGETHER),
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
   * Writes panels begin … end - 1. Rows behind the last one keep whatever they were: their scores are not
   * looked at.
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
