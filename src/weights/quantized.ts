/**
 * int8 in a checkpoint, as `dinov2-webgpu convert --dtype int8` writes it: a matrix `NAME` is I8 (rows,
 * columns …), and `NAME_scale` beside it is F32 (rows): the weight is integer · scale of its row. Scales
 * stand before the matrices in the file, as wider elements do, so they are at hand in time. Such a scale is
 * the float nearest to max |w| / 127, and comes out again, to the last bit, where the matrix is loaded as
 * int8.
 */
import { CheckpointError } from '../errors.js';
import { f32ToF32 } from '../numerics/toFloat32.js';
import type { SafetensorsHeader, TensorInfo } from '../safetensors.js';

const SUFFIX = '_scale';

/** A checkpoint's tensors as what they stand for. */
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

/** The scales of a checkpoint, as they come. */
export class RowScales {
  readonly #scales: ReadonlyMap<string, { readonly values: Float32Array<ArrayBuffer>; missing: number }>;

  constructor(scales: Quantized['scales']) {
    this.#scales = new Map(
      [...scales].map(([name, rows]) => [name, { values: new Float32Array(rows), missing: rows }]),
    );
  }

  /**
   * Takes f32 of a scale, from byte `offset` of it on; gives them back as numbers, or undefined if the tensor
   * is none. Each value comes once.
   */
  add(name: string, offset: number, bytes: Uint8Array): Float32Array<ArrayBuffer> | undefined {
    const scale = this.#scales.get(name);
    if (!scale) return undefined;
    const count = f32ToF32(bytes, scale.values, offset / 4);
    scale.missing -= count;
    return scale.values.subarray(offset / 4, offset / 4 + count);
  }

  /**
   * Of a matrix; undefined if it has none. @throws CheckpointError CHECKPOINT_TENSORS if they have not come
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
