/** Elements of tensors as float32, for every element type that can be loaded. */
import { bf16ToF32, f16ToF32, f32ToF32, f64ToF32 } from '../numerics/toFloat32.js';
import type { SafetensorsDtype } from '../safetensors.js';

/** Writes the elements in `bytes` to `out` from element `begin` on. Returns how many there are. */
export type DecodeFloats = (bytes: Uint8Array, out: Float32Array, begin?: number) => number;

/** Decoders of the float types, which are all that can be loaded without scales. */
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
 * Writes int8 elements, each times the scale of its row, to `out` from element `begin` on.
 * @param first index of the first element in its tensor, which has `columns` columns
 * @returns how many elements there are
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
