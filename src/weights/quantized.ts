/**
 * Reads int8 checkpoints, as `dinov2-webgpu convert --dtype int8` writes them. A matrix `NAME` is I8 (rows,
 * columns …), and its scales `NAME_scale` are F32 (rows): a weight is its integer · the scale of its row.
 * Writers put tensors with wider elements first, so the scales precede the matrices in the file, and a
 * matrix can be decoded as it arrives. A scale is the float nearest to max |w| / 127. Loading the matrix as
 * int8 gives the same scale, bit for bit.
 */
import { CheckpointError } from '../errors.js';
import { f32ToF32 } from '../numerics/toFloat32.js';
import type { SafetensorsHeader, TensorInfo } from '../safetensors.js';

const SUFFIX = '_scale';

/** Ends of the names of further tensors with which other programs store an int8 matrix. */
const companions = ['_zero_point', '_zeros', '_offset', '_g_idx', '_scale_2', '_shape'];

/** A checkpoint's tensors, with int8 matrices presented as float matrices. */
export interface Quantized {
  /**
   * The header against which names and shapes are checked: without the scales, and with F32 for each I8
   * matrix that has a scale.
   */
  readonly header: SafetensorsHeader;
  /** Tensor name of the scales → number of rows. */
  readonly scales: ReadonlyMap<string, number>;
}

export const scaleName = (tensor: string): string => tensor + SUFFIX;

/**
 * Finds the int8 matrices with scales in a header. @throws CheckpointError CHECKPOINT_TENSORS if a scale
 * tensor does not fit its matrix, or if the matrix has further parameters, such as zero points
 */
export function readQuantized(header: SafetensorsHeader): Quantized {
  const scales = new Map<string, number>();
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of header.tensors) {
    const scale = info.dtype === 'I8' ? header.tensors.get(scaleName(name)) : undefined;
    if (!scale) {
      tensors.set(name, info);
      continue;
    }
    const other = companions.find((suffix) => header.tensors.has(name + suffix));
    if (other !== undefined)
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `${name}: expected int8 weights with one scale for each row and no other parameters, found ${name}${other}. Save the model with float weights, and choose dtype: 'int8' when loading it.`,
      );
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
   * Adds the f32 bytes of scales, from byte `offset` of their tensor on. Returns these scales as numbers;
   * undefined if the tensor holds no scales. Each value must be added once.
   */
  add(name: string, offset: number, bytes: Uint8Array): Float32Array<ArrayBuffer> | undefined {
    const scale = this.#scales.get(name);
    if (!scale) return undefined;
    const count = f32ToF32(bytes, scale.values, offset / 4);
    scale.missing -= count;
    return scale.values.subarray(offset / 4, offset / 4 + count);
  }

  /**
   * Returns the scales of a matrix; undefined if the matrix has none.
   * @throws CheckpointError CHECKPOINT_TENSORS if the scales have not arrived
   */
  of(tensor: string): Float32Array<ArrayBuffer> | undefined {
    const scale = this.#scales.get(scaleName(tensor));
    if (scale && scale.missing > 0) {
      throw new CheckpointError(
        'CHECKPOINT_TENSORS',
        `${tensor}: expected the ${scale.values.length} scales of this tensor before it in the file, found ${scale.values.length - scale.missing}. Convert the checkpoint again with dinov2-webgpu convert.`,
      );
    }
    return scale?.values;
  }
}
