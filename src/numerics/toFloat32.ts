/**
 * Converts the float types of safetensors (F16, BF16, F32, F64) to float32. The conversions from F16 and BF16
 * are exact, and NaN keeps its payload. Input bytes are little-endian, as in safetensors and on every machine
 * that runs WebGPU. The input need not be aligned.
 */

/**
 * Table with the float32 bits of each of the 65,536 F16 numbers. The table takes 256 KiB and is made when
 * first needed.
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
      bits = ((exponent + 112) << 23) | (fraction << 13); // the exponent biases, 127 and 15, differ by 112
    } else if (fraction > 0) {
      const shift = Math.clz32(fraction) - 21; // moves the leading 1 to bit 10, the implicit bit of normal numbers
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
 * Converts F16 to float32. Reads 2 bytes for each value, and writes to `out[begin]` and the elements after
 * it.
 *
 * @returns the number of values written
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
 * Converts BF16 to float32. Reads 2 bytes for each value, and writes to `out[begin]` and the elements after
 * it.
 *
 * @returns the number of values written
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
 * Converts float64 to float32, rounding to the nearest value, ties to even, as PyTorch's `.float()` does.
 * Values beyond the range of float32 become infinite. Reads 8 bytes for each value, and writes to
 * `out[begin]` and the elements after it.
 *
 * @returns the number of values written
 * @throws {RangeError} when the bytes end within a value, or `out` is too short
 */
export function f64ToF32(bytes: Uint8Array, out: Float32Array, begin = 0): number {
  const count = checkFit('f64ToF32', bytes, 8, out, begin);
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  out.set(new Float64Array(aligned.buffer, aligned.byteOffset, count), begin);
  return count;
}

/**
 * Copies float32 values, bit by bit. Reads 4 bytes for each value, and writes to `out[begin]` and the
 * elements after it.
 *
 * @returns the number of values written
 * @throws {RangeError} when the bytes end within a value, or `out` is too short
 */
export function f32ToF32(bytes: Uint8Array, out: Float32Array, begin = 0): number {
  const count = checkFit('f32ToF32', bytes, 4, out, begin);
  new Uint8Array(out.buffer, out.byteOffset + 4 * begin, 4 * count).set(bytes);
  return count;
}

/**
 * Returns the number of values in `bytes`. Throws a RangeError if the last value is incomplete, or if the
 * values do not fit into `out`.
 */
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
      `${where}: expected a multiple of ${valueBytes} bytes, found ${bytes.byteLength}. Pass whole values only.`,
    );
  }
  if (!Number.isInteger(begin) || begin < 0 || begin + count > out.length) {
    throw new RangeError(
      `${where}: expected room for ${count} values from index ${begin}, found ${out.length} elements.`,
    );
  }
  return count;
}
