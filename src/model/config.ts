/**
 * What a DINOv2 is: the four published sizes, Hugging Face's config.json, and what a checkpoint's own shapes
 * say. Defaults are those of `Dinov2Config` and `Dinov2WithRegistersConfig` in transformers.
 */

import { inspectCheckpoint } from '../checkpoint/names.js';
import type { SafetensorsHeader } from '../checkpoint/safetensors.js';
import { ConfigError } from '../errors.js';

/** The published sizes: ViT-S, ViT-B, ViT-L and ViT-g. */
export type ModelSize = 'small' | 'base' | 'large' | 'giant';

/**
 * How position embeddings are brought to another grid (all bicubic, see posEmbed.ts):
 * - `plain`: Hugging Face `dinov2`, no antialias;
 * - `antialias`: Hugging Face `dinov2_with_registers`, and facebookresearch's `_reg` models;
 * - `offset`: facebookresearch without registers, whose scale factor is (rows + 0.1) / native.
 */
export type PosEmbedConvention = 'plain' | 'antialias' | 'offset';

/** Everything that decides the shapes and the arithmetic of a model. */
export interface DINOv2Config {
  /** Length of a token's vector: 384, 768, 1024, 1536. */
  readonly embedDim: number;
  /** Number of blocks. */
  readonly depth: number;
  readonly numHeads: number;
  /** embedDim / numHeads: 64 in every DINOv2. */
  readonly headDim: number;
  /** Side of a patch in pixels. */
  readonly patchSize: number;
  /** Side of the square image, in pixels, that the position embeddings were stored for: 518. */
  readonly imageSize: number;
  /** Channels of the input: 3. */
  readonly numChannels: number;
  /** Tokens between the cls token and the patches: 0 or 4. */
  readonly numRegisterTokens: number;
  /** `mlp`: fc1, GELU, fc2. `swiglu`: w12, SiLU of the first half times the second, w3. */
  readonly ffn: 'mlp' | 'swiglu';
  /** Rows of fc1, or columns of w3 (SwiGLU: after the gate, so w12 has twice as many rows). */
  readonly hiddenFeatures: number;
  readonly layerNormEps: number;
  readonly posEmbed: PosEmbedConvention;
}

const HEAD_DIM = 64;
const sizes: Readonly<Record<ModelSize, { embedDim: number; depth: number; ffn: 'mlp' | 'swiglu' }>> = {
  small: { embedDim: 384, depth: 12, ffn: 'mlp' },
  base: { embedDim: 768, depth: 12, ffn: 'mlp' },
  large: { embedDim: 1024, depth: 24, ffn: 'mlp' },
  giant: { embedDim: 1536, depth: 40, ffn: 'swiglu' },
};

/**
 * Largest values that are taken for a model at all: three times ViT-g, so that a damaged file never asks for
 * terabytes.
 */
const limits = {
  embedDim: 4608,
  depth: 120,
  imageSize: 4096,
  patchSize: 64,
  numRegisterTokens: 64,
  mlpRatio: 16,
};

/**
 * The configuration of a published model, as Hugging Face has it (patch 14, native image 518); 4 registers
 * when asked.
 */
export function configOf(size: ModelSize, options: { registers?: boolean } = {}): DINOv2Config {
  if (!Object.hasOwn(sizes, size)) {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `configOf: expected ${Object.keys(sizes).join(', ')}, found ${show(size)}. Name one of these sizes.`,
    );
  }
  const { embedDim, depth, ffn } = sizes[size];
  const registers = options.registers === true;
  return {
    embedDim,
    depth,
    numHeads: embedDim / HEAD_DIM,
    headDim: HEAD_DIM,
    patchSize: 14,
    imageSize: 518,
    numChannels: 3,
    numRegisterTokens: registers ? 4 : 0,
    ffn,
    hiddenFeatures: hiddenFeaturesOf(embedDim, 4, ffn),
    layerNormEps: 1e-6,
    posEmbed: registers ? 'antialias' : 'plain',
  };
}

/**
 * Patches along each side of the native image: the position embeddings stand for nativeGrid × nativeGrid
 * patches.
 */
export function nativeGrid(config: Pick<DINOv2Config, 'imageSize' | 'patchSize'>): number {
  return Math.floor(config.imageSize / config.patchSize);
}

/**
 * Width of the hidden layer; SwiGLU takes two thirds of it, rounded up to a multiple of 8
 * (`Dinov2SwiGLUFFN`).
 */
function hiddenFeaturesOf(embedDim: number, mlpRatio: number, ffn: 'mlp' | 'swiglu'): number {
  const hidden = Math.trunc(embedDim * mlpRatio);
  return ffn === 'mlp' ? hidden : Math.trunc((Math.trunc((hidden * 2) / 3) + 7) / 8) * 8;
}

