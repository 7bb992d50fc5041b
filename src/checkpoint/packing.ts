/**
 * The order in which kernels read a linear layer's weight: panels of 64 output columns. Panel p holds, for every input k, the weights of
 * outputs 64p … 64p + 63 side by side; k is padded with zeros to a multiple of 32, the last panel with zero columns. A checkpoint has rows of
 * outputs, so a panel is 64 of its rows, turned. Rows arrive in any order and any portions; a panel leaves when its last value has come.
 */
import { PANEL_COLUMNS, paddedK } from '../gpu/lowering.js';
import type { WeightStorage } from '../gpu/kernel.js';
import { f32ToF16 } from './float.js';

/** Receives bytes for the GPU: `data` belongs at byte `offset` of the packed weight, and may be overwritten after the call. */
export type WriteBytes = (offset: number, data: Uint8Array<ArrayBuffer>) => void;

/** Bytes that a matrix of `rows` outputs × `columns` inputs takes when packed. */
export function packedBytes(rows: number, columns: number, storage: WeightStorage): number {
  return Math.ceil(rows / PANEL_COLUMNS) * PANEL_COLUMNS * paddedK(columns) * bytesPerElement(storage);
}

export const bytesPerElement = (storage: WeightStorage): 2 | 4 => (storage === 'f32' ? 4 : 2);

/** Packs one matrix. */
export class PanelPacker {
  readonly #rows: number;
  readonly #columns: number;
  readonly #storage: WeightStorage;
  readonly #write: WriteBytes;
  readonly #open = new Map<number, { values: Float32Array; missing: number }>();
  readonly #spare: Float32Array[] = [];
  readonly #packed: Float32Array<ArrayBuffer>;
  readonly #halves: Uint16Array<ArrayBuffer> | undefined;

  constructor(rows: number, columns: number, storage: WeightStorage, write: WriteBytes) {
    this.#rows = rows;
    this.#columns = columns;
    this.#storage = storage;
    this.#write = write;
    this.#packed = new Float32Array(PANEL_COLUMNS * paddedK(columns));
    this.#halves = storage === 'f32' ? undefined : new Uint16Array(this.#packed.length);
  }

  /** True once every value has arrived and left. */
  get done(): boolean {
    return this.#open.size === 0;
  }

  /** Takes `values`, which stand in the matrix (row-major) from element `begin` on. */
  add(values: Float32Array, begin: number): void {
    const perPanel = PANEL_COLUMNS * this.#columns;
    for (let taken = 0; taken < values.length; ) {
      const at = begin + taken;
      const index = Math.floor(at / perPanel);
      const within = at - index * perPanel;
      const rowsHere = Math.min(PANEL_COLUMNS, this.#rows - index * PANEL_COLUMNS);
      const count = Math.min(values.length - taken, rowsHere * this.#columns - within);
      let panel = this.#open.get(index);
      if (!panel) {
        panel = { values: this.#spare.pop() ?? new Float32Array(perPanel), missing: rowsHere * this.#columns };
        this.#open.set(index, panel);
      }
      panel.values.set(values.subarray(taken, taken + count), within);
      panel.missing -= count;
      taken += count;
      if (panel.missing === 0) {
        this.#flush(index, panel.values, rowsHere);
        this.#open.delete(index);
        this.#spare.push(panel.values);
      }
    }
  }

  #flush(index: number, values: Float32Array, rowsHere: number): void {
    const columns = this.#columns;
    const packed = this.#packed;
    if (rowsHere < PANEL_COLUMNS) packed.fill(0);
    for (let row = 0; row < rowsHere; row++) {
      const from = row * columns;
      for (let k = 0, to = row; k < columns; k++, to += PANEL_COLUMNS) packed[to] = values[from + k]!;
    }
    let bytes: Uint8Array<ArrayBuffer>;
    if (this.#halves) {
      f32ToF16(packed, this.#halves);
      bytes = new Uint8Array(this.#halves.buffer);
    } else {
      bytes = new Uint8Array(packed.buffer);
    }
    this.#write(index * packed.length * bytesPerElement(this.#storage), bytes);
  }
}
