/**
 * int8 in a checkpoint, as `dinov2-webgpu convert --dtype int8` writes it: a matrix `NAME` is I8 (rows, columns …), and `NAME_scale` beside it is F32
 * (rows): the weight is integer · scale of its row. Scales stand before the matrices in the file, as wider elements do, so they are at hand in time.
 */
import { CheckpointError } from '../errors.js';
import type { SafetensorsHeader, TensorInfo } from './safetensors.js';

const SUFFIX = '_scale';

/** A checkpoint's tensors as what they stand for. */
export interface Quantized {
  /** Without the scales, and with F32 where there is I8 with a scale: what names and shapes are checked against. */
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
      throw new CheckpointError('CHECKPOINT_TENSORS', `${scaleName(name)}: expected F32 [${rows}], one scale for each row, found ${scale.dtype} [${scale.shape.join(', ')}]. Convert the checkpoint again.`);
    }
    scales.set(scaleName(name), rows);
    tensors.set(name, { ...info, dtype: 'F32' });
  }
  for (const name of scales.keys()) tensors.delete(name);
  return scales.size === 0 ? { header, scales } : { header: { ...header, tensors }, scales };
}