/**
 * Reads a Hugging Face config.json, already parsed: `model_type` dinov2 or dinov2_with_registers, of the bare
 * model or of one with a head (`Dinov2ForImageClassification`, …). Fields that are absent take the defaults
 * of transformers; fields that do not change inference are not looked at.
 *
 * @throws {ConfigError} CONFIG_JSON when it is no object; CONFIG_UNSUPPORTED for another model, or a setting
 *   that no DINOv2 has; CONFIG_FIELD when a field has the wrong type or is out of range. All offending fields
 *   are in one message.
 */
export function parseConfig(json: unknown): DINOv2Config {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw new ConfigError(
      'CONFIG_JSON',
      `config.json: expected an object, found ${show(json)}. Give the config.json that lies beside model.safetensors, parsed.`,
    );
  }
  const fields = new Fields(json as Readonly<Record<string, unknown>>);

  const modelType = fields.value('model_type');
  if (modelType !== 'dinov2' && modelType !== 'dinov2_with_registers') {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `config.json: model_type: expected "dinov2" or "dinov2_with_registers", found ${show(modelType)}. ` +
        'Only DINOv2 can be loaded: give the config.json of a repository such as facebook/dinov2-small.',
    );
  }
  const registers = modelType === 'dinov2_with_registers';

  const embedDim = fields.integer('hidden_size', 768, HEAD_DIM, limits.embedDim);
  const depth = fields.integer('num_hidden_layers', 12, 1, limits.depth);
  const numHeads = fields.integer('num_attention_heads', 12, 1, limits.embedDim / HEAD_DIM);
  const patchSize = fields.side('patch_size', registers ? 16 : 14, 1, limits.patchSize);
  const imageSize = fields.side('image_size', 224, patchSize, limits.imageSize);
  const mlpRatio = fields.number('mlp_ratio', 4, 1 / HEAD_DIM, limits.mlpRatio);
  const layerNormEps = fields.number('layer_norm_eps', 1e-6, 1e-12, 1e-2);
  const swiglu = fields.boolean('use_swiglu_ffn', false);
  const numRegisterTokens = registers
    ? fields.integer('num_register_tokens', 4, 1, limits.numRegisterTokens)
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
  return {
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
}

/**
 * Reads the configuration off a checkpoint's names and shapes, for a file that comes without config.json:
 * undefined when it holds no DINOv2. What shapes cannot say takes the published values: heads of 64, eps
 * 1e-6. The convention of the position embeddings follows the names: Hugging Face's plain (with registers:
 * antialias), facebookresearch's offset (with registers: antialias), and antialias also for
 * facebookresearch's names without a mask token, which is how timm stores the same weights.
 */
export function inferConfig(header: SafetensorsHeader): DINOv2Config | undefined {
  const found = inspectCheckpoint(header);
  if (found === undefined) return undefined;
  const { embedDim, depth, patchSize, grid, numChannels, numRegisterTokens, ffn, hiddenFeatures } = found;
  const imageSize = grid * patchSize;
  const plausible =
    embedDim % HEAD_DIM === 0 &&
    embedDim <= limits.embedDim &&
    depth <= limits.depth &&
    imageSize <= limits.imageSize &&
    patchSize <= limits.patchSize &&
    hiddenFeatures <= embedDim * limits.mlpRatio &&
    numRegisterTokens <= limits.numRegisterTokens &&
    numChannels === 3;
  if (!plausible) return undefined;
  const offset = found.dialect === 'facebookresearch' && found.hasMaskToken;
  const plain = found.dialect === 'huggingface';
  return {
    embedDim,
    depth,
    numHeads: embedDim / HEAD_DIM,
    headDim: HEAD_DIM,
    patchSize,
    imageSize,
    numChannels,
    numRegisterTokens,
    ffn,
    hiddenFeatures,
    layerNormEps: 1e-6,
    posEmbed: numRegisterTokens > 0 ? 'antialias' : plain ? 'plain' : offset ? 'offset' : 'antialias',
  };
}

/**
 * The config.json that describes this configuration to Hugging Face: what parseConfig reads, written back.
 *
 * @throws {ConfigError} CONFIG_UNSUPPORTED for the `offset` convention, which config.json has no field for.
 */
