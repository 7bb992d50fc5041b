/**
 * The order in which kernels read a linear layer's weight: panels of 64 output columns. Panel p holds, for
 * every input k, the weights of outputs 64p … 64p + 63 side by side. The inputs are padded with zeros to a
 * multiple of 32, and the last panel is padded with columns of zeros. In a checkpoint the outputs are rows,
 * so a panel is the transpose of 64 rows. Rows arrive in any order and in portions of any size; a panel is
 * written once its last value has arrived. For int8, every row of the matrix is divided by its scale, max
 * |w| / 127, and rounded. The scales (f32, one for each output column) follow all panels.
 */
import { PANEL_COLUMNS, paddedK } from '../gpu/lowering.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import { F16_LIMIT } from '../numerics/float16.js';
import { PackingMemory, type PanelSlot } from './panelMemory.js';
import { allBelow, bitsOf } from './turn.js';

/**
 * Receives bytes for the GPU. `data` belongs at byte `offset` of the packed weight. The caller may overwrite
 * `data` after the call.
 */
export type WriteBytes = (offset: number, data: Uint8Array<ArrayBuffer>) => void;

/** Returns the size in bytes of a packed matrix of `rows` outputs × `columns` inputs. */
export function packedBytes(rows: number, columns: number, storage: WeightStorage): number {
  const scales = storage === 'int8' ? SCALE_BYTES : 0;
  return (
    Math.ceil(rows / PANEL_COLUMNS) * PANEL_COLUMNS * (paddedK(columns) * bytesPerElement[storage] + scales)
  );
}

/** Bytes of one weight, without the scale of its column. */
export const bytesPerElement: Readonly<Record<WeightStorage, 1 | 2 | 4>> = {
  f32: 4,
  f16: 2,
  'f16-packed': 2,
  int8: 1,
};

/** Returns the limit below which the magnitude of every weight must be. */
export const weightLimit = (storage: WeightStorage): number =>
  bytesPerElement[storage] === 2 ? F16_LIMIT : Infinity;

/**
 * The magnitude below which all weights must be for f16 arithmetic, so that no sum overflows; see
 * shaders/linear_f16.wgsl.
 */
export const F16_ARITHMETIC_LIMIT = 4;

const SCALE_BYTES = 4;

/**
 * Packs a whole row-major matrix into u32 words. For small matrices; checkpoints are packed piece by piece
 * with `PanelPacker`.
 */
export function packMatrix(
  rows: number,
  columns: number,
  values: Float32Array,
  storage: WeightStorage,
): Uint32Array<ArrayBuffer> {
  const bytes = new Uint8Array(packedBytes(rows, columns, storage));
  new PanelPacker(rows, columns, storage, (offset, data) => bytes.set(data, offset)).add(values, 0);
  return new Uint32Array(bytes.buffer);
}

/**
 * A panel (64 outputs of a weight) of which some values have arrived. These values are already transposed.
 */
interface OpenPanel {
  readonly place: PanelSlot;
  missing: number;
}

/** Packs one matrix, whose values arrive in portions. */
export class PanelPacker {
  /** True if a weight was too large for f16 arithmetic. */
  large = false;
  readonly #rows: number;
  readonly #columns: number;
  readonly #storage: WeightStorage;
  readonly #write: WriteBytes;
  readonly #open = new Map<number, OpenPanel>();
  readonly #memory: PackingMemory;
  /** Scales of the int8 weights of a panel, one for each column. */
  readonly #scales = new Float32Array(PANEL_COLUMNS);

  constructor(
    rows: number,
    columns: number,
    storage: WeightStorage,
    write: WriteBytes,
    memory: PackingMemory = new PackingMemory(),
  ) {
    this.#rows = rows;
    this.#columns = columns;
    this.#storage = storage;
    this.#write = write;
    this.#memory = memory;
  }

  /**
   * Adds `values`, which begin at element `begin` of the row-major matrix. Returns false if the magnitude
   * of a value is not below `weightLimit`.
   */
  add(values: Float32Array, begin: number): boolean {
    const columns = this.#columns;
    const perPanel = PANEL_COLUMNS * columns;
    const limit = weightLimit(this.#storage);
    let within = true;
    for (let taken = 0; taken < values.length;) {
      const at = begin + taken;
      const index = Math.floor(at / perPanel);
      const first = at - index * perPanel;
      const rowsHere = Math.min(PANEL_COLUMNS, this.#rows - index * PANEL_COLUMNS);
      const bits = bitsOf(
        values.subarray(taken, taken + Math.min(values.length - taken, rowsHere * columns - first)),
      );
      const panel = this.#open.get(index) ?? this.#begin(index, rowsHere);
      const together = this.#memory.turn(bits, first, columns, panel.place);
      within = allBelow(limit, bits, together) && within;
      this.large ||= limit === F16_LIMIT && !allBelow(F16_ARITHMETIC_LIMIT, bits, together);
      taken += bits.length;
      panel.missing -= bits.length;
      if (panel.missing === 0) {
        this.#leave(index, panel.place);
        this.#open.delete(index);
        this.#memory.give(panel.place);
      }
    }
    return within;
  }

  #begin(index: number, rowsHere: number): OpenPanel {
    const elements = PANEL_COLUMNS * paddedK(this.#columns);
    const place = this.#memory.take(elements);
    place.words.fill(0, rowsHere < PANEL_COLUMNS ? 0 : PANEL_COLUMNS * this.#columns, elements); // zeros for the padding, which no value overwrites
    const panel = { place, missing: rowsHere * this.#columns };
    this.#open.set(index, panel);
    return panel;
  }

  #leave(index: number, place: PanelSlot): void {
    const elements = PANEL_COLUMNS * paddedK(this.#columns);
    const width = bytesPerElement[this.#storage];
    if (width === 2) this.#memory.toF16(place, elements);
    if (width === 1) this.#memory.toInt8(place, elements, this.#scales);
    const { buffer, byteOffset } = place.words;
    this.#write(index * elements * width, new Uint8Array(buffer, byteOffset, elements * width));
    if (width > 1) return;
    const panels = Math.ceil(this.#rows / PANEL_COLUMNS);
    this.#write(panels * elements + index * this.#scales.byteLength, new Uint8Array(this.#scales.buffer));
  }
}
