/**
 * The order in which kernels read a linear layer's weight: panels of 64 output columns. Panel p holds, for every input k, the weights of
 * outputs 64p … 64p + 63 side by side; k is padded with zeros to a multiple of 32, the last panel with zero columns. A checkpoint has rows of
 * outputs, so a panel is 64 of its rows, turned. Rows arrive in any order and any portions; a panel leaves when its last value has come.
 * int8: every row of the matrix is divided by its scale, max |w| / 127, and rounded; the scales (f32, one an output column) lie behind all panels.
 */
import { PANEL_COLUMNS, paddedK } from '../gpu/lowering.js';
import type { WeightStorage } from '../gpu/kernel.js';
import { f32ToF16 } from './float.js';

/** Receives bytes for the GPU: `data` belongs at byte `offset` of the packed weight, and may be overwritten after the call. */
export type WriteBytes = (offset: number, data: Uint8Array<ArrayBuffer>) => void;

/** Bytes that a matrix of `rows` outputs × `columns` inputs takes when packed. */
export function packedBytes(rows: number, columns: number, storage: WeightStorage): number {
  const scales = storage === 'int8' ? SCALE_BYTES : 0;
  return Math.ceil(rows / PANEL_COLUMNS) * PANEL_COLUMNS * (paddedK(columns) * bytesPerElement[storage] + scales);
}

/** Bytes of one weight, without its column's scale. */
export const bytesPerElement: Readonly<Record<WeightStorage, 1 | 2 | 4>> = { f32: 4, f16: 2, 'f16-packed': 2, int8: 1 };

const SCALE_BYTES = 4;
/** The largest whole number of int8 weights; -128 is not used, so that both signs reach equally far. */
const INT8_MAX = 127;
const SMALLEST_NORMAL = 2 ** -126;

/** A whole matrix, row-major → its packed bytes, as u32. For small ones: checkpoints go through `PanelPacker` piece by piece. */
export function packMatrix(rows: number, columns: number, values: Float32Array, storage: WeightStorage): Uint32Array<ArrayBuffer> {
  const bytes = new Uint8Array(packedBytes(rows, columns, storage));
  new PanelPacker(rows, columns, storage, (offset, data) => bytes.set(data, offset)).add(values, 0);
  return new Uint32Array(bytes.buffer);
}

/** Memory that the packers of a checkpoint share: one panel as it leaves, and panels that wait for their rows to be complete. */
export class PackingMemory {
  #leaving = new ArrayBuffer(0);
  #halves = new Uint16Array(0);
  readonly #waiting: Float32Array[] = [];

