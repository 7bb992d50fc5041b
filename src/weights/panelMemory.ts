/**
 * Memory for panels (64 outputs of a weight, see packing.ts) whose values have not all arrived, and the
 * conversions of panels to F16 and int8: with WebAssembly SIMD (simd.wat) if the page allows it, otherwise
 * in JavaScript. Both give the same bits.
 */
import { DeviceError } from '../errors.js';
import { PANEL_COLUMNS } from '../gpu/lowering.js';
import { f32ToF16 } from '../numerics/float16.js';
import { createSimd } from './simd.js';
import { turn } from './turn.js';

/**
 * Memory for a panel. `words` is a view that the next call of `take` may invalidate, so read the property
 * again after the call.
 */
export interface PanelSlot {
  readonly words: Int32Array<ArrayBuffer>;
  /** Byte address of the panel's memory within WebAssembly's memory. */
  readonly at: number;
}

/** The largest int8 weight. -128 is not used, so that the range is symmetric. */
const INT8_MAX = 127;
const SMALLEST_NORMAL = 2 ** -126;

/**
 * Returns the scale, as a float32, of an int8 row whose largest magnitude is `largest`. The scale is 0 if all
 * values are 0, or are subnormal so that a GPU may flush them to 0.
 */
export function int8Scale(largest: number): number {
  const wanted = Math.fround(largest / INT8_MAX);
  return wanted < SMALLEST_NORMAL ? 0 : wanted;
}

/** Number of float32 values that are passed to the SIMD code at once. They take 1 MiB. */
const STAGED = 2 ** 18;
const PAGE_BYTES = 2 ** 16;

/** Memory that the packers of a checkpoint share, for panels whose rows are incomplete. */
export class PackingMemory {
  readonly #simd = createSimd();
  readonly #free: PanelSlot[] = [];
  /**
   * End of the used part of WebAssembly's memory. The first 4 · STAGED bytes hold values on their way to
   * the SIMD code.
   */
  #end = 4 * STAGED;

  /**
   * Returns uninitialised memory of at least `elements` words; `elements` must be a multiple of 8.
   * @throws DeviceError DEVICE_MEMORY
   */
  take(elements: number): PanelSlot {
    const index = this.#free.findIndex(({ words }) => words.length >= elements);
    if (index >= 0) return this.#free.splice(index, 1)[0]!;
    if (!this.#simd) return { words: new Int32Array(elements), at: 0 };
    const { memory } = this.#simd;
    const at = this.#end;
    const end = at + 4 * elements;
    const missing = end - memory.buffer.byteLength;
    try {
      if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
    } catch (cause) {
      throw new DeviceError(
        'DEVICE_MEMORY',
        `Packing the weights needs ${missing} more bytes of memory, which the browser does not provide. Close other tabs, or load a smaller model.`,
        { cause },
      );
    }
    this.#end = end;
    return {
      at,
      get words() {
        return new Int32Array(memory.buffer as ArrayBuffer, at, elements);
      },
    };
  }

  give(place: PanelSlot): void {
    this.#free.push(place);
    this.#free.sort((a, b) => a.words.length - b.words.length); // so that `take` finds the smallest sufficient slot first
  }

  /** Transposes values into the memory of a panel, as `turn` in turn.ts does. */
  turn(bits: Int32Array, first: number, columns: number, place: PanelSlot): number {
    const simd = this.#simd;
    if (bits.length > STAGED && simd)
      return (
        this.turn(bits.subarray(0, STAGED), first, columns, place) |
        this.turn(bits.subarray(STAGED), first + STAGED, columns, place)
      );
    const last = first + bits.length;
    const beginRow = Math.ceil(first / columns); // the first complete row
    const endRow = Math.floor(last / columns);
    if (!simd || columns % 4 > 0 || endRow - beginRow < 4) return turn(bits, first, columns, place.words);
    new Int32Array(simd.memory.buffer).set(bits);
    const fours = (row: number, rows: number, begin: number, end: number): number =>
      begin < end ? simd.turn(4 * (row * columns - first), place.at + 4 * row, columns, rows, begin, end) : 0;
    const whole = (endRow - beginRow) & ~3;
    // SIMD transposes four rows at a time. For the ends of incomplete rows, and for the last rows if fewer
    // than four are left, the call includes neighbouring rows, whose values are written twice.
    const head = beginRow * columns - first;
    const tail = last - endRow * columns;
    let together = fours(beginRow, whole, 0, columns);
    if (beginRow + whole < endRow) together |= fours(endRow - 4, 4, 0, columns);
    together |= fours(beginRow - 1, 4, columns - (head & ~3), columns) | fours(endRow - 3, 4, 0, tail & ~3);
    // JavaScript transposes the last one to three values of the incomplete rows.
    const few = head & 3;
    const left = tail & 3;
    if (few > 0) together |= turn(bits.subarray(0, few), first, columns, place.words);
    if (left > 0) together |= turn(bits.subarray(bits.length - left), last - left, columns, place.words);
    return together;
  }

  /**
   * Converts the first `elements` (a multiple of 8) of a panel to F16, in place: the result takes the first
   * half of the memory.
   */
  toF16({ words, at }: PanelSlot, elements: number): void {
    if (this.#simd) this.#simd.to_f16(at, elements);
    else
      f32ToF16(
        new Float32Array(words.buffer, words.byteOffset, elements),
        new Uint16Array(words.buffer, words.byteOffset, elements),
      ); // safe in place: each value is read before its memory is overwritten
  }

  /**
   * Converts the first `elements` (a multiple of 64) of a panel, in rows of 64, to int8, in place: the result
   * takes the first quarter of the memory. Each element is divided by the scale of its column and rounded.
   * @param scales receives the scales of the 64 columns
   */
  toInt8({ words, at }: PanelSlot, elements: number, scales: Float32Array): void {
    const simd = this.#simd;
    if (simd) {
      simd.largest(at, elements, 0);
      scales.set(new Float32Array(simd.memory.buffer, 0, PANEL_COLUMNS).map(int8Scale));
      new Float64Array(simd.memory.buffer, 4 * PANEL_COLUMNS, PANEL_COLUMNS).set(scales.map(divisor));
      simd.to_int8(at, elements, 4 * PANEL_COLUMNS);
      return;
    }
    const values = new Float32Array(words.buffer, words.byteOffset, elements);
    const most = new Float32Array(PANEL_COLUMNS);
    for (let i = 0; i < elements; i++)
      most[i % PANEL_COLUMNS] = Math.max(most[i % PANEL_COLUMNS]!, Math.abs(values[i]!));
    scales.set(most.map(int8Scale));
    const integers = new Int8Array(words.buffer, words.byteOffset, elements);
    const divisors = scales.map(divisor);
    // Gives the same integers as Math.round in a third of the time. A result could differ only for a
    // quotient that is almost exactly a half, and no two float32 have such a quotient.
    for (let i = 0; i < elements; i++)
      integers[i] = Math.floor(values[i]! / divisors[i % PANEL_COLUMNS]! + 0.5);
  }
}

const divisor = (scale: number): number => scale || 1;