export function configJson(config: DINOv2Config): Record<string, unknown> {
  const registers = config.numRegisterTokens > 0;
  if (config.posEmbed !== (registers ? 'antialias' : 'plain')) {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `configJson: expected posEmbed ${registers ? '"antialias"' : '"plain"'} for ${config.numRegisterTokens} registers, ` +
        `found ${show(config.posEmbed)}. Hugging Face's config.json cannot say this; keep the configuration as an object.`,
    );
  }
  return {
    architectures: [registers ? 'Dinov2WithRegistersModel' : 'Dinov2Model'],
    hidden_act: 'gelu',
    hidden_size: config.embedDim,
    image_size: config.imageSize,
    layer_norm_eps: config.layerNormEps,
    mlp_ratio: config.ffn === 'mlp' ? config.hiddenFeatures / config.embedDim : swigluRatio(config),
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

/** The ratio whose SwiGLU has this hidden width: 4 in practice. */
function swigluRatio({ embedDim, hiddenFeatures }: DINOv2Config): number {
  const whole = Math.round((hiddenFeatures * 3) / 2 / embedDim);
  return hiddenFeaturesOf(embedDim, whole, 'swiglu') === hiddenFeatures
    ? whole
    : (hiddenFeatures * 3) / 2 / embedDim;
}

/**
 * Reads fields one after the other and keeps what is wrong with them, so that one error can list all of it.
 */
class Fields {
  readonly #json: Readonly<Record<string, unknown>>;
  readonly #refused: { code: 'CONFIG_FIELD' | 'CONFIG_UNSUPPORTED'; field: string; text: string }[] = [];

  constructor(json: Readonly<Record<string, unknown>>) {
    this.#json = json;
  }

  value(field: string): unknown {
    return Object.hasOwn(this.#json, field) ? this.#json[field] : undefined;
  }

  refuse(code: 'CONFIG_FIELD' | 'CONFIG_UNSUPPORTED', field: string, expected: string, found: string): void {
    this.#refused.push({ code, field, text: `${field}: expected ${expected}, found ${found}` });
  }

  /** Whether none of these fields has been refused. */
  sound(...fields: string[]): boolean {
    return !this.#refused.some(({ field }) => fields.includes(field));
  }

  number(field: string, absent: number, least: number, most: number, integer = false): number {
    const value = this.value(field);
    if (value === undefined) return absent;
    if (typeof value === 'number' && value >= least && value <= most && (!integer || Number.isInteger(value)))
      return value;
    this.refuse(
      'CONFIG_FIELD',
      field,
      `${integer ? 'an integer' : 'a number'} from ${least} to ${most}`,
      show(value),
    );
    return absent;
  }

  integer(field: string, absent: number, least: number, most: number): number {
    return this.number(field, absent, least, most, true);
  }

  boolean(field: string, absent: boolean): boolean {
    const value = this.value(field);
    if (value === undefined) return absent;
    if (typeof value === 'boolean') return value;
    this.refuse('CONFIG_FIELD', field, 'true or false', show(value));
    return absent;
  }

  /** A length that Hugging Face writes as one number or as [height, width]; only squares exist. */
  side(field: string, absent: number, least: number, most: number): number {
    const value = this.value(field);
    if (value === undefined) {
      if (absent >= least) return absent;
      this.refuse('CONFIG_FIELD', field, `at least ${least}`, `nothing, which means ${absent}`);
      return absent;
    }
    const [height, width] =
      Array.isArray(value) && value.length === 2 ? (value as unknown[]) : [value, value];
    const valid = (side: unknown) =>
      typeof side === 'number' && Number.isInteger(side) && side >= least && side <= most;
    if (!valid(height) || !valid(width)) {
      this.refuse('CONFIG_FIELD', field, `an integer from ${least} to ${most}`, show(value));
    } else if (height !== width) {
      this.refuse('CONFIG_UNSUPPORTED', field, 'a square', show(value));
    } else {
      return height as number;
    }
    return absent;
  }

  /** A setting that has one value in every DINOv2, which is also the default. */
  only(field: string, expected: number | boolean | string): void {
    const value = this.value(field);
    if (value !== undefined && value !== expected)
      this.refuse('CONFIG_UNSUPPORTED', field, show(expected), show(value));
  }

  throwRefused(): void {
    if (this.#refused.length === 0) return;
    const code = this.#refused.some((refused) => refused.code === 'CONFIG_FIELD')
      ? 'CONFIG_FIELD'
      : 'CONFIG_UNSUPPORTED';
    const list = this.#refused.map(({ text }) => text).join('; ');
    const next =
      code === 'CONFIG_FIELD'
        ? 'Correct the file, or take it again from the repository of the weights.'
        : 'No DINOv2 has this setting: give the config.json of a repository such as facebook/dinov2-small.';
    throw new ConfigError(code, `config.json: ${list}. ${next}`);
  }
}

/** A value as an error message shows it: JSON, cut short. */
function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}
