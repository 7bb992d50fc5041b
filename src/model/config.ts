/**
 * The configuration of a DINOv2 model: its type, the four published sizes, and the limits of what can be
 * computed.
 */
import { ConfigError } from '../errors.js';
import { HEAD_DIM } from '../graph/constants.js';
import { show } from '../platform/json.js';

/** The published sizes: ViT-S, ViT-B, ViT-L and ViT-g. */
export type ModelSize = 'small' | 'base' | 'large' | 'giant';

/**
 * How position embeddings are interpolated for a grid of a different size. All conventions are bicubic (see
 * posEmbed.ts):
 * - `plain`: Hugging Face `dinov2`, no antialias;
 * - `antialias`: Hugging Face `dinov2_with_registers`, and facebookresearch's `_reg` models;
 * - `offset`: facebookresearch without registers, whose scale factor is (rows + 0.1) / nativeGrid.
 */
export type PosEmbedConvention = 'plain' | 'antialias' | 'offset';

/** The values that determine the shapes and the arithmetic of a model. */
export interface DINOv2Config {
  /** Length of a token's vector: 384, 768, 1024 or 1536 in published models. */
  readonly embedDim: number;
  /** Number of blocks. */
  readonly depth: number;
  /** Number of attention heads. */
  readonly numHeads: number;
  /** embedDim / numHeads: 64 in every DINOv2 model. */
  readonly headDim: number;
  /** Side of a patch in pixels. */
  readonly patchSize: number;
  /** Side in pixels of the square image to which the stored position embeddings belong: 518. */
  readonly imageSize: number;
  /** Channels of the input: 3. */
  readonly numChannels: number;
  /** Number of register tokens, which are placed between the cls token and the patches: 0 or 4. */
  readonly numRegisterTokens: number;
  /** `mlp`: fc1, GELU, fc2. `swiglu`: w12, SiLU of the first half times the second half, w3. */
  readonly ffn: 'mlp' | 'swiglu';
  /**
   * Width of the hidden layer: number of rows of fc1, or of columns of w3. A SwiGLU's w12 has twice as many
   * rows.
   */
  readonly hiddenFeatures: number;
  /** Epsilon of every LayerNorm: 1e-6. */
  readonly layerNormEps: number;
  /** How the position embeddings are interpolated. */
  readonly posEmbed: PosEmbedConvention;
}

const sizes: Readonly<Record<ModelSize, { embedDim: number; depth: number; ffn: 'mlp' | 'swiglu' }>> = {
  small: { embedDim: 384, depth: 12, ffn: 'mlp' },
  base: { embedDim: 768, depth: 12, ffn: 'mlp' },
  large: { embedDim: 1024, depth: 24, ffn: 'mlp' },
  giant: { embedDim: 1536, depth: 40, ffn: 'swiglu' },
};

/** The names of the published sizes. */
export const MODEL_SIZES = Object.keys(sizes) as readonly ModelSize[];

/**
 * Largest accepted values of a configuration: three times the values of ViT-g, so that a damaged file cannot
 * request terabytes.
 */
export const limits = {
  embedDim: 4608,
  depth: 120,
  imageSize: 4096,
  patchSize: 64,
  numRegisterTokens: 64,
  mlpRatio: 16,
};

/**
 * Returns the configuration of a published model, with the same values as its Hugging Face config.json: patch
 * size 14, native image size 518.
 * @param options `registers`: true for the variant with 4 registers. Default false
 */
export function configOf(size: ModelSize, options: { registers?: boolean } = {}): DINOv2Config {
  if (!Object.hasOwn(sizes, size)) {
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `configOf: expected ${Object.keys(sizes).join(', ')}, found ${show(size)}.`,
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
 * Returns the number of patches along a side of the native image. The stored position embeddings cover
 * nativeGrid × nativeGrid patches.
 */
export function nativeGrid(config: Pick<DINOv2Config, 'imageSize' | 'patchSize'>): number {
  return Math.floor(config.imageSize / config.patchSize);
}

/**
 * Returns the width of the hidden layer. For a SwiGLU: 2/3 of the MLP's width, rounded up to a multiple of 8
 * (`Dinov2SwiGLUFFN`).
 */
export function hiddenFeaturesOf(embedDim: number, mlpRatio: number, ffn: 'mlp' | 'swiglu'): number {
  const hidden = Math.trunc(embedDim * mlpRatio);
  return ffn === 'mlp' ? hidden : Math.trunc((Math.trunc((hidden * 2) / 3) + 7) / 8) * 8;
}

/** Smallest and largest accepted value of `layer_norm_eps`. */
export const epsRange: readonly [number, number] = [1e-12, 1e-2];

/**
 * Checks every value that the kernels rely on. An unchecked invalid value would give wrong results silently.
 * @param where beginning of the message, such as `config.json`
 * @throws ConfigError CONFIG_UNSUPPORTED, with all invalid values in one message
 */
export function checkConfig(config: DINOv2Config, where = 'configuration'): void {
  const wrong: string[] = [];
  const check = (field: keyof DINOv2Config, holds: boolean, expected: string): void => {
    if (!holds) wrong.push(`${field}: expected ${expected}, found ${show(config[field])}`);
  };
  const integer = (field: keyof DINOv2Config, least: number, most: number, step = 1, what = ''): boolean => {
    const value = config[field];
    const holds =
      typeof value === 'number' &&
      Number.isInteger(value) &&
      value >= least &&
      value <= most &&
      value % step === 0;
    check(
      field,
      holds,
      `${what || (step === 1 ? 'an integer' : `a multiple of ${step}`)} from ${least} to ${most}`,
    );
    return holds;
  };
  const { embedDim, numHeads, hiddenFeatures, layerNormEps } = config;
  const wide = integer('embedDim', HEAD_DIM, limits.embedDim, HEAD_DIM);
  check('headDim', config.headDim === HEAD_DIM, `${HEAD_DIM}, the only supported head width`);
  if (wide)
    check(
      'numHeads',
      numHeads === embedDim / HEAD_DIM,
      `embedDim / ${HEAD_DIM} = ${embedDim / HEAD_DIM} (heads of ${HEAD_DIM})`,
    );
  integer('depth', 1, limits.depth);
  if (integer('patchSize', 2, limits.patchSize, 2, 'an even number'))
    integer('imageSize', config.patchSize, limits.imageSize);
  check('numChannels', config.numChannels === 3, '3');
  integer('numRegisterTokens', 0, limits.numRegisterTokens);
  check('ffn', config.ffn === 'mlp' || config.ffn === 'swiglu', '"mlp" or "swiglu"');
  const most = (wide ? embedDim : limits.embedDim) * limits.mlpRatio;
  const hidden = `a multiple of 4 from 4 to ${most}`;
  check(
    'hiddenFeatures',
    Number.isInteger(hiddenFeatures) &&
      hiddenFeatures >= 4 &&
      hiddenFeatures <= most &&
      hiddenFeatures % 4 === 0,
    `${hidden} (width of the MLP, or of the SwiGLU after its gate)`,
  );
  const [least, largest] = epsRange;
  check(
    'layerNormEps',
    layerNormEps >= least && layerNormEps <= largest,
    `a number from ${least} to ${largest}`,
  );
  check(
    'posEmbed',
    config.posEmbed === 'plain' || config.posEmbed === 'antialias' || config.posEmbed === 'offset',
    '"plain", "antialias" or "offset"',
  );
  if (wrong.length === 0) return;
  throw new ConfigError(
    'CONFIG_UNSUPPORTED',
    `${where}: ${wrong.join('; ')}. A model of this form is not supported.`,
  );
}
