/** Where panels wait for their values, and the passes over them: by SIMD where it may run (simd.wat), in JavaScript otherwise. The same bits. */
import { f32ToF16 } from './float.js';
import { createSimd } from './simd.js';
import { turn } from './turn.js';

/** Room for a panel. `words` is a view that the next `take` may make useless: ask anew. */
export interface Place {
  readonly words: Int32Array<ArrayBuffer>;
  /** Where it begins in WebAssembly's memory. */
  readonly at: number;
}

/** Values that are handed to SIMD at once, 1 MiB. */
const STAGED = 2 ** 18;
const PAGE_BYTES = 2 ** 16;

/** Memory that the packers of a checkpoint share: panels that wait for their rows to be complete, and one of narrower weights as it leaves. */
export class PackingMemory {
  readonly #simd = createSimd();
  #leaving = new ArrayBuffer(0);
  readonly #free: Place[] = [];
  /** Bytes of WebAssembly's memory that are given out; values are staged in the first. */
  #end = 4 * STAGED;

  /** Bytes of an int8 panel that is about to leave; valid until the next call. */
  leaving(bytes: number): ArrayBuffer {
    if (this.#leaving.byteLength < bytes) this.#leaving = new ArrayBuffer(bytes);
    return this.#leaving;
  }

  /** At least so many words, a multiple of 8; they hold anything. */
  take(elements: number): Place {
    const index = this.#free.findIndex(({ words }) => words.length >= elements);
    if (index >= 0) return this.#free.splice(index, 1)[0]!;
    if (!this.#simd) return { words: new Int32Array(elements), at: 0 };
    const { memory } = this.#simd;
    const at = this.#end;
    this.#end += 4 * elements;
    const missing = this.#end - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES));
    return {
      at,
      get words() {
        return new Int32Array(memory.buffer as ArrayBuffer, at, elements);
      },
    };
  }

  give(place: Place): void {
    this.#free.push(place);
    this.#free.sort((a, b) => a.words.length - b.words.length); // so that the smallest that serves is taken
  }

  /** As `turn` (turn.ts) into a place. */
  turn(bits: Int32Array, first: number, columns: number, place: Place): number {
    const simd = this.#simd;
    if (bits.length > STAGED && simd) return this.turn(bits.subarray(0, STAGED), first, columns, place) | this.turn(bits.subarray(STAGED), first + STAGED, columns, place);
    const last = first + bits.length;
    const beginRow = Math.ceil(first / columns); // the first that is whole
    const endRow = Math.floor(last / columns);
    if (!simd || columns % 4 > 0 || endRow - beginRow < 4) return turn(bits, first, columns, place.words);
    new Int32Array(simd.memory.buffer).set(bits);
    const fours = (row: number, rows: number, begin: number, end: number): number =>
      begin < end ? simd.turn(4 * (row * columns - first), place.at + 4 * row, columns, rows, begin, end) : 0;
    const whole = (endRow - beginRow) & ~3;
    // The ends of rows that are not whole, each with the three rows beside it once more; so are the last few rows with those before them.
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
  toF16({ words, at }: Place, elements: number): void {
    if (this.#simd) this.#simd.to_f16(at, elements);
    else f32ToF16(new Float32Array(words.buffer, words.byteOffset, elements), new Uint16Array(words.buffer, words.byteOffset, elements)); // nothing is overwritten before it was read
  }
}

