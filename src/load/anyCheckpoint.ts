/**
 * Decides the configuration of a checkpoint, and which parameter each of its tensors fills, for any naming
 * convention (Hugging Face, facebookresearch, timm), any prefix and any element type, with or without
 * config.json or a classifier. This module is loaded only for checkpoints that differ from Hugging Face's
 * own files, see settle.ts.
 */
import type { DINOv2Config } from '../model/config.js';
import { INTERPOLATED, type TensorChoice } from '../model/checkpointConfig.js';
import { parameters } from '../model/parameters.js';
import { configOfCheckpoint } from '../model/tensorConfig.js';
import type { SafetensorsHeader } from '../safetensors.js';
import {
  isProblemType,
  labelsOfConfig,
  labelsOfMeta,
  type ClassLabels,
  type ProblemType,
} from '../tasks/classLabels.js';
import { watchForHead, type HeadWidths, type LinearHead } from '../weights/head.js';
import type { Dialect } from '../weights/huggingFace.js';
import { placeTensors } from '../weights/names.js';
import { readQuantized, RowScales } from '../weights/quantized.js';
import type { Described } from './described.js';
import type { Settled } from './settled.js';

/**
 * Decides the configuration of a checkpoint, and which parameter each tensor fills. See `settle` in
 * settle.ts.
 * @throws ConfigError, CheckpointError
 */
export function settleAny(
  header: SafetensorsHeader,
  described: Pick<Described, 'config' | 'hints'>,
  choice: TensorChoice = {},
): Settled {
  const quantized = readQuantized(header);
  const { config, assumed } = configOfCheckpoint(quantized.header, described, choice);
  const wanted = parameters(config);
  const { placements, dialect, prefix, setAside } = placeTensors(quantized.header, wanted, choice.prefix);
  const stated = config === described.config; // neither the caller nor the file's metadata chose an interpolation
  const sentences = stated ? conventionAssumed(config, dialect) : [];
  const rowScales = quantized.scales.size > 0 ? new RowScales(quantized.scales) : undefined;
  return {
    config,
    tensors: { dialect, prefix, setAside, assumed: [...assumed, ...sentences] },
    layout: { parameters: wanted, placements, rowScales },
    watch: (stream) => watchForHead(stream, headWidths(config), prefix, quantized),
  };
}

/**
 * Returns a sentence about the interpolation of position embeddings for a model whose config.json is Hugging
 * Face's, if the tensor names are of code that interpolates in another way.
 */
function conventionAssumed({ posEmbed, numRegisterTokens }: DINOv2Config, dialect: Dialect): string[] {
  if (dialect === 'huggingface' || numRegisterTokens > 0 || posEmbed === 'antialias') return [];
  const other = dialect === 'timm' ? 'antialias' : 'offset';
  return [
    `${INTERPOLATED} for other sizes as in Hugging Face, whose config.json this is: '${posEmbed}'. The tensor names are ${dialect}'s, whose code interpolates as posEmbed: '${other}'.`,
  ];
}

/** Returns the input widths that a classifier of this model may have. */
export const headWidths = ({ embedDim, depth }: DINOv2Config): HeadWidths => ({
  token: embedDim,
  pooled: depth < 4 ? [2 * embedDim] : [2 * embedDim, 5 * embedDim],
});

/** A checkpoint's classifier, with the names of its classes and its problem type if they are known. */
export interface NamedHead {
  readonly head: LinearHead;
  readonly labels: ClassLabels | undefined;
  readonly problemType: ProblemType | undefined;
}

/**
 * Adds to a head the class names and problem type from config.json. Returns undefined if the head is timm's
 * `head` for a pooling other than the class token, because the library runs a `head` on the class token
 * only.
 */
export async function namedHead(
  head: LinearHead,
  { labels, problemType, globalPool = 'token' }: Described,
): Promise<NamedHead | undefined> {
  if (head.module === 'head' && globalPool !== 'token') return undefined;
  return {
    head,
    labels: labelsOfConfig(labels, head.numClasses) ?? (await labelsOfMeta(head)),
    problemType: isProblemType(problemType) ? problemType : undefined, // transformers treats any other value as missing
  };
}
