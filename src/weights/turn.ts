/**
 * The two passes over every weight of a checkpoint: rows → panels, and is each in range. Both look at bits as
 * whole numbers: of a float32's bits without the sign, infinity is the largest but for NaN. Bits that are put
 * together with `|` are no smaller than any of them, so that where the outcome is below a limit, all are: one
 * instruction a weight. Where it is not (weights of 2 and more may bring that about), they are looked at one
 * by one.
 */
import { PANEL_COLUMNS } from '../gpu/lowering.js';

const MAGNITUDE = 0x7fffffff;

/** The bits of float32 values, where they are. */
export const bitsOf = ({ buffer, byteOffset, length }: Float32Array): Int32Array =>
  new Int32Array(buffer, byteOffset, length);

/**
 * Whether every magnitude is below `limit`; NaN is not. `together`: the bits of all put together with `|`,
 * where they are known.
 */
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

/**
 * Turns a part of a panel: of its values, row-major (64, columns), those from the `first`-th on, to where
 * they stand in (columns, 64). For ends of rows, and where SIMD may not run (panelMemory.ts).
 * @returns their bits, put together with `|`
 */
export function turn(bits: Int32Array, first: number, columns: number, turned: Int32Array): number {
  const width = PANEL_COLUMNS; // a local: an import that is not bundled is looked up every time
  let together = 0;
  let row = Math.floor(first / columns);
  for (let i = 0, column = first - row * columns; i < bits.length; row += 1, column = 0) {
    for (let to = column * width + row; column < columns && i < bits.length; i++, column++, to += width) {
      const value = bits[i]!;
      turned[to] = value;
      together |= value;
    }
  }
  return together;
}
