/**
 * The two passes over every weight of a checkpoint: transposing rows into panels, and checking that values
 * are in range. Both treat float32 bits as integers. Without the sign bit, infinity is larger than every
 * finite value, and NaN is larger than infinity. The bitwise or of several magnitudes is at least as large
 * as each magnitude. So if the bitwise or is below the limit, all values are below the limit. This test
 * costs one instruction for each weight. Otherwise (possible if a weight is 2 or larger) each value is
 * checked.
 */
import { PANEL_COLUMNS } from '../gpu/lowering.js';

const MAGNITUDE = 0x7fffffff;

/** Returns the bits of float32 values, as an integer view of the same memory. */
export const bitsOf = ({ buffer, byteOffset, length }: Float32Array): Int32Array =>
  new Int32Array(buffer, byteOffset, length);

/**
 * Returns whether every magnitude is below `limit`. Returns false if a value is NaN.
 * @param together the bitwise or of all values, if the caller has computed it
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
 * Transposes a part of a panel, which is row-major (64, columns): writes the values from the `first`-th on
 * to their positions in (columns, 64). Used for incomplete rows, and where SIMD is not available
 * (panelMemory.ts).
 * @returns the bitwise or of the values' bits
 */
export function turn(bits: Int32Array, first: number, columns: number, turned: Int32Array): number {
  const width = PANEL_COLUMNS; // a local variable, because in unbundled code every use of an import is a lookup
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
