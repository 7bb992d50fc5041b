/**
 * Memory for panels that wait for their values, and the conversions on them: with WebAssembly SIMD (simd.wat)
 * if it may run, otherwise in JavaScript. Both give the same bits.
 */
import { DeviceError } from '../errors.js';
import { PANEL_COLUMNS } from '../gpu/lowering.js';
import { f32ToF16 } from '../numerics/float16.js';
import { createSimd } from './simd.js';
import { turn } from './turn.js';

/** Memory for a panel. `words` is a view that the next `take` may invalidate: read the property again. */
export interface PanelSlot {
  readonly words: Int32Array<ArrayBuffer>;
  /** Its address in WebAssembly's memory. */
  readonly at: number;
}

/** The largest whole number of int8 weights; -128 is not used, so that both signs reach equally far. */
const INT8_MAX = 127;
const SMALLEST_NORMAL = 2 ** -126;

/**
 * The scale of a row of int8 with this largest magnitude: a float32; 0 where all is zeros, or what a GPU may
 * take for zeros.
 */
export function int8Scale(largest: number): number {
  const wanted = Math.fround(largest / INT8_MAX);
  return wanted < SMALLEST_NORMAL ? 0 : wanted;
}

/** Values that are passed to SIMD at once: 1 MiB. */
const STAGED = 2 ** 18;
const PAGE_BYTES = 2 ** 16;

/** Memory that the packers of a checkpoint share: panels that wait for their rows to be complete. */
export class PackingMemory {
  readonly #simd = createSimd();
  readonly #free: PanelSlot[] = [];
  /** End of the used part of WebAssembly's memory. Its first bytes stage values. */
  #end = 4 * STAGED;

  /**
   * Returns uninitialised memory of at least `elements` words, a multiple of 8.
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
        `Loading needs ${missing} more bytes of memory to pack weights, and the browser has none left. Close other tabs, or load a smaller model.`,
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
    this.#free.sort((a, b) => a.words.length - b.words.length); // so that the smallest sufficient one is found first
  }

  /** As `turn` (turn.ts) into a place. */
  turn(bits: Int32Array, first: number, columns: number, place: PanelSlot): number {
    const simd = this.#simd;
    if (bits.length > STAGED && simd)
      return (
        this.turn(bits.subarray(0, STAGED), first, columns, place) |
        this.turn(bits.subarray(STAGED), first + STAGED, columns, place)
      );
    const last = first + bits.length;
    const beginRow = Math.ceil(first / columns); // the first that is whole
    const endRow = Math.floor(last / columns);
    if (!simd || columns % 4 > 0 || endRow - beginRow < 4) return turn(bits, first, columns, place.words);
    new Int32Array(simd.memory.buffer).set(bits);
    const fours = (row: number, rows: number, begin: number, end: number): number =>
      begin < end ? simd.turn(4 * (row * columns - first), place.at + 4 * row, columns, rows, begin, end) : 0;
    const whole = (endRow - beginRow) & ~3;
    // The ends of rows that are not whole, each with the three rows beside it once more; so are the last few
    // rows with those before them.
    const head = beginRow * columns - first;
    const tail = last - endRow * columns;
    let together = fours(beginRow, whole, 0, columns);
    if (beginRow + whole < endRow) together |= fours(endRow - 4, 4, 0, columns);
    together |= fours(beginRow - 1, 4, columns - (head & ~3), columns) | fours(endRow - 3, 4, 0, tail & ~3);
    // And of them the few values that are not four.
    const few = head & 3;
    const left = tail & 3;
    if (few > 0) together |= turn(bits.subarray(0, few), first, columns, place.words);
    if (left > 0) together |= turn(bits.subarray(bits.length - left), last - left, columns, place.words);
    return together;
  }

  /** The first `elements` (a multiple of 8) of a place as F16, in the first half of where they were. */
  toF16({ words, at }: PanelSlot, elements: number): void {
    if (this.#simd) this.#simd.to_f16(at, elements);
    else
      f32ToF16(
        new Float32Array(words.buffer, words.byteOffset, elements),
        new Uint16Array(words.buffer, words.byteOffset, elements),
      ); // nothing is overwritten before it was read
  }

  /**
   * The first `elements` (a multiple of 64) of a place, in rows of 64 → int8, in the first quarter of where
   * they were: each divided by the scale of its column, and rounded.
   * @param scales of the 64 columns; filled here
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
    // Math.round's integers (no quotient of two f32 is so near a half that they differ) in a third of its
    // time.
    for (let i = 0; i < elements; i++)
      integers[i] = Math.floor(values[i]! / divisors[i % PANEL_COLUMNS]! + 0.5);
  }
}

const divisor = (scale: number): number => scale || 1;
