/** Reads preprocessor_config.json, and chooses the preprocessing of checkpoints without this file. */
import { mayStartOver } from '../io/part.js';
import { SourceError } from '../errors.js';
import { IMAGENET } from '../image/normalization.js';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../image/preprocessing.js';
import { loadPart } from '../platform/part.js';
import { parseJson } from './configFile.js';

export const PREPROCESSOR = 'preprocessor_config.json';

/**
 * preprocessor_config.json of facebook/dinov2-small, -base, -large and -giant, with the keys in the order
 * that `save_pretrained` writes. This common case needs no parser.
 */
const FACEBOOK = JSON.stringify({
  crop_size: { height: 224, width: 224 },
  do_center_crop: true,
  do_convert_rgb: true,
  do_normalize: true,
  do_rescale: true,
  do_resize: true,
  image_mean: IMAGENET.mean,
  image_processor_type: 'BitImageProcessor',
  image_std: IMAGENET.std,
  resample: 3,
  rescale_factor: IMAGENET.rescaleFactor,
  size: { shortest_edge: 256 },
});

/**
 * Returns the preprocessing that a checkpoint's files describe.
 * @param file the parsed preprocessor_config.json; undefined if the checkpoint has none
 * @param config the parsed config.json, which may hold timm's preprocessing; undefined if the checkpoint has
 *   none
 * @throws ConfigError
 */
export async function preprocessingOf(
  file: { readonly json: unknown } | undefined,
  config: unknown,
): Promise<Preprocessing> {
  if (!file && !hasTimmFields(config)) return DEFAULT_PREPROCESSING;
  const { anyPreprocessing } = await loadPart(import('./anyPreprocessor.js'));
  return anyPreprocessing(file, config);
}

/** Returns whether a config.json may hold timm's preprocessing. */
const hasTimmFields = (config: unknown): boolean =>
  typeof config === 'object' && config !== null && ('pretrained_cfg' in config || 'architecture' in config);

/**
 * Returns the preprocessing of a checkpoint, given the text of preprocessor_config.json.
 * @param text the text of preprocessor_config.json; null if the checkpoint has none
 * @throws ConfigError
 */
export async function preprocessingOfText(text: string | null, config: unknown): Promise<Preprocessing> {
  if (text === null) return preprocessingOf(undefined, config);
  const json = parseJson(text, PREPROCESSOR);
  if (JSON.stringify(json) === FACEBOOK) return { ...DEFAULT_PREPROCESSING, source: PREPROCESSOR };
  return preprocessingOf({ json }, config);
}

/**
 * Returns the preprocessing that the caller passes instead of the file. If the caller passes null, returns
 * the default preprocessing. If the caller passes undefined, returns undefined, and the file is used.
 * @throws ConfigError
 */
export async function givenPreprocessing(
  given: object | null | undefined,
): Promise<Preprocessing | undefined> {
  if (given === undefined) return undefined;
  return given === null ? DEFAULT_PREPROCESSING : preprocessingOf({ json: given }, undefined);
}

/**
 * Adds advice to an error that reading the file gave. If a server sends CORS headers only with existing
 * files, the browser hides the status 404, and a missing file looks like a network failure.
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
