/**
 * The names that the tensors of a DINOv2 have in checkpoints, in every naming convention (dialect: Hugging
 * Face, facebookresearch, timm). The table for Hugging Face is in huggingFace.ts.
 *
 * Our own names are facebookresearch's (`blocks.0.attn.qkv.weight`). timm uses the same names with a few
 * exceptions (`reg_token`, the SwiGLU as `mlp.fc1` and `mlp.fc2`). Hugging Face has two spellings: that of
 * files on the hub (`encoder.layer.0.attention.attention.query.weight`), and that of transformers 5 in
 * memory (`….attention.q_proj.weight`; its conversion_mapping.py, "Dinov2Model"). Both spellings split
 * query, key and value; transformers 5 also splits a SwiGLU's `weights_in` into `gate_proj` and `up_proj`.
 */
import { huggingFaceInside, huggingFaceNames, huggingFaceOutside, type Dialect } from './huggingFace.js';

/**
 * Groups of naming conventions. A single tensor name shows to which group a file belongs. facebookresearch
 * and timm are one group, because they share most names.
 */
export type Family = 'huggingface' | 'original';

/**
 * The part of a parameter that a tensor holds: the whole (0 of 1), or query, key or value (0, 1, 2 of 3) of
 * qkv.
 */
export interface Part {
  readonly parameter: string;
  readonly part: number;
  readonly parts: number;
}

/** The meaning of a tensor name in a file. */
export interface Translated extends Part {
  readonly family: Family;
  /**
   * The text before the name that the model's own code gives to the tensor, such as `teacher.backbone.`;
   * may be empty.
   */
  readonly prefix: string;
}

/** `huggingFaceInside` in the spelling of transformers 5. These names are read, never written. */
const huggingFaceInside5: typeof huggingFaceInside = [
  [['attention.q_proj', 'attention.k_proj', 'attention.v_proj'], 'attn.qkv'],
  [['attention.o_proj'], 'attn.proj'],
  [['mlp.gate_proj', 'mlp.up_proj'], 'mlp.w12'],
  [['mlp.down_proj'], 'mlp.w3'],
];

/** facebookresearch's and timm's names outside the blocks ↔ our names. */
const originalOutside = new Map([
  ...huggingFaceOutside.map(([, ours]) => [ours, ours] as const),
  ['reg_token', 'register_tokens'],
]);
/** OpenVLA and Prismatic store LayerScale's `gamma` as `scale_factor`. */
const originalInside = new Map([
  ...huggingFaceInside.map(([, ours]) => [ours, ours] as const),
  ['ls1.scale_factor', 'ls1.gamma'],
  ['ls2.scale_factor', 'ls2.gamma'],
]);

const fromOutside = new Map(huggingFaceOutside);
const fromInside = new Map(
  [...huggingFaceInside, ...huggingFaceInside5].flatMap(([theirs, ours]) =>
    theirs.map((name, part) => [name, { ours, part, parts: theirs.length }] as const),
  ),
);
const toInside5 = new Map(
  [...huggingFaceInside, ...huggingFaceInside5].map(([theirs, ours]) => [ours, theirs]),
);
const spelling5 = /\.(q|k|v|o|gate|up|down)_proj\.(weight|bias)$/;

/**
 * Names of modules that wrap other modules and compute nothing: torch.compile, FSDP, activation
 * checkpointing, and PEFT's merged layers. They may occur anywhere in a tensor name.
 */
const wrappers = new Set(['_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module', 'base_layer']);

const outsideNames = [...fromOutside.keys(), ...originalOutside.keys()];
/**
 * The largest number of dot-separated parts in a name outside the blocks, as in
 * `embeddings.patch_embeddings.projection.weight`.
 */
const longestOutside = Math.max(...outsideNames.map((name) => name.split('.').length));

/**
 * Translates a tensor name of a file; undefined if no naming convention (Hugging Face, facebookresearch,
 * timm) has this name.
 */
export function translate(file: string): Translated | undefined {
  const all = file.split('.');
  const segments: string[] = [];
  const places: number[] = []; // position of each dot-separated part in the name
  all.forEach((segment, place) => {
    if (wrappers.has(segment)) return;
    segments.push(segment);
    places.push(place);
  });
  const prefixTo = (at: number): string => all.slice(0, places[at]).join('.') + (places[at] === 0 ? '' : '.');

  const block = blockOf(segments);
  if (block) {
    const { at, index, inner, family } = block;
    const last = inner.at(-1)!;
    const suffix = last === 'weight' || last === 'bias' ? `.${last}` : '';
    const theirs = (suffix ? inner.slice(0, -1) : inner).join('.');
    const found =
      family === 'huggingface'
        ? fromInside.get(theirs)
        : originalInside.has(theirs)
          ? { ours: originalInside.get(theirs)!, part: 0, parts: 1 }
          : undefined;
    if (found)
      return {
        parameter: `blocks.${index}.${found.ours}${suffix}`,
        part: found.part,
        parts: found.parts,
        family,
        prefix: prefixTo(at),
      };
  }
  // Longest names first, because the name `embeddings.cls_token` ends with the name `cls_token`.
  for (let length = Math.min(longestOutside, segments.length); length > 0; length--) {
    const at = segments.length - length;
    const bare = segments.slice(at).join('.');
    const [huggingFace, original] = [fromOutside.get(bare), originalOutside.get(bare)];
    const parameter = huggingFace ?? original;
    if (parameter !== undefined)
      return {
        parameter,
        part: 0,
        parts: 1,
        family: huggingFace === undefined ? 'original' : 'huggingface',
        prefix: prefixTo(at),
      };
  }
  return undefined;
}

