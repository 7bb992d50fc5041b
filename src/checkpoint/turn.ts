/**
 * The two passes over every weight of a checkpoint: rows → panels, and is each in range. Both look at bits as whole numbers: of a float32's bits without
 * the sign, infinity is the largest but for NaN. Bits that are put together with `|` are no smaller than any of them, so that where the outcome is below
 * a limit, all are: one instruction a weight. Where it is not (weights of 2 and more may bring that about), they are looked at one by one.
 */
import { PANEL_COLUMNS } from '../gpu/lowering.js';

const MAGNITUDE = 0x7fffffff;

/** The bits of float32 values, where they are. */
export const bitsOf = ({ buffer, byteOffset, length }: Float32Array): Int32Array => new Int32Array(buffer, byteOffset, length);

/** Whether every magnitude is below `limit`; NaN is not. `together`: the bits of all put together with `|`, where they are known. */
export function allBelow(limit: number, bits: Int32Array, together: number = orOf(bits)): boolean {
  const limitBits = bitsOf(new Float32Array([limit]))[0]!;
  if ((together & MAGNITUDE) < limitBits) return true;
  let most = 0;
  for (let i = 0; i < bits.length; i++) most = Math.max(most, bits[i]! & MAGNITUDE);
  return most < limitBits;
}

function orOf(bits: Int32Array): number {
  let together = 0;
  const fours = bits.length - (bits.length % 4);
  for (let i = 0; i < fours; i += 4) together |= bits[i]! | bits[i + 1]! | bits[i + 2]! | bits[i + 3]!;
  for (let i = fours; i < bits.length; i++) together |= bits[i]!;
  return together;
}

/** Inputs that are turned at once: 16 KiB are written before the next begin, which a cache holds. Even. */
const TURNED = 64;

/**
 * Turns a part of a panel: of its values, row-major (64, columns), those from the `first`-th on, to where they stand in (columns, 64). Four rows and two
 * of their values at once, which is a third of the time of one value after the other: most of it goes into addresses and bounds.
 * @returns their bits, put together with `|`
 */
export function turn(bits: Int32Array, first: number, columns: number, turned: Int32Array): number {
  const width = PANEL_COLUMNS; // a local: an import that is not bundled is looked up every time
  const last = first + bits.length;
  const beginRow = Math.ceil(first / columns); // the first that is whole
  const endRow = beginRow + 4 * Math.max(0, Math.floor((Math.floor(last / columns) - beginRow) / 4));
  const pairs = columns - (columns % 2);
  let together = 0;
  for (let begin = 0; begin < pairs; begin += TURNED) {
    const end = Math.min(begin + TURNED, pairs);
    for (let row = beginRow; row < endRow; row += 4) {
      let a = row * columns + begin - first;
      let b = a + columns;
      let c = b + columns;
      let d = c + columns;
      let to = begin * width + row;
      for (let k = begin; k < end; k += 2) {
        const a0 = bits[a]!, b0 = bits[b]!, c0 = bits[c]!, d0 = bits[d]!;
        const a1 = bits[a + 1]!, b1 = bits[b + 1]!, c1 = bits[c + 1]!, d1 = bits[d + 1]!;
        turned[to] = a0;
        turned[to + 1] = b0;
        turned[to + 2] = c0;
        turned[to + 3] = d0;
        turned[to + width] = a1;
        turned[to + width + 1] = b1;
        turned[to + width + 2] = c1;
        turned[to + width + 3] = d1;
        together |= a0 | b0 | c0 | d0 | a1 | b1 | c1 | d1;
        a += 2;
        b += 2;
        c += 2;
        d += 2;
        to += 2 * width;
      }
    }
  }
  // What is left over: rows that are not whole, or too few to be four, and the last value of rows of an odd length.
  for (let at = first; at < last; ) {
    const row = Math.floor(at / columns);
    const end = Math.min((row + 1) * columns, last);
    for (let i = row >= beginRow && row < endRow ? row * columns + pairs : at; i < end; i++) {
      const value = bits[i - first]!;
      turned[(i - row * columns) * width + row] = value;
      together |= value;
    }
    at = end;
  }
  return together;
}
