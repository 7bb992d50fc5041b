/**
 * Half precision: IEEE binary16 (F16) and bfloat16 (BF16) to and from float32, by bits, so that every value
 * is exact and NaN keeps its payload. Bytes are little-endian, as in safetensors and on every machine that
 * runs WebGPU, and may begin at any address.
 */

/**
 * Bits of the float32 that a binary16 stands for, by the bits of the binary16: 256 KiB, made when first
 * needed.
 */
let f32BitsOfF16: Uint32Array | undefined;

function f16Table(): Uint32Array {
  if (f32BitsOfF16 !== undefined) return f32BitsOfF16;
  const table = new Uint32Array(65536);
  for (let magnitude = 0; magnitude < 0x8000; magnitude++) {
    const exponent = magnitude >>> 10;
    const fraction = magnitude & 0x3ff;
    let bits: number;
    if (exponent === 0x1f) {
      bits = 0x7f800000 | (fraction << 13); // infinity, NaN
    } else if (exponent > 0) {
      bits = ((exponent + 112) << 23) | (fraction << 13); // the biases differ by 127 - 15
    } else if (fraction > 0) {
      const shift = Math.clz32(fraction) - 21; // brings the leading 1 to bit 10, where normal numbers have it unwritten
      bits = ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
    } else {
      bits = 0;
    }
    table[magnitude] = bits;
    table[magnitude | 0x8000] = bits | 0x80000000;
  }
  f32BitsOfF16 = table;
  return table;
}

/**
 * Converts F16 to float32: bytes (2 · count) → out[begin … begin + count).
 *
 * @returns count, the number of values written
 * @throws {RangeError} when the bytes end within a value, or `out` is too short
 */
export function f16ToF32(bytes: Uint8Array, out: Float32Array, begin = 0): number {
  const count = checkFit('f16ToF32', bytes, 2, out, begin);
  const table = f16Table();
  const bits = new Uint32Array(out.buffer, out.byteOffset + 4 * begin, count);
  if (bytes.byteOffset % 2 === 0) {
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, count);
    for (let i = 0; i < count; i++) bits[i] = table[halves[i]!]!;
  } else {
    for (let i = 0; i < count; i++) bits[i] = table[bytes[2 * i]! | (bytes[2 * i + 1]! << 8)]!;
  }
  return count;
}

/**
 * Converts BF16 to float32: bytes (2 · count) → out[begin … begin + count).
 *
 * @returns count, the number of values written
 * @throws {RangeError} when the bytes end within a value, or `out` is too short
 */
export function bf16ToF32(bytes: Uint8Array, out: Float32Array, begin = 0): number {
  const count = checkFit('bf16ToF32', bytes, 2, out, begin);
  const bits = new Uint32Array(out.buffer, out.byteOffset + 4 * begin, count);
  if (bytes.byteOffset % 2 === 0) {
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, count);
    for (let i = 0; i < count; i++) bits[i] = halves[i]! << 16;
  } else {
    for (let i = 0; i < count; i++) bits[i] = (bytes[2 * i]! << 16) | (bytes[2 * i + 1]! << 24);
  }
  return count;
}

/**
 * Converts float64 to float32, to the nearest, ties to even, as PyTorch's `.float()` does: bytes (8 · count) →
 * out[begin … begin + count). What is too large becomes infinite.
 *
 * @returns count, the number of values written
 * @throws {RangeError} when the bytes end within a value, or `out` is too short
 */
export function f64ToF32(bytes: Uint8Array, out: Float32Array, begin = 0): number {
  const count = checkFit('f64ToF32', bytes, 8, out, begin);
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  out.set(new Float64Array(aligned.buffer, aligned.byteOffset, count), begin);
  return count;
}

/**
 * Copies float32 as it is: bytes (4 · count) → out[begin … begin + count). For F32 tensors, beside the other
 * two.
 *
 * @returns count, the number of values written
 * @throws {RangeError} when the bytes end within a value, or `out` is too short
 */
export function f32ToF32(bytes: Uint8Array, out: Float32Array, begin = 0): number {
  const count = checkFit('f32ToF32', bytes, 4, out, begin);
  new Uint8Array(out.buffer, out.byteOffset + 4 * begin, 4 * count).set(bytes);
  return count;
}

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

/** How many values the bytes hold; a RangeError unless they are whole and fit. */
function checkFit(
  where: string,
  bytes: Uint8Array,
  valueBytes: number,
  out: Float32Array,
  begin: number,
): number {
  const count = bytes.byteLength / valueBytes;
  if (!Number.isInteger(count)) {
    throw new RangeError(
      `${where}: expected a multiple of ${valueBytes} bytes, found ${bytes.byteLength}. Cut pieces between values.`,
    );
  }
  if (!Number.isInteger(begin) || begin < 0 || begin + count > out.length) {
    throw new RangeError(
      `${where}: expected room for ${count} values from ${begin} on, found ${out.length}.`,
    );
  }
  return count;
}
