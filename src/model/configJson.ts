/**
 * config.json, as Hugging Face and timm write it. Defaults are those of `Dinov2Config` and
 * `Dinov2WithRegistersConfig` in transformers.
 */
import { ConfigError } from '../errors.js';
import { HEAD_DIM } from '../graph/constants.js';
import { checkConfig, epsRange, hiddenFeaturesOf, limits, show, type DINOv2Config } from './config.js';
import { Fields } from './configFields.js';

/** What a config.json says where most of the configuration has to be read off the tensors. */
export interface ConfigHints {
  /** Who wrote it, for messages. */
  readonly writer: string;
  /** Where the file says them. */
  readonly embedDim?: number | undefined;
  readonly numHeads?: number | undefined;
  /** Of the MLP, or of the gate. */
  readonly activation?: 'gelu' | 'silu' | undefined;
  /** timm's `no_embed_class`: whether the position embeddings are for the patches alone. */
  readonly patchPositions?: boolean | undefined;
  /** Side of the square image that the position embeddings are for, px. */
  readonly imageSize?: number | undefined;
}

/** What a config.json says: all of the configuration, or what goes with that of the tensors' shapes. */
export type ConfigFile =
  | { readonly config: DINOv2Config; readonly hints?: undefined }
  | { readonly config?: undefined; readonly hints: ConfigHints };

type Json = Readonly<Record<string, unknown>>;

/**
 * Reads a config.json, already parsed: Hugging Face's (see `parseConfig`), or timm's, which names an
 * architecture and leaves its numbers to timm's code.
 * @throws {ConfigError} CONFIG_JSON, CONFIG_UNSUPPORTED, CONFIG_FIELD
 */
export function readConfigFile(json: unknown): ConfigFile {
  const object = asObject(json);
  if (object['model_type'] === undefined && typeof object['architecture'] === 'string')
    return { hints: timmHints(object, object['architecture']) };
  const { backbone } = object;
  if (typeof backbone === 'string' && /dinov2/i.test(backbone) && nestedIn(object).length === 0)
    return {
      hints: { writer: `config.json, which names its backbone (${backbone}) and does not describe it,` },
    };
  return { config: parseConfig(json) };
}

/** Activations that timm knows by these names, and that are the exact GELU, or SiLU. */
const computed: Readonly<Record<string, 'gelu' | 'silu'>> = { gelu: 'gelu', silu: 'silu', swish: 'silu' };

/** @throws {ConfigError} CONFIG_UNSUPPORTED for arguments that change what a model computes */
function timmHints(json: Json, architecture: string): ConfigHints {
  const args = isObject(json['model_args']) ? json['model_args'] : {};
  const refuse = (what: string, expected: string, found: unknown): never => {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `config.json: ${what}: expected ${expected}, found ${show(found)}. A model with this setting cannot be computed here: no published DINOv2 has it.`,
    );
  };
  if (/quickgelu|gelutanh|gelu_tanh/.test(architecture))
    refuse('architecture', 'one with the exact GELU', architecture);
  const activation = args['act_layer'];
  if (activation !== undefined && activation !== null && !Object.hasOwn(computed, String(activation)))
    refuse('model_args.act_layer', '"gelu" or "silu"', activation);
  const cfg = isObject(json['pretrained_cfg']) ? json['pretrained_cfg'] : {};
  for (const [what, size] of [
    ['model_args.img_size', args['img_size']],
    ['pretrained_cfg.input_size', Array.isArray(cfg['input_size']) ? cfg['input_size'].slice(1) : undefined],
  ] as const)
    if (Array.isArray(size) && size[0] !== size[1]) refuse(what, 'a square', size);
  const { embed_dim: embedDim, num_heads: numHeads, no_embed_class: patchPositions } = args;
  const inputSize: unknown = cfg['input_size'] ?? json['input_size']; // the older form has no pretrained_cfg
  const side: unknown = [args['img_size'] ?? inputSize].flat().at(-1);
  return {
    activation: computed[String(activation)],
    writer: "timm's config.json",
    embedDim: typeof embedDim === 'number' ? embedDim : undefined,
    numHeads: typeof numHeads === 'number' ? numHeads : undefined,
    patchPositions: typeof patchPositions === 'boolean' ? patchPositions : undefined,
    imageSize: typeof side === 'number' ? side : undefined,
  };
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function asObject(json: unknown): Json {
  if (isObject(json)) return json;
  throw new ConfigError(
    'CONFIG_JSON',
    `config.json: expected an object, found ${show(json)}. Give the config.json that lies beside model.safetensors, parsed.`,
  );
}

const isDinov2 = ({ model_type: type }: Json): boolean =>
  type === 'dinov2' || type === 'dinov2_with_registers';

/** Configurations of a DINOv2 inside that of a larger model, with their keys. */
function nestedIn(json: Json, depth = 3): [key: string, config: Json][] {
  return Object.entries(json).flatMap(([key, value]) => {
    if (!isObject(value)) return [];
    if (isDinov2(value)) return [[key, value] as [string, Json]];
    if (depth === 1) return [];
    return nestedIn(value, depth - 1).map(([inner, config]): [string, Json] => [`${key}.${inner}`, config]);
  });
}

/** The object that describes the DINOv2. @throws {ConfigError} CONFIG_UNSUPPORTED */
function dinov2In(json: Json): Json {
  if (isDinov2(json)) return json;
  const [nested, ...others] = nestedIn(json);
  if (nested && others.every(([, config]) => JSON.stringify(config) === JSON.stringify(nested[1])))
    return nested[1];
  const found =
    nested === undefined
      ? show(json['model_type'])
      : `${show(json['model_type'])} with ${[nested, ...others].map(([key]) => key).join(' and ')}`;
  throw new ConfigError(
    'CONFIG_UNSUPPORTED',
    `config.json: model_type: expected "dinov2" or "dinov2_with_registers", found ${found}. ` +
      (/dinov3/i.test(found)
        ? 'DINOv3 has rotary positions and is another architecture, which cannot be computed here: load a DINOv2.'
        : nested === undefined
          ? 'Only DINOv2 can be loaded: give the config.json of a repository such as facebook/dinov2-small.'
          : 'Give the one of them that describes the model.'),
  );
}

