/** Applies a checkpoint's metadata and the caller's options to a configuration. */
import type { SafetensorsHeader } from '../safetensors.js';
import { checkConfig, type DINOv2Config, type PosEmbedConvention } from './config.js';

/**
 * Key in `__metadata__` of a checkpoint written by `dinov2-webgpu convert`: how position embeddings are
 * interpolated (`PosEmbedConvention`). Hugging Face's tensor names and config.json cannot always express it.
 */
export const POS_EMBED = 'dinov2-webgpu pos_embed';

/**
 * Key in `__metadata__` of a checkpoint written by `dinov2-webgpu convert`: the width of a SwiGLU, if it is
 * not a multiple of 8. Hugging Face's config.json cannot express such a width.
 */
export const HIDDEN_FEATURES = 'dinov2-webgpu hidden_features';

/**
 * Beginning of the sentence in `SettledConfig.assumed` about the interpolation of position embeddings. An
 * explicit `posEmbed` replaces this sentence.
 */
export const INTERPOLATED = 'Position embeddings are interpolated';

/**
 * A configuration, and one sentence for each of its values that is an assumption because no file states it.
 */
export interface SettledConfig {
  readonly config: DINOv2Config;
  readonly assumed: readonly string[];
}

/** Options of a caller that change how a checkpoint is read. */
export interface TensorChoice {
  /** Prefix of the model's tensor names. Default: the only prefix with a complete model. */
  readonly prefix?: string | undefined;
  /** How position embeddings are interpolated. Default: the checkpoint's own convention. */
  readonly posEmbed?: PosEmbedConvention | undefined;
}

/**
 * Applies the caller's `posEmbed`, or the metadata of a converted checkpoint, to a configuration.
 * @throws {ConfigError} CONFIG_UNSUPPORTED, if the resulting configuration is not supported
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
