/**
 * Reads any preprocessor_config.json. This module is loaded only if the file differs from that of
 * facebook/dinov2.
 */
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../image/preprocessing.js';
import { parsePreprocessorConfig, timmPreprocessing } from '../image/preprocessorConfig.js';

/**
 * Returns the preprocessing that a checkpoint's files describe, see `preprocessingOf`. @throws ConfigError
 */
export function anyPreprocessing(
  file: { readonly json: unknown } | undefined,
  config: unknown,
): Preprocessing {
  const { model_type: modelType } = (config ?? {}) as { readonly model_type?: unknown };
  if (file) return parsePreprocessorConfig(file.json, typeof modelType === 'string' ? modelType : undefined);
  return timmPreprocessing(config) ?? DEFAULT_PREPROCESSING;
}
