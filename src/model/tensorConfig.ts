/** Determines a checkpoint's configuration from its config.json, or from its tensors' names and shapes. */
import type { Architecture } from '../weights/architecture.js';
import { inspectCheckpoint } from '../weights/names.js';
import type { SafetensorsHeader } from '../safetensors.js';
import { ConfigError } from '../errors.js';
import { HEAD_DIM } from '../graph/constants.js';
import { checkConfig, type DINOv2Config, type PosEmbedConvention } from './config.js';
import { INTERPOLATED, withChoices, type SettledConfig, type TensorChoice } from './checkpointConfig.js';
import type { ConfigHints } from './configJson.js';

/**
 * Determines the configuration of a checkpoint.
 * @param file the content of the checkpoint's config.json. Default: the checkpoint has no config.json
 * @throws {ConfigError} CONFIG_UNSUPPORTED, if the shapes are ambiguous or the configuration is not supported
 * @throws {CheckpointError} if the checkpoint contains no model, or several models
 */
export function configOfCheckpoint(
  header: SafetensorsHeader,
  file: { readonly config?: DINOv2Config | undefined; readonly hints?: ConfigHints | undefined } = {},
  choice: TensorChoice = {},
): SettledConfig {
  const settled = file.config
    ? { config: file.config, assumed: [] }
    : inferConfig(header, file.hints, choice.prefix);
  return withChoices(settled, header, choice);
}

/**
 * Values of embedDim at which public vision transformers have heads that are not 64 wide: 1152 (heads of 72,
 * SoViT-400M), 1280 (heads of 80, ViT-H: Virchow), 1408 (heads of 88, ViT-g). Models wider than DINOv2's
 * giant also have heads of a different width (128: Web-SSL from 2688 on; 104: ViT-bigG).
 */
const otherHeads: Readonly<Record<number, string>> = {
  1152: 'heads of 72, as in SoViT-400M',
  1280: 'heads of 80, as in ViT-H (Virchow)',
  1408: 'heads of 88, as in the ViT-g of other papers',
};
const WIDEST_SURE = 1536;

/**
 * Infers the configuration from a checkpoint's tensor names and shapes. Values that shapes do not determine
 * are those of published models: heads 64 wide, eps 1e-6. The naming convention of the tensors (Hugging Face,
 * facebookresearch, timm) determines how position embeddings are interpolated: Hugging Face `plain`,
 * facebookresearch `offset` (both `antialias` with registers), timm `antialias`.
 */
function inferConfig(
  header: SafetensorsHeader,
  hints: ConfigHints | undefined,
  prefix?: string,
): SettledConfig {
  const found = inspectCheckpoint(header, prefix);
  if (found === undefined) throw refusal('too few tensors of a DINOv2 model to determine its size');
  const { embedDim, depth, patchSize, numChannels, numRegisterTokens, ffn, hiddenFeatures } = found;
  const grid = gridOf(found, hints);
  const { modelSize = grid * patchSize, writer } = hints ?? {};
  if (Math.floor(modelSize / patchSize) !== grid)
    throw refusal(
      `pos_embed: expected positions of ${Math.floor(modelSize / patchSize)} × ${Math.floor(modelSize / patchSize)} patches (an image of ${modelSize} pixels, as in ${writer}), found ${grid} × ${grid}`,
      'timm resamples the positions when it loads the checkpoint. Save the model again after it is loaded in timm, or correct img_size.',
    );
  const activation = ffn === 'mlp' ? 'gelu' : 'silu';
  if (hints?.activation !== undefined && hints.activation !== activation)
    throw refusal(
      `act_layer: expected ${activation}, the activation of ${ffn === 'mlp' ? "DINOv2's MLP" : "DINOv2's SwiGLU"}, found ${hints.activation} in ${hints.writer}`,
      'A model with this setting is not supported.',
    );
  const assumed: string[] = [];
  const numHeads = headsOf(embedDim, hints, assumed);
  const posEmbed = conventionOf(found);
  const config: DINOv2Config = {
    embedDim,
    depth,
    numHeads,
    headDim: embedDim / numHeads,
    patchSize,
    imageSize: grid * patchSize,
    numChannels,
    numRegisterTokens,
    ffn,
    hiddenFeatures,
    layerNormEps: 1e-6,
    posEmbed,
  };
  checkConfig(config, hints ? 'config.json and shapes of the tensors' : 'shapes of the tensors');
  assumed.push(
    `Position embeddings belong to a square image: ${grid} × ${grid} patches.`,
    'The eps of LayerNorm is 1e-6.',
    ...(hints?.activation
      ? []
      : [ffn === 'mlp' ? 'The activation of the MLP is the exact GELU.' : 'The gate of the SwiGLU is SiLU.']),
    `${INTERPOLATED} for other sizes as in ${writerOf[found.dialect]}: '${posEmbed}'.`,
  );
  return { config, assumed };
}

