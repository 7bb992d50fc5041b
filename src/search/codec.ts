/**
 * Encodes and decodes vectors. A score is the float64 dot product of a query and a decoded vector. Numbers in
 * encoded vectors are little-endian, as in memory on every machine that runs WebGPU. The storage formats:
 *
 *   f32   4 · dim bytes
 *   f16   2 · dim bytes. Subnormal numbers (below 2^-14) are stored as zero, because some GPUs flush them
 *         to zero
 *   int8  dim bytes, whole numbers from -127 to 127, then an f32 scale. A decoded number is the product of
 *         the whole number and the scale, rounded to f32
 */
import { f32ToF16 } from '../numerics/float16.js';
import { f16ToF32 } from '../numerics/toFloat32.js';
import { IndexError } from '../errors.js';
import type { Metric, VectorStorage } from './journal.js';
import { show } from '../platform/json.js';

const MIN_NORMAL_F32 = 2 ** -126;
const LARGEST_INT8 = 127;

/** Number of bytes of an encoded vector. */
export function encodedBytes(dim: number, storage: VectorStorage): number {
  return storage === 'f32' ? 4 * dim : storage === 'f16' ? 2 * dim : dim + 4;
}

let f16Values: Float32Array<ArrayBuffer> | undefined;

/** Returns a table that gives the number for each of the 65,536 bit patterns of f16. */
export function f16Numbers(): Float32Array<ArrayBuffer> {
  if (!f16Values) {
    f16Values = new Float32Array(65536);
    f16ToF32(new Uint8Array(Uint16Array.from(f16Values, (_, bits) => bits).buffer), f16Values);
  }
  return f16Values;
}

/** The properties of an index that determine which vectors the index accepts. */
export interface VectorRules {
  readonly dim: number;
  readonly metric: Metric;
}

/**
 * Checks a vector and converts it to float32. For the metric `cosine`, the vector is also scaled to length 1.
 * @param where name of the calling function, for error messages
 * @throws IndexError INDEX_VECTOR
 */
export function checkedVector(
  vector: ArrayLike<number>,
  { dim, metric }: VectorRules,
  where: string,
): Float32Array<ArrayBuffer> {
  const length = (vector as ArrayLike<number> | undefined)?.length;
  if (typeof vector !== 'object' || length !== dim) {
    throw new IndexError(
      'INDEX_VECTOR',
      `${where}: expected a vector of ${dim} numbers, found ${length === undefined ? typeof vector : `${length} numbers`}. Use the model and pooling that the index was made with.`,
    );
  }
  const values = new Float32Array(dim);
  let squares = 0;
  for (let i = 0; i < dim; i++) {
    const value = vector[i]!;
    if (!(Math.abs(value) <= 3.4028234663852886e38)) {
      throw new IndexError(
        'INDEX_VECTOR',
        `${where}: expected finite numbers, found ${show(value)} at index ${i}. Check that the image and the weights contain finite numbers only.`,
      );
    }
    squares += value * value;
    values[i] = value;
  }
  if (metric === 'dot') return values;
  if (!(squares > 0))
    throw new IndexError(
      'INDEX_VECTOR',
      `${where}: the vector is all zeros, so it has no direction to compare. Leave the item out.`,
    );
  const norm = Math.sqrt(squares);
  for (let i = 0; i < dim; i++) values[i] = vector[i]! / norm;
  return values;
}

/**
 * Encodes a vector that `checkedVector` returned.
 * @throws IndexError INDEX_VECTOR if a number is too large for f16
 */
export function encodeVector(
  values: Float32Array<ArrayBuffer>,
  storage: VectorStorage,
  where: string,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(encodedBytes(values.length, storage));
  encodeInto(values, storage, bytes, 0, where);
  return bytes;
}

/**
 * Encodes a vector and writes it to `bytes`, beginning at byte `at`.
 * @throws IndexError INDEX_VECTOR if a number is too large for f16
 */
export function encodeInto(
  values: Float32Array<ArrayBuffer>,
  storage: VectorStorage,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  where: string,
): void {
  if (storage === 'f32') {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
  } else if (storage === 'f16') {
    const halves = new Uint16Array(values.length);
    f32ToF16(values, halves);
    for (let i = 0; i < halves.length; i++) {
      const exponent = (halves[i]! >>> 10) & 0x1f;
      if (exponent === 0x1f)
        throw new IndexError(
          'INDEX_VECTOR',
          `${where}: expected numbers below 65520, which f16 can store, found ${values[i]} at index ${i}. Use storage 'f32', or scale the vectors.`,
        );
      if (exponent === 0) halves[i] = 0;
    }
    bytes.set(new Uint8Array(halves.buffer), at);
  } else {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const nearest = Math.fround(largest / LARGEST_INT8);
    const scale = nearest < MIN_NORMAL_F32 ? 0 : nearest;
    for (let i = 0; i < values.length; i++) {
      const whole = scale === 0 ? 0 : Math.round(values[i]! / scale);
      bytes[at + i] = Math.max(-LARGEST_INT8, Math.min(LARGEST_INT8, whole)) & 0xff;
    }
    bytes.set(new Uint8Array(Float32Array.of(scale).buffer), at + values.length);
  }
}

/** Decodes the vector that begins at byte `at` of `bytes`, and writes its numbers to `out`. */
export function decodeInto(
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  storage: VectorStorage,
  out: Float32Array<ArrayBuffer>,
): void {
  const dim = out.length;
  if (storage === 'f32') {
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(bytes.subarray(at, at + 4 * dim));
  } else if (storage === 'f16') {
    f16ToF32(bytes.subarray(at, at + 2 * dim), out);
  } else {
    const scale = new DataView(bytes.buffer, bytes.byteOffset + at + dim, 4).getFloat32(0, true);
    for (let i = 0; i < dim; i++) out[i] = ((bytes[at + i]! << 24) >> 24) * scale;
  }
}

/**
 * Describes what is wrong with an encoded vector from a file or a store. Returns undefined if the vector is
 * valid: its components are finite, it has no subnormal f16 numbers, and, for the metric `cosine`, its length
 * is near 1.
 */
export function encodedFault(
  bytes: Uint8Array<ArrayBuffer>,
  { dim, metric }: VectorRules,
  storage: VectorStorage,
): string | undefined {
  const values = new Float32Array(dim);
  decodeInto(bytes, 0, storage, values);
  let squares = 0;
  for (let i = 0; i < dim; i++) {
    if (!Number.isFinite(values[i])) return `${values[i]} at index ${i}`;
    squares += values[i]! ** 2;
  }
  if (storage === 'f16') {
    for (let i = 0; i < dim; i++)
      if (values[i] !== 0 && Math.abs(values[i]!) < 2 ** -14)
        return `the subnormal number ${values[i]} at index ${i}, which an export stores as zero`;
  }
  if (storage === 'int8' && bytes.subarray(0, dim).includes(0x80)) return 'the whole number -128';
  // Rounding to int8 changes a component by at most half a quantization step. Storing an f16 subnormal as
  // zero changes it by less than 2^-14.
  const step =
    storage === 'int8'
      ? new DataView(bytes.buffer, bytes.byteOffset + dim, 4).getFloat32(0, true) / 2
      : 2 ** -14;
  const length = Math.sqrt(squares);
  return metric === 'cosine' && !(Math.abs(length - 1) < 0.001 + Math.sqrt(dim) * step)
    ? `a vector of length ${length}`
    : undefined;
}
