/** Decodes tensor elements to float32, for every element type that can be loaded. */
import { bf16ToF32, f16ToF32, f32ToF32, f64ToF32 } from '../numerics/toFloat32.js';
import type { SafetensorsDtype } from '../safetensors.js';

/** Writes the elements in `bytes` to `out`, from index `begin` on. Returns the number of elements. */
export type DecodeFloats = (bytes: Uint8Array, out: Float32Array, begin?: number) => number;

/** Decoders of the float types. The only other type that can be loaded is int8 with scales. */
export const floatDecoders: ReadonlyMap<SafetensorsDtype, DecodeFloats> = new Map<
  SafetensorsDtype,
  DecodeFloats
>([
  ['F32', f32ToF32],
  ['F16', f16ToF32],
  ['BF16', bf16ToF32],
  ['F64', f64ToF32],
]);

/**
 * Writes int8 elements to `out` from index `begin` on, each multiplied by the scale of its row.
 * @param first index within the tensor of the first element; the tensor has `columns` columns
 * @returns the number of elements
 */
export function decodeInt8(
  bytes: Uint8Array,
  scales: Float32Array,
  columns: number,
  first: number,
  out: Float32Array,
  begin = 0,
): number {
  const integers = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let i = 0; i < integers.length; i++)
    out[begin + i] = integers[i]! * scales[Math.floor((first + i) / columns)]!;
  return integers.length;
}
