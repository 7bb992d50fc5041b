/** Reads a config.json of timm: an architecture, whose dimensions are in timm's code, and its arguments. */
import { ConfigError } from '../errors.js';
import { show } from '../platform/json.js';
import { isObject, type Json } from './configFields.js';

/**
 * Values from a config.json that does not contain a complete configuration. The tensors' names and shapes
 * determine the other values.
 */
export interface ConfigHints {
  /** Program that wrote config.json, for error messages. */
  readonly writer: string;
  /** Length of a token's vector. Undefined if the file does not contain it. */
  readonly embedDim?: number | undefined;
  /** Number of attention heads. Undefined if the file does not contain it. */
  readonly numHeads?: number | undefined;
  /** Activation of the MLP, or of the SwiGLU's gate. */
  readonly activation?: 'gelu' | 'silu' | undefined;
  /** timm's `no_embed_class`: true if the position embeddings do not include the cls token. */
  readonly patchPositions?: boolean | undefined;
  /** Side in pixels of the square image to which the position embeddings belong. */
  readonly imageSize?: number | undefined;
  /**
   * Side in pixels of the square image for which timm makes the model. If it differs from that of the position
   * embeddings, timm resamples them when it loads the checkpoint. Undefined if the file does not contain it.
   */
  readonly modelSize?: number | undefined;
}

/** timm's names of the supported activations: the exact GELU, and SiLU. */
const computed: ReadonlyMap<unknown, 'gelu' | 'silu'> = new Map([
  ['gelu', 'gelu'],
  ['silu', 'silu'],
  ['swish', 'silu'],
]);

/**
 * Arguments of timm's `VisionTransformer` with any value: they change nothing in evaluation, or the tensors'
 * names and shapes show them, or `timmHints` reads them.
 */
const anyValue = new Set(
  (
    'img_size patch_size in_chans num_classes global_pool embed_dim depth num_heads mlp_ratio qkv_bias qk_norm ' +
    'scale_attn_norm scale_mlp_norm proj_bias init_values class_token no_embed_class reg_tokens pre_norm final_norm ' +
    'fc_norm pool_include_prefix dynamic_img_size strict_img_size drop_rate pos_drop_rate patch_drop_rate ' +
    'proj_drop_rate attn_drop_rate drop_path_rate weight_init fix_init'
  ).split(' '),
);

/** Arguments of timm's `VisionTransformer` of which only these values are supported. */
const someValues: Readonly<Record<string, { readonly is: RegExp; readonly expected: string }>> = {
  act_layer: { is: /^(gelu|silu|swish)$/, expected: '"gelu" or "silu"' },
  mlp_layer: { is: /^([\w.]+\.)?(Mlp|SwiGLUPacked)$/, expected: '"Mlp" or "SwiGLUPacked"' },
  norm_layer: { is: /^layernorm$/, expected: '"layernorm", whose eps is 1e-6' },
  pos_embed: { is: /^learn$/, expected: '"learn"' },
  dynamic_img_pad: {
    is: /^false$/,
    expected: 'false (images are not padded: a remainder at the right and at the bottom is left out)',
  },
};

/**
 * Reads a config.json of timm.
 * @throws {ConfigError} CONFIG_UNSUPPORTED, for arguments that change the arithmetic of the model, and for
 *   unknown arguments
 */
export function timmHints(json: Json, architecture: string): ConfigHints {
  const args = isObject(json['model_args']) ? json['model_args'] : {};
  const refuse = (what: string, expected: string, found: unknown): never => {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `config.json: ${what}: expected ${expected}, found ${show(found)}. A model with this setting is not supported: no published DINOv2 has it.`,
    );
  };
  if (/quickgelu|gelutanh|gelu_tanh/.test(architecture))
    refuse('architecture', 'an architecture with the exact GELU', architecture);
  for (const [name, value] of Object.entries(args)) {
    if (value === null || anyValue.has(name)) continue;
    const known = Object.hasOwn(someValues, name) ? someValues[name] : undefined;
    if (!known) refuse(`model_args.${name}`, 'no argument of this name', value);
    else if (typeof value === 'object' || !known.is.test(String(value)))
      refuse(`model_args.${name}`, known.expected, value);
  }
  const cfg = isObject(json['pretrained_cfg']) ? json['pretrained_cfg'] : {};
  const inputSize: unknown = cfg['input_size'] ?? json['input_size']; // timm's older form
  for (const [what, size] of [
    ['model_args.img_size', args['img_size']],
    ['pretrained_cfg.input_size', Array.isArray(inputSize) ? inputSize.slice(1) : undefined],
  ] as const)
    if (Array.isArray(size) && size[0] !== size[1]) refuse(what, 'a square', size);
  const { embed_dim: embedDim, num_heads: numHeads, no_embed_class: patchPositions } = args;
  const sideOf = (size: unknown): number | undefined => {
    const side: unknown = [size].flat().at(-1);
    return typeof side === 'number' ? side : undefined;
  };
  const ownSize = args['img_size'] ?? (args['dynamic_img_size'] === true ? inputSize : undefined);
  // timm's Block passes the model's `act_layer`, by default GELU, to any `mlp_layer`. Only the architectures of
  // DINOv2's giant have SiLU by default.
  const usesGelu = args['mlp_layer'] != null && !/giant\w*dinov2/.test(architecture);
  return {
    activation: computed.get(args['act_layer']) ?? (usesGelu ? 'gelu' : undefined),
    writer: "timm's config.json",
    embedDim: typeof embedDim === 'number' ? embedDim : undefined,
    numHeads: typeof numHeads === 'number' ? numHeads : undefined,
    patchPositions: typeof patchPositions === 'boolean' ? patchPositions : undefined,
    imageSize: sideOf(args['img_size'] ?? inputSize),
    modelSize: sideOf(ownSize),
  };
}
