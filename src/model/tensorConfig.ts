/** The configuration of a checkpoint, from config.json where there is one, else from its names and shapes. */
import type { Architecture } from '../weights/architecture.js';
import { inspectCheckpoint } from '../weights/names.js';
import type { SafetensorsHeader } from '../safetensors.js';
import { ConfigError } from '../errors.js';
import { HEAD_DIM } from '../graph/constants.js';
import { checkConfig, type DINOv2Config, type PosEmbedConvention } from './config.js';
import { POSITIONS, withChoices, type SettledConfig, type TensorChoice } from './checkpointConfig.js';
import type { ConfigHints } from './configJson.js';

/**
 * The configuration of a checkpoint.
 * @param given what its config.json says; nothing where there is none
 * @throws {ConfigError} CONFIG_UNSUPPORTED when shapes do not tell it, or it cannot be computed
 * @throws {CheckpointError} when no model can be chosen
 */
export function configOfCheckpoint(
  header: SafetensorsHeader,
  given: { readonly config?: DINOv2Config | undefined; readonly hints?: ConfigHints | undefined } = {},
  choice: TensorChoice = {},
): SettledConfig {
  const settled = given.config
    ? { config: given.config, assumed: [] }
    : inferConfig(header, given.hints, choice.prefix);
  return withChoices(settled, header, choice);
}

/**
 * Widths at which public vision transformers have heads of another width than 64: 1152 (72, SoViT-400M),
 * 1280 (80, ViT-H: Virchow), 1408 (88, ViT-g), and everything wider than DINOv2's giant (128: Web-SSL from
 * 2688 on; 104: ViT-bigG).
 */
const otherHeads: Readonly<Record<number, string>> = {
  1152: 'heads of 72, as in SoViT-400M',
  1280: 'heads of 80, as in ViT-H (Virchow)',
  1408: 'heads of 88, as in the ViT-g of other papers',
};
const WIDEST_SURE = 1536;

/**
 * Reads the configuration off a checkpoint's names and shapes. What shapes cannot say takes the published
 * values: heads of 64, eps 1e-6. The convention of the position embeddings follows the names: Hugging Face's
 * plain (with registers: antialias), facebookresearch's offset (with registers: antialias), timm's antialias.
 */
function inferConfig(
  header: SafetensorsHeader,
  hints: ConfigHints | undefined,
  prefix?: string,
): SettledConfig {
  const found = inspectCheckpoint(header, prefix);
  if (found === undefined)
    throw refusal('expected the shapes of a DINOv2, found too few of its tensors to tell its size');
  const { embedDim, depth, patchSize, numChannels, numRegisterTokens, ffn, hiddenFeatures } = found;
  const grid = gridOf(found, hints);
  const activation = ffn === 'mlp' ? 'gelu' : 'silu';
  if (hints?.activation !== undefined && hints.activation !== activation)
    throw refusal(
      `act_layer: expected ${activation}, which is what ${ffn === 'mlp' ? 'an MLP' : 'the gate of a SwiGLU'} of DINOv2 has, found ${hints.activation} in ${hints.writer}`,
      'A model with this setting cannot be computed here.',
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
    `Positions belong to a square image: ${grid} × ${grid} patches.`,
    'The eps of LayerNorm is 1e-6.',
    ...(hints?.activation
      ? []
      : [ffn === 'mlp' ? 'The activation of the MLP is the exact GELU.' : 'The gate of the SwiGLU is SiLU.']),
    `${POSITIONS} are brought to other sizes as ${writerOf[found.dialect]} does it: '${posEmbed}'.`,
  );
  return { config, assumed };
}

/**
 * Patches along a side of the native image. A square table without registers may be for the patches alone
 * (timm's `no_embed_class`), or for a class token and an image that is no square: 25 are 5 × 5, or 1 + 4 × 6.
 * The configuration decides, by that name or by the size of the image.
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
  const setting = `no_embed_class: ${hints?.patchPositions}, as ${hints?.writer} says`;
  throw refusal(
    `pos_embed: expected positions of a square image and of the class token, found ${positions}${hints?.patchPositions === undefined ? '' : ` with ${setting}`}`,
    maybeAlone
      ? 'If they are for the patches alone, say so with timm\'s config.json: "model_args": {"no_embed_class": true}.'
      : 'Positions of other images, or of register tokens, cannot be computed here.',
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
    throw refusal(`embed_dim: expected ${hints.embedDim}, as ${writer} says, found tensors of ${embedDim}`);
  if (numHeads !== undefined) return numHeads; // checked with all else
  const other = otherHeads[embedDim] ?? (embedDim > WIDEST_SURE ? 'heads of 128' : undefined);
  if (other !== undefined)
    throw refusal(
      `num_heads: no file says it, and at a width of ${embedDim} there are public models with ${other}, which cannot be computed here`,
      `If this one has heads of ${HEAD_DIM}, say so with a config.json of Hugging Face's form (model_type, hidden_size, num_attention_heads, …).`,
    );
  assumed.push(`Heads are ${HEAD_DIM} wide: there are ${embedDim / HEAD_DIM} of them.`);
  return embedDim / HEAD_DIM;
}

const refusal = (
  found: string,
  next = 'Give the config.json that belongs to it, if it is a DINOv2.',
): ConfigError => new ConfigError('CONFIG_UNSUPPORTED', `checkpoint: ${found}. ${next}`);