/**
 * Reads a Hugging Face config.json, already parsed: `model_type` dinov2 or dinov2_with_registers, of the bare
 * model, of one with a head (`Dinov2ForImageClassification`, …), or of a larger model that has it nested
 * (`backbone_config` of Depth Anything). Fields that are absent take the defaults of transformers; fields
 * that do not change inference are not looked at.
 *
 * @throws {ConfigError} CONFIG_JSON when it is no object; CONFIG_UNSUPPORTED for another model, or a setting
 *   that cannot be computed; CONFIG_FIELD when a field has the wrong type or is out of range. All offending
 *   fields are in one message.
 */
export function parseConfig(json: unknown): DINOv2Config {
  const object = dinov2In(asObject(json));
  const fields = new Fields(object);
  const registers = object['model_type'] === 'dinov2_with_registers';

  const embedDim = fields.integer('hidden_size', 768, HEAD_DIM, limits.embedDim);
  const depth = fields.integer('num_hidden_layers', 12, 1, limits.depth);
  const numHeads = fields.integer('num_attention_heads', 12, 1, limits.embedDim / HEAD_DIM);
  const patchSize = fields.side('patch_size', registers ? 16 : 14, 1, limits.patchSize);
  const imageSize = fields.side('image_size', 224, patchSize, limits.imageSize);
  const mlpRatio = fields.number('mlp_ratio', 4, 1e-4, limits.mlpRatio);
  const layerNormEps = fields.number('layer_norm_eps', 1e-6, ...epsRange);
  const swiglu = fields.value('use_swiglu_ffn') !== null && fields.boolean('use_swiglu_ffn', false); // null: older versions of transformers take it for false
  const numRegisterTokens = registers
    ? fields.integer('num_register_tokens', 4, 0, limits.numRegisterTokens)
    : 0;
  fields.only('num_channels', 3);
  fields.only('qkv_bias', true);
  if (swiglu === false) fields.only('hidden_act', 'gelu'); // a SwiGLU does not read it
  if (fields.sound('hidden_size', 'num_attention_heads') && embedDim !== numHeads * HEAD_DIM) {
    const expected =
      embedDim % HEAD_DIM === 0 ? `hidden_size / ${HEAD_DIM} = ${embedDim / HEAD_DIM}` : 'hidden_size / 64';
    fields.refuse(
      'CONFIG_UNSUPPORTED',
      'num_attention_heads',
      `${expected} (heads of ${HEAD_DIM})`,
      `${numHeads} for ${embedDim}`,
    );
  }
  fields.throwRefused();

  const ffn = swiglu ? 'swiglu' : 'mlp';
  const config: DINOv2Config = {
    embedDim,
    depth,
    numHeads,
    headDim: HEAD_DIM,
    patchSize,
    imageSize,
    numChannels: 3,
    numRegisterTokens,
    ffn,
    hiddenFeatures: hiddenFeaturesOf(embedDim, mlpRatio, ffn),
    layerNormEps,
    posEmbed: registers ? 'antialias' : 'plain',
  };
  checkConfig(config, 'config.json');
  return config;
}

/**
 * The config.json that describes this configuration to Hugging Face: what parseConfig reads, written back.
 * It has no field for facebookresearch's `offset` convention, nor for `plain` with registers: a file of
 * weights says that in its metadata (`POS_EMBED` in tensorConfig.ts).
 */
export function configJson(config: DINOv2Config): Record<string, unknown> {
  // What Hugging Face calls a model with registers is also one with antialias, and may have none of them.
  const registers = config.numRegisterTokens > 0 || config.posEmbed === 'antialias';
  return {
    architectures: [registers ? 'Dinov2WithRegistersModel' : 'Dinov2Model'],
    hidden_act: 'gelu',
    hidden_size: config.embedDim,
    image_size: config.imageSize,
    layer_norm_eps: config.layerNormEps,
    mlp_ratio: mlpRatio(config),
    model_type: registers ? 'dinov2_with_registers' : 'dinov2',
    num_attention_heads: config.numHeads,
    num_channels: config.numChannels,
    num_hidden_layers: config.depth,
    ...(registers ? { num_register_tokens: config.numRegisterTokens } : {}),
    patch_size: config.patchSize,
    qkv_bias: true,
    use_swiglu_ffn: config.ffn === 'swiglu',
  };
}

/**
 * The ratio that gives this hidden width, 4 in practice.
 * @throws {ConfigError} CONFIG_UNSUPPORTED where none does: Hugging Face rounds a SwiGLU's up to multiples of 8
 */
function mlpRatio({ embedDim, hiddenFeatures, ffn }: DINOv2Config): number {
  const exact = (ffn === 'mlp' ? hiddenFeatures : (hiddenFeatures * 3) / 2) / embedDim;
  // Half a column more, where the ratio is rounded down so that a column would be lost.
  const ratio = [Math.round(exact), exact, exact + 0.5 / embedDim].find(
    (each) => hiddenFeaturesOf(embedDim, each, ffn) === hiddenFeatures,
  );
  if (ratio !== undefined) return ratio;
  throw new ConfigError(
    'CONFIG_UNSUPPORTED',
    `hiddenFeatures: expected a multiple of 8 for a SwiGLU, found ${hiddenFeatures}. Hugging Face's config.json cannot say this width.`,
  );
}
