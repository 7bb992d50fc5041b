/**
 * Reads config.json in Hugging Face's and timm's forms (timm's: timmConfig.ts), and writes Hugging Face's form.
 * Defaults are those of `Dinov2Config` and `Dinov2WithRegistersConfig` in transformers.
 */
import { ConfigError } from '../errors.js';
import { HEAD_DIM } from '../graph/constants.js';
import { show } from '../platform/json.js';
import { checkConfig, epsRange, hiddenFeaturesOf, limits, type DINOv2Config } from './config.js';
import { Fields, isObject, type Json } from './configFields.js';
import { timmHints, type ConfigHints } from './timmConfig.js';

export type { ConfigHints } from './timmConfig.js';

/**
 * Content of a config.json: a complete configuration, or hints that complement the tensors' names and shapes.
 */
export type ConfigFile =
  | { readonly config: DINOv2Config; readonly hints?: undefined }
  | { readonly config?: undefined; readonly hints: ConfigHints };

/**
 * Reads a parsed config.json: Hugging Face's (see `parseConfig`), or timm's. A config.json of timm names an
 * architecture, whose dimensions are in timm's code.
 * @throws {ConfigError} CONFIG_JSON, if `json` is not an object; CONFIG_UNSUPPORTED, for an unsupported
 *   model; CONFIG_FIELD, if a field is invalid
 */
export function readConfigFile(json: unknown): ConfigFile {
  const object = asObject(json);
  if (object['model_type'] === undefined && typeof object['architecture'] === 'string')
    return { hints: timmHints(object, object['architecture']) };
  const { backbone } = object;
  if (typeof backbone === 'string' && /dinov2/i.test(backbone) && nestedIn(object).length === 0)
    return {
      hints: { writer: `config.json (backbone: ${backbone})` },
    };
  return { config: parseConfig(json) };
}

function asObject(json: unknown): Json {
  if (isObject(json)) return json;
  throw new ConfigError(
    'CONFIG_JSON',
    `config.json: expected an object, found ${show(json)}. Pass the parsed config.json of the repository that holds the weights.`,
  );
}

const isDinov2 = ({ model_type: type }: Json): boolean =>
  type === 'dinov2' || type === 'dinov2_with_registers';

/**
 * Finds DINOv2 configurations nested in the configuration of a larger model. Returns them with their key
 * paths.
 */
function nestedIn(json: Json, depth = 3): [key: string, config: Json][] {
  return Object.entries(json).flatMap(([key, value]) => {
    if (!isObject(value)) return [];
    if (isDinov2(value)) return [[key, value] as [string, Json]];
    if (depth === 1) return [];
    return nestedIn(value, depth - 1).map(([inner, config]): [string, Json] => [`${key}.${inner}`, config]);
  });
}

/**
 * Finds the object that describes the DINOv2 model: `json` itself, or an object nested in it.
 *
 * @throws {ConfigError} CONFIG_UNSUPPORTED, if there is no such object, or if several objects differ
 */
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
        ? 'DINOv3 is a different architecture, with rotary positions, and is not supported. Load a DINOv2 model.'
        : nested === undefined
          ? 'Only DINOv2 is supported. Use the config.json of a repository such as facebook/dinov2-small.'
          : 'Pass only the nested object that describes the model.'),
  );
}

/**
 * Reads a parsed Hugging Face config.json with `model_type` dinov2 or dinov2_with_registers. Accepts the
 * config.json of a bare model, of a model with a head (`Dinov2ForImageClassification`, …), and of a larger
 * model with a nested DINOv2 configuration (`backbone_config` of Depth Anything). Absent fields take the
 * defaults of transformers. Fields that do not affect inference are ignored.
 *
 * @throws {ConfigError} CONFIG_JSON, if `json` is not an object; CONFIG_UNSUPPORTED, for another model or an
 *   unsupported setting; CONFIG_FIELD, if a field has the wrong type or is out of range. One message lists
 *   all invalid fields.
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
  // Older versions of transformers treat null as false.
  const swiglu = fields.value('use_swiglu_ffn') !== null && fields.boolean('use_swiglu_ffn', false);
  const numRegisterTokens = registers
    ? fields.integer('num_register_tokens', 4, 0, limits.numRegisterTokens)
    : 0;
  fields.only('num_channels', 3);
  fields.only('qkv_bias', true);
  const pruned = fields.value('pruned_heads');
  if (isObject(pruned) && Object.keys(pruned).length > 0)
    fields.refuse('CONFIG_UNSUPPORTED', 'pruned_heads', '{}', show(pruned));
  if (swiglu === false) fields.only('hidden_act', 'gelu'); // a SwiGLU ignores hidden_act
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
 * Writes a configuration as a Hugging Face config.json; the inverse of `parseConfig`. Hugging Face has no
 * field for how position embeddings are interpolated. If the model differs from Hugging Face's convention for
 * its type (`offset`, or `plain` with registers), the weights file must store the convention in its metadata
 * (`POS_EMBED`).
 */
export function configJson(config: DINOv2Config): Record<string, unknown> {
  // In Hugging Face, `model_type` dinov2_with_registers also selects antialiased interpolation. A model of
  // this type may have 0 registers.
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
 * Returns the `mlp_ratio` for which Hugging Face computes an MLP width of `hiddenFeatures`. It is 4 in the
 * published models.
 * @throws {ConfigError} CONFIG_UNSUPPORTED, if no ratio gives this width: Hugging Face rounds the width of a
 *   SwiGLU up to a multiple of 8, so other widths are impossible
 */
function mlpRatio({ embedDim, hiddenFeatures, ffn }: DINOv2Config): number {
  const exact = (ffn === 'mlp' ? hiddenFeatures : (hiddenFeatures * 3) / 2) / embedDim;
  // Three ratios are tried. The third is larger by half a hidden feature, because rounding errors in the
  // exact ratio may make the width too small by one feature.
  const ratio = [Math.round(exact), exact, exact + 0.5 / embedDim].find(
    (each) => hiddenFeaturesOf(embedDim, each, ffn) === hiddenFeatures,
  );
  if (ratio !== undefined) return ratio;
  throw new ConfigError(
    'CONFIG_UNSUPPORTED',
    `hiddenFeatures: expected a multiple of 8 for a SwiGLU, found ${hiddenFeatures}. Hugging Face's config.json cannot express this width.`,
  );
}
