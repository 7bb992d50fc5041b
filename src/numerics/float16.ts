/** Converts float32 to IEEE binary16 (F16). */

/** The smallest magnitude whose nearest F16 is infinity. */
export const F16_LIMIT = 65_520;

/**
 * Converts float32 to F16, rounding to the nearest value, ties to even (IEEE 754). Writes the bits to
 * `out[begin]` and the elements after it. Magnitudes of 65,520 and more become infinity; NaN stays NaN.
 *
 * @throws {RangeError} when `out` is too short
 */
export function f32ToF16(values: Float32Array, out: Uint16Array, begin = 0): void {
  if (begin < 0 || begin + values.length > out.length) {
    throw new RangeError(
      `f32ToF16: expected room for ${values.length} values from index ${begin}, found ${out.length} elements.`,
    );
  }
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) out[begin + i] = f16BitsOfF32Bits(bits[i]!);
}

/** Returns the bits of the F16 nearest to a float32, which is given by its bits. Ties go to even. */
export function f16BitsOfF32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x38800000 && magnitude < 0x47800000) {
    // The result is a normal F16 (or infinity after rounding). To round to even, half a step minus one is
    // added, and one more if the kept part is odd. A carry from the fraction increases the exponent.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude >= 0x47800000) {
    return sign | (magnitude > 0x7f800000 ? 0x7e00 | ((magnitude >>> 13) & 0x3ff) : 0x7c00);
  }
  if (magnitude <= 0x33000000) return sign; // at most 2^-25, half the smallest subnormal F16, is rounded to 0
  const shift = 126 - (magnitude >>> 23); // 14 … 24: the result is subnormal, a multiple of 2^-24
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const kept = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (rest > tie || (rest === tie && (kept & 1) === 1) ? kept + 1 : kept);
}