const isIndex = (segment: string | undefined): boolean =>
  segment !== undefined && /^(0|[1-9]\d{0,3})$/.test(segment);

interface Block {
  /** Position of the part `blocks` or `encoder` in the dot-separated tensor name. */
  readonly at: number;
  readonly index: number;
  readonly inner: readonly string[];
  readonly family: Family;
}

/** Returns the innermost block in which the tensor with this name lies. */
function blockOf(segments: readonly string[]): Block | undefined {
  for (let at = segments.length - 3; at >= 0; at--) {
    if (segments[at] === 'encoder' && segments[at + 1] === 'layer' && isIndex(segments[at + 2])) {
      const inner = segments.slice(at + 3);
      if (inner.length > 0) return { at, index: Number(segments[at + 2]), inner, family: 'huggingface' };
    }
    if (segments[at] !== 'blocks' || !isIndex(segments[at + 1])) continue;
    // Some checkpoints have blocks in chunks: blocks.{chunk}.{i}, where i counts across chunks.
    const chunked = isIndex(segments[at + 2]) ? 1 : 0;
    const inner = segments.slice(at + 2 + chunked);
    if (inner.length > 0) return { at, index: Number(segments[at + 1 + chunked]), inner, family: 'original' };
  }
  return undefined;
}

/** Our names ↔ timm's names where they differ. In timm, a packed SwiGLU has the names `fc1` and `fc2`. */
const timmNames: readonly (readonly [ours: RegExp, timms: string])[] = [
  [/^register_tokens$/, 'reg_token'],
  [/\.mlp\.w12\./, '.mlp.fc1.'],
  [/\.mlp\.w3\./, '.mlp.fc2.'],
];

/**
 * Returns the tensor names that hold a parameter in a naming convention (dialect: Hugging Face,
 * facebookresearch, timm).
 * @param like tensor names of the file, whose Hugging Face spelling is followed
 */
export function namesOf(parameter: string, dialect: Dialect, like: Iterable<string> = []): readonly string[] {
  if (dialect === 'facebookresearch') return [parameter];
  if (dialect === 'timm')
    return [timmNames.reduce((name, [ours, timms]) => name.replace(ours, timms), parameter)];
  return huggingFaceNames(parameter, [...like].some((name) => spelling5.test(name)) ? toInside5 : undefined);
}

/**
 * Returns the reason, in a few words, why a tensor that no parameter needs would change what the model
 * computes. Returns undefined if the tensor would change nothing, as integer tensors and empty tensors
 * (buffers such as `position_ids` and `num_batches_tracked`).
 * @param rest the tensor name without the model's prefix
 */
export function changesModel(rest: string, family: Family): string | undefined {
  const segments = rest.split('.').filter((segment) => !wrappers.has(segment));
  const bare = segments.join('.');
  const [first = ''] = segments;
  if (/^(rope|rotary|storage_tokens)/.test(first) || /\.(rope|rotary)/.test(bare))
    return 'rotary position embeddings, as in DINOv3';
  if (family === 'huggingface') {
    if (/^encoder\.layer\.\d+\./.test(bare)) return 'inside a block';
    if (first === 'embeddings') return 'in the embeddings';
    if (first === 'layernorm') return 'in the final norm';
    return undefined;
  }
  if (/^blocks\.\d+\./.test(bare)) return 'inside a block';
  if (first === 'patch_embed') return 'in the patch embedding';
  if (first === 'norm') return 'in the final norm';
  if (first === 'norm_pre' || first === 'ln_pre') return 'a norm before the blocks';
  if (first === 'fc_norm') return 'a norm after the pooling, instead of the final norm';
  if (/^(local_)?cls_norm$/.test(first)) return 'a norm for the class token alone';
  if (first === 'dist_token') return 'a distillation token';
  if (first === 'pos_embed') return 'in the position embeddings';
  return undefined;
}

/**
 * Matches the names of PEFT's adapter tensors. A file holds them beside, or instead of, the layers that the
 * adapter changes.
 */
export const adapterName: RegExp =
  /\.(lora_[A-Z]\w*|lora_embedding_[AB]|lora_magnitude_vector|hada_w[12]_[abt]|hada_t[12]|lokr_\w+|ia3_l|oft_[rRs]\w*|boft_[RPs]\w*|vera_lambda_[bd]|vera_[AB]|base_layer\.lora_\w+)(\.|$)/;

/**
 * Returns whether a file is a DINOv3, by combinations of tensor names that no other model has: Hugging Face's
 * patch embedding without `projection`, together with LayerScale; facebookresearch's rotary tables or storage
 * tokens; timm's registers and gammas without position embeddings.
 */
export function isDinov3(files: Iterable<string>): boolean {
  const all = [...files];
  const has = (pattern: RegExp): boolean => all.some((file) => pattern.test(file));
  return (
    has(/(^|\.)(rope_embed\.periods|storage_tokens)$/) ||
    (has(/(^|\.)embeddings\.patch_embeddings\.weight$/) && has(/\.layer_scale1\.lambda1$/)) ||
    (has(/(^|\.)reg_token$/) && has(/(^|\.)blocks\.\d+\.gamma_1$/) && !has(/(^|\.)pos_embed$/))
  );
}