/**
 * Returns the number of patches along a side of the native image. Without registers, position embeddings with
 * a square number of rows are ambiguous: either patches only (timm's `no_embed_class`), or a class token and
 * a non-square image. For example, 25 rows are 5 × 5 or 1 + 4 × 6. `no_embed_class` or the image size in
 * config.json decides.
 */
function gridOf(
  { dialect, grid, patchSize, patchPositions }: Architecture,
  hints: ConfigHints | undefined,
): number {
  const whole = Number.isInteger(grid);
  const positions = Math.round(grid * grid) + (patchPositions ? 0 : 1);
  if (whole && (patchPositions || !hints?.patchPositions)) return grid;
  const side = Math.sqrt(positions);
  const maybeAlone = !whole && dialect === 'timm' && Number.isInteger(side);
  const bySize = hints?.imageSize !== undefined && Math.floor(hints.imageSize / patchSize) === side;
  if (maybeAlone && (hints?.patchPositions ?? bySize)) return side;
  const setting = `no_embed_class: ${hints?.patchPositions} in ${hints?.writer}`;
  throw refusal(
    `pos_embed: expected positions of the class token and of a square image, found ${positions} positions${hints?.patchPositions === undefined ? '' : ` with ${setting}`}`,
    maybeAlone
      ? 'If the positions are those of patches only, add "model_args": {"no_embed_class": true} to timm\'s config.json.'
      : 'Positions of an image that is not square, or of register tokens, are not supported.',
  );
}

const writerOf = { huggingface: 'Hugging Face', facebookresearch: 'facebookresearch', timm: 'timm' };

function conventionOf({ dialect, numRegisterTokens }: Architecture): PosEmbedConvention {
  if (numRegisterTokens > 0 || dialect === 'timm') return 'antialias';
  return dialect === 'huggingface' ? 'plain' : 'offset';
}

function headsOf(embedDim: number, hints: ConfigHints | undefined, assumed: string[]): number {
  const { writer, numHeads } = hints ?? {};
  if (hints?.embedDim !== undefined && hints.embedDim !== embedDim)
    throw refusal(`embed_dim: expected ${hints.embedDim} (from ${writer}), found tensors of ${embedDim}`);
  if (numHeads !== undefined) return numHeads; // checkConfig validates this value
  const other = otherHeads[embedDim] ?? (embedDim > WIDEST_SURE ? 'heads of 128' : undefined);
  if (other !== undefined)
    throw refusal(
      `num_heads: unknown; public models of width ${embedDim} have ${other}, which are not supported`,
      `If this model has heads of ${HEAD_DIM}, add a config.json in Hugging Face's form (model_type, hidden_size, num_attention_heads, …).`,
    );
  assumed.push(`The model has ${embedDim / HEAD_DIM} heads of width ${HEAD_DIM}.`);
  return embedDim / HEAD_DIM;
}

const refusal = (
  problem: string,
  next = 'If the checkpoint is a DINOv2 model, add its config.json.',
): ConfigError => new ConfigError('CONFIG_UNSUPPORTED', `checkpoint: ${problem}. ${next}`);
