/** What a checkpoint's metadata and the caller's options change in a configuration. */
import type { SafetensorsHeader } from '../safetensors.js';
import { checkConfig, type DINOv2Config, type PosEmbedConvention } from './config.js';

/**
 * Key in `__metadata__` of a checkpoint that `dinov2-webgpu convert` has written: the convention of its
 * position embeddings, which Hugging Face's names and config.json cannot always express.
 */
export const POS_EMBED = 'dinov2-webgpu pos_embed';

/**
 * Key in `__metadata__` of a checkpoint that `dinov2-webgpu convert` has written: the width of a SwiGLU that is
 * no multiple of 8, which Hugging Face's config.json cannot express.
 */
export const HIDDEN_FEATURES = 'dinov2-webgpu hidden_features';

/** Beginning of the sentence in `assumed` that an explicit convention of the position embeddings replaces. */
export const INTERPOLATED = 'Position embeddings are interpolated';

/** A configuration, and a sentence for each part of it that no file states. */
export interface SettledConfig {
  readonly config: DINOv2Config;
  readonly assumed: readonly string[];
}

/** What a caller chooses. */
export interface TensorChoice {
  /** Prefix of the model's names. Default: the only one with a complete model. */
  readonly prefix?: string | undefined;
  /** Replaces the checkpoint's own convention. */
  readonly posEmbed?: PosEmbedConvention | undefined;
}

/**
 * Applies the caller's `posEmbed`, or the metadata of a converted checkpoint, to a configuration.
 * @throws {ConfigError} CONFIG_UNSUPPORTED when the result cannot be computed
 */
export function withChoices(
  settled: SettledConfig,
  { metadata }: SafetensorsHeader,
  { posEmbed }: TensorChoice,
): SettledConfig {
  const chosen = posEmbed ?? (metadata.get(POS_EMBED) as PosEmbedConvention | undefined);
  if (chosen === undefined) return settled;
  const width = metadata.get(HIDDEN_FEATURES);
  const config = {
    ...settled.config,
    ...(width === undefined ? {} : { hiddenFeatures: Number(width) }),
    posEmbed: chosen,
  };
  checkConfig(config, 'checkpoint');
  return { config, assumed: settled.assumed.filter((sentence) => !sentence.startsWith(INTERPOLATED)) };
}
