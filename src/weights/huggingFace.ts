/**
 * Hugging Face's tensor names of a DINOv2, and a function that assigns the tensors of a checkpoint with
 * exactly these names to the model's parameters. Most loads need only this module; names.ts handles all
 * other checkpoints.
 */
import type { SafetensorsHeader } from '../safetensors.js';

/** A parameter of the model: our name for it, and its shape in PyTorch. */
export interface Parameter {
  readonly name: string;
  readonly shape: readonly number[];
}

/** The code base whose naming convention a checkpoint's tensors follow. */
export type Dialect = 'huggingface' | 'facebookresearch' | 'timm';

/**
 * The place of a file's tensor in the model: a whole parameter, or a part of a parameter (query, key and
 * value together fill one qkv).
 */
export interface Placement {
  /** Our name of the parameter. */
  readonly parameter: string;
  /** Index within the parameter of the first element that the tensor fills. */
  readonly begin: number;
  /** Shape of the tensor in the file. */
  readonly shape: readonly number[];
}

/** For every tensor of a file: which parameter the tensor fills (its placement), or that it is not used. */
export interface PlacedTensors {
  /**
   * For each tensor name in the file, in the file's order: which parameter the tensor fills, and from which
   * element on. A parameter is complete once all tensors that fill it have arrived. If the first of these
   * tensors begins after element 0, the elements before are zeros (the class token's row in timm's position
   * embeddings).
   */
  readonly placements: ReadonlyMap<string, Placement>;
  /** Tensors of the file that do not belong to the model: heads, decoders, buffers, a second model. */
  readonly setAside: readonly string[];
  readonly dialect: Dialect;
  /** Prefix of the model's tensor names; empty, or ends with a dot. */
  readonly prefix: string;
}

/** Hugging Face's tensor names ↔ our names, outside the blocks. */
export const huggingFaceOutside: readonly (readonly [theirs: string, ours: string])[] = [
  ['embeddings.cls_token', 'cls_token'],
  ['embeddings.mask_token', 'mask_token'],
  ['embeddings.register_tokens', 'register_tokens'],
  ['embeddings.position_embeddings', 'pos_embed'],
  ['embeddings.patch_embeddings.projection.weight', 'patch_embed.proj.weight'],
  ['embeddings.patch_embeddings.projection.bias', 'patch_embed.proj.bias'],
  ['layernorm.weight', 'norm.weight'],
  ['layernorm.bias', 'norm.bias'],
];

/**
 * Hugging Face's tensor names within `encoder.layer.{i}.` ↔ our names within `blocks.{i}.`, in the spelling
 * of files on the hub. Several names on the left hold the parts of one parameter, in this order.
 */
export const huggingFaceInside: readonly (readonly [theirs: readonly string[], ours: string])[] = [
  [['norm1'], 'norm1'],
  [['attention.attention.query', 'attention.attention.key', 'attention.attention.value'], 'attn.qkv'],
  [['attention.output.dense'], 'attn.proj'],
  [['layer_scale1.lambda1'], 'ls1.gamma'],
  [['norm2'], 'norm2'],
  [['mlp.fc1'], 'mlp.fc1'],
  [['mlp.fc2'], 'mlp.fc2'],
  [['mlp.weights_in'], 'mlp.w12'],
  [['mlp.weights_out'], 'mlp.w3'],
  [['layer_scale2.lambda1'], 'ls2.gamma'],
];

const toOutside = new Map(huggingFaceOutside.map(([theirs, ours]) => [ours, theirs]));
const toInside = new Map(huggingFaceInside.map(([theirs, ours]) => [ours, theirs]));

/**
 * Returns the tensors that hold a parameter, in Hugging Face's names: several, in this order, if the
 * parameter is split.
 * @param inside Hugging Face's names inside a block, by our names. Default: the spelling on the hub
 */
export function huggingFaceNames(
  parameter: string,
  inside: ReadonlyMap<string, readonly string[]> = toInside,
): readonly string[] {
  const block = /^blocks\.(\d+)\.(.+?)(\.weight|\.bias)?$/.exec(parameter);
  if (block === null) return [toOutside.get(parameter) ?? parameter];
  const [, index, ours = '', suffix = ''] = block;
  return (inside.get(ours) ?? [ours]).map((theirs) => `encoder.layer.${index}.${theirs}${suffix}`);
}

/**
 * Returns the tensors that a Hugging Face file with these parameters has, each with the parameter that it
 * fills.
 */
function huggingFacePlacements(parameters: readonly Parameter[]): [name: string, placement: Placement][] {
  return parameters.flatMap(({ name: parameter, shape: [rows = 1, ...rest] }) => {
    const names = huggingFaceNames(parameter);
    const shape = [rows / names.length, ...rest];
    const elements = shape.reduce((product, length) => product * length, 1);
    return names.map((theirs, part): [string, Placement] => [
      theirs,
      { parameter, begin: part * elements, shape },
    ]);
  });
}

/**
 * Returns the tensors that a Hugging Face file with these parameters has: names and shapes as written by
 * `save_pretrained`, in its order (by name: layer 0, 1, 10, 11, 2, …). The inverse of `placeTensors`.
 */
export function huggingFaceTensors(parameters: readonly Parameter[]): Parameter[] {
  return huggingFacePlacements(parameters)
    .map(([name, { shape }]) => ({ name, shape }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Returns whether tensors of an element type can be loaded. An I8 matrix with scales counts as F32, see
 * quantized.ts.
 */
export const isLoadable = (dtype: string): boolean => ['F32', 'F16', 'BF16', 'F64'].includes(dtype);

/** Returns whether two shapes are the same. */
export const sameShape = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((length, axis) => length === b[axis]);

/**
 * Assigns the tensors of a file to the model's parameters, if the file holds exactly these parameters in
 * Hugging Face's names, without a prefix. `mask_token` may be absent. Gives the same result as
 * `placeTensors`.
 * @returns undefined for any other file, valid or not
 */
export function placeHuggingFace(
  { tensors }: SafetensorsHeader,
  parameters: readonly Parameter[],
): PlacedTensors | undefined {
  const expected = new Map(huggingFacePlacements(parameters));
  const placements = new Map<string, Placement>();
  for (const [name, { dtype, shape }] of tensors) {
    const placement = expected.get(name);
    if (!placement || !isLoadable(dtype) || !sameShape(shape, placement.shape)) return undefined;
    placements.set(name, placement);
    expected.delete(name);
  }
  for (const { parameter } of expected.values()) if (parameter !== 'mask_token') return undefined;
  return { placements, setAside: [], dialect: 'huggingface', prefix: '' };
}
