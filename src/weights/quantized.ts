/**
 * int8 in a checkpoint, as `dinov2-webgpu convert --dtype int8` writes it: a matrix `NAME` is I8 (rows,
 * columns …), and `NAME_scale` beside it is F32 (rows): the weight is integer · scale of its row. Scales
 * precede the matrices in the file, because wider elements do, so a matrix can be decoded as it arrives. A
 * scale is the float nearest to max |w| / 127; loading the matrix as int8 gives the same scale, bit for bit.
 */
import { CheckpointError } from '../errors.js';
import { f32ToF32 } from '../numerics/toFloat32.js';
import type { SafetensorsHeader, TensorInfo } from '../safetensors.js';

const SUFFIX = '_scale';

/** A checkpoint's tensors with int8 matrices read as floats. */
export interface Quantized {
  /**
   * Without the scales, and with F32 where there is I8 with a scale: what names and shapes are checked
   * against.
   */
  readonly header: SafetensorsHeader;
  /** Name of the scale → rows. */
  readonly scales: ReadonlyMap<string, number>;
}

export const scaleName = (tensor: string): string => tensor + SUFFIX;

/** @throws CheckpointError CHECKPOINT_TENSORS if a scale does not belong to its matrix */
export function readQuantized(header: SafetensorsHeader): Quantized {
  const scales = new Map<string, number>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of header.tensors) {
    const scale = info.dtype === 'I8' ? header.tensors.get(scaleName(name)) : undefined;
    if (!scale) {
      tensors.set(name, info);
      continue;
    }
    const rows = info.shape[0] ?? 0;
    if (scale.dtype !== 'F32' || scale.shape.length !== 1 || scale.shape[0] !== rows) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `${scaleName(name)}: expected F32 [${rows}], one scale for each row, found ${scale.dtype} [${scale.shape.join(', ')}]. Convert the checkpoint again.`,
      );
    }
    scales.set(scaleName(name), rows);
    tensors.set(name, { ...info, dtype: 'F32' });
  }
  for (const name of scales.keys()) tensors.delete(name);
  return scales.size === 0 ? { header, scales } : { header: { ...header, tensors }, scales };
}

/** Collects the scales of a checkpoint while they arrive. */
export class RowScales {
  readonly #scales: ReadonlyMap<string, { readonly values: Float32Array<ArrayBuffer>; missing: number }>;

  constructor(scales: Quantized['scales']) {
    this.#scales = new Map(
      [...scales].map(([name, rows]) => [name, { values: new Float32Array(rows), missing: rows }]),
    );
  }

  /**
   * Adds f32 bytes of a scale, from byte `offset` of its tensor on. Returns them as numbers; undefined if the
   * tensor is no scale. Each value is added once.
   */
  add(name: string, offset: number, bytes: Uint8Array): Float32Array<ArrayBuffer> | undefined {
    const scale = this.#scales.get(name);
    if (!scale) return undefined;
    const count = f32ToF32(bytes, scale.values, offset / 4);
    scale.missing -= count;
    return scale.values.subarray(offset / 4, offset / 4 + count);
  }

  /**
   * The scales of a matrix; undefined if it has none. @throws CheckpointError CHECKPOINT_TENSORS if they have
   * not arrived
   */
  of(tensor: string): Float32Array<ArrayBuffer> | undefined {
    const scale = this.#scales.get(scaleName(tensor));
    if (scale && scale.missing > 0) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `${tensor}: expected its scales before it in the file, found ${scale.values.length - scale.missing} of ${scale.values.length}. Convert the checkpoint again with dinov2-webgpu convert.`,
      );
    }
    return scale?.values;
  }
}
