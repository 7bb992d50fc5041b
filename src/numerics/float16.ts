/** Conversion of float32 to IEEE binary16 (F16). */

/** The smallest magnitude whose nearest F16 is infinity. */
export const F16_LIMIT = 65_520;

/**
 * Converts float32 to F16, to the nearest, ties to even, as the IEEE conversion does: values (count) → bits
 * of out[begin … begin + count). From 65520 on it is infinity; NaN stays NaN.
 *
 * @throws {RangeError} when `out` is too short
 */
export function f32ToF16(values: Float32Array, out: Uint16Array, begin = 0): void {
  if (begin < 0 || begin + values.length > out.length) {
    throw new RangeError(
      `f32ToF16: expected room for ${values.length} values from ${begin} on, found ${out.length}.`,
    );
  }
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) out[begin + i] = f16BitsOfF32Bits(bits[i]!);
}

/** Bits of a float32 → bits of the nearest F16, ties to even. */
export function f16BitsOfF32Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x38800000 && magnitude < 0x47800000) {
    // Normal, 2^-14 … 2^16: half a step less one, plus one if the kept part is odd. A carry goes on into the
    // exponent, up to infinity.
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude >= 0x47800000) {
    return sign | (magnitude > 0x7f800000 ? 0x7e00 | ((magnitude >>> 13) & 0x3ff) : 0x7c00);
  }
  if (magnitude <= 0x33000000) return sign; // up to 2^-25, which is half the smallest F16
  const shift = 126 - (magnitude >>> 23); // 14 … 24: the F16 is a multiple of 2^-24
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const kept = fraction >>> shift;
  const rest = fraction & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (rest > tie || (rest === tie && (kept & 1) === 1) ? kept + 1 : kept);
}