  /** Bytes of a panel that is about to leave; valid until the next call. */
  leaving(bytes: number): ArrayBuffer {
    if (this.#leaving.byteLength < bytes) this.#leaving = new ArrayBuffer(bytes);
    return this.#leaving;
  }

  /** The same as f16. */
  halves(elements: number): Uint16Array<ArrayBuffer> {
    if (this.#halves.length < elements) this.#halves = new Uint16Array(elements);
    return this.#halves.subarray(0, elements);
  }

  take(elements: number): Float32Array {
    const index = this.#waiting.findIndex((values) => values.length >= elements);
    return index < 0 ? new Float32Array(elements) : this.#waiting.splice(index, 1)[0]!;
  }

  give(values: Float32Array): void {
    if (this.#waiting.length < 4) this.#waiting.push(values);
  }
}

/** Packs one matrix. */
export class PanelPacker {
  readonly #rows: number;
  readonly #columns: number;
  readonly #storage: WeightStorage;
  readonly #write: WriteBytes;
  readonly #open = new Map<number, { values: Float32Array; missing: number }>();
  readonly #memory: PackingMemory;
  /** One a column of the panel; 1 unless weights are int8. */
  readonly #scales = new Float32Array(PANEL_COLUMNS).fill(1);

  constructor(rows: number, columns: number, storage: WeightStorage, write: WriteBytes, memory: PackingMemory = new PackingMemory()) {
    this.#rows = rows;
    this.#columns = columns;
    this.#storage = storage;
    this.#write = write;
    this.#memory = memory;
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
      if (count === rowsHere * this.#columns && !this.#open.has(index)) {
        this.#flush(index, values.subarray(taken, taken + count), rowsHere); // all of it at once: no need to gather
        taken += count;
        continue;
      }
      let panel = this.#open.get(index);
      if (!panel) {
        panel = { values: this.#memory.take(perPanel), missing: rowsHere * this.#columns };
        this.#open.set(index, panel);
      }
      panel.values.set(values.subarray(taken, taken + count), within);
      panel.missing -= count;
      taken += count;
      if (panel.missing === 0) {
        this.#flush(index, panel.values, rowsHere);
        this.#open.delete(index);
        this.#memory.give(panel.values);
      }
    }
  }

  #flush(index: number, values: Float32Array, rowsHere: number): void {
    const columns = this.#columns;
    const elements = PANEL_COLUMNS * paddedK(columns);
    const scales = this.#scales;
    const int8 = this.#storage === 'int8';
    const leaving = this.#memory.leaving(elements * (int8 ? 1 : 4));
    const packed = int8 ? new Int8Array(leaving, 0, elements) : new Float32Array(leaving, 0, elements);
    packed.fill(0, rowsHere < PANEL_COLUMNS ? 0 : PANEL_COLUMNS * columns); // what the rows below do not cover
    if (packed instanceof Int8Array) {
      scales.fill(0, rowsHere);
      for (let row = 0; row < rowsHere; row++) scales[row] = rowScale(values, row * columns, columns);
      quantize(values, rowsHere, columns, scales, packed);
    } else {
      turn(values, rowsHere, columns, packed);
    }
    let bytes = new Uint8Array(leaving, 0, packed.byteLength);
    if (bytesPerElement[this.#storage] === 2) {
      const halves = this.#memory.halves(elements);
      f32ToF16(packed as Float32Array, halves);
      bytes = new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength);
    }
    this.#write(index * bytes.length, bytes);
    if (int8) {
      const panels = Math.ceil(this.#rows / PANEL_COLUMNS);
      this.#write(panels * bytes.length + index * scales.byteLength, new Uint8Array(scales.buffer));
    }
  }
}

/** Inputs that are turned at once: 64 rows × 16 values are read, and 4 KiB written one after the other, which a cache holds. */
const TURNED = 16;

/** (rows, columns) → (columns, 64). */
function turn(values: Float32Array, rows: number, columns: number, packed: Float32Array): void {
  const width = PANEL_COLUMNS; // a local: an import that is not bundled is looked up every time
  for (let begin = 0; begin < columns; begin += TURNED) {
    const end = Math.min(begin + TURNED, columns);
    for (let row = 0; row < rows; row++) {
      let to = begin * width + row;
      for (let from = row * columns + begin, last = row * columns + end; from < last; from++) {
        packed[to] = values[from]!;
        to += width;
      }
    }
  }
}

/** The same, each row divided by its scale and rounded. */
function quantize(values: Float32Array, rows: number, columns: number, scales: Float32Array, packed: Int8Array): void {
  const width = PANEL_COLUMNS; // a local: an import that is not bundled is looked up every time
  for (let begin = 0; begin < columns; begin += TURNED) {
    const end = Math.min(begin + TURNED, columns);
    for (let row = 0; row < rows; row++) {
      const from = row * columns;
      const scale = scales[row]! || 1;
      // Math.round's integers (no quotient of two f32 is so near a half that they differ) in a third of its time.
      for (let k = begin, to = begin * width + row; k < end; k++, to += width) packed[to] = Math.floor(values[from + k]! / scale + 0.5);
    }
  }
}

/** The scale of a row of int8; 0 for a row of zeros, or of what a GPU may take for zeros. A float32. */
export function rowScale(values: Float32Array, begin: number, count: number): number {
  const wanted = Math.fround(largest(values, begin, count) / INT8_MAX);
  return wanted < SMALLEST_NORMAL ? 0 : wanted;
}

/** Largest magnitude among `count` values from `begin` on. */
function largest(values: Float32Array, begin: number, count: number): number {
  let most = 0;
  for (let i = begin; i < begin + count; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
}
