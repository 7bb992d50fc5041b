/** preprocessor_config.json: what it means for a model, and what holds where a checkpoint has none. */
import { mayStartOver } from '../io/part.js';
import { SourceError } from '../errors.js';
import {
  DEFAULT_PREPROCESSING,
  parsePreprocessorConfig,
  timmPreprocessing,
  type Preprocessing,
} from '../image/preprocessing.js';
import { parseJson } from './configFile.js';

export const PREPROCESSOR = 'preprocessor_config.json';

/**
 * What a checkpoint says of images.
 * @param file the value of preprocessor_config.json; undefined: the checkpoint has none
 * @param config the value of config.json, which holds timm's preprocessing; undefined: there is none
 * @throws ConfigError
 */
export function preprocessingOf(
  file: { readonly json: unknown } | undefined,
  config: unknown,
): Preprocessing {
  const { model_type: modelType } = (config ?? {}) as { readonly model_type?: unknown };
  if (file) return parsePreprocessorConfig(file.json, typeof modelType === 'string' ? modelType : undefined);
  return timmPreprocessing(config) ?? DEFAULT_PREPROCESSING;
}

/** The same of a text; null: the checkpoint has no preprocessor_config.json. @throws ConfigError */
export const preprocessingOfText = (text: string | null, config: unknown): Preprocessing =>
  preprocessingOf(text === null ? undefined : { json: parseJson(text, PREPROCESSOR) }, config);

/**
 * What a caller gives in place of the file; undefined: nothing. Null stands for the default.
 * @throws ConfigError
 */
export function givenPreprocessing(given: object | null | undefined): Preprocessing | undefined {
  if (given === undefined) return undefined;
  return given === null ? DEFAULT_PREPROCESSING : parsePreprocessorConfig(given);
}

/**
 * An error of reading the file, with advice. A browser does not show the status of a server that permits other
 * origins for files alone, so that a missing file looks like a broken network.
 */
export function adviseOn(error: unknown): unknown {
  if (!(error instanceof SourceError) || error.code !== 'SOURCE_FETCH' || mayStartOver(error)) return error;
  const { code, message, status } = error;
  return new SourceError(
    code,
    `${message} If the checkpoint has no ${PREPROCESSOR}, load it with preprocessor: null.`,
    { status, cause: error },
  );
}
