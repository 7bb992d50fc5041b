/**
 * `modelIdentity`: identifies the model and the preprocessing with which the vectors of an index were made,
 * so that vectors made by different models are never compared.
 */
import type { DINOv2 } from '../dinov2.js';
import { IMAGENET } from '../image/normalization.js';
import type { PixelOptions } from '../image/preprocess.js';
import {
  DEFAULT_PREPROCESSING,
  preprocessingText,
  type Preprocessing,
  type PreprocessingOptions,
} from '../image/preprocessing.js';
import type { Pooling } from '../tasks/pooling.js';
import { IndexError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import type { ModelIdentity } from './journal.js';

/** Options of `modelIdentity`: the same options that are passed to `embed`. */
export interface IdentityOptions extends Omit<PixelOptions, 'signal'> {
  /** Name of the model for error messages. Default: `dinov2-` with its width, depth and patch size. */
  readonly id?: string;
  /** How tokens become the vector, as passed to `embed`. Default `cls`. */
  readonly pooling?: Pooling;
}

/** The parts of a model from which its identity is computed. */
export interface IdentifiedModel extends Pick<DINOv2, 'config' | 'fingerprint'> {
  /** The model's own preprocessing. Default: the preprocessing of the facebook/dinov2 models. */
  readonly preprocessing?: Preprocessing | undefined;
}

/** Names of the options that affect vectors. `modelIdentity` ignores all other options. */
const CHANGES_VECTORS: ReadonlySet<string> = new Set<
  keyof PreprocessingOptions | 'orientation' | 'pooling' | 'normalize' | 'preprocessing'
>([
  'resize',
  'cropSize',
  'shortestEdge',
  'longestSide',
  'size',
  'normalization',
  'resample',
  'orientation',
  'pooling',
  'normalize',
  'preprocessing',
]);

/**
 * Computes the identity of a model together with its preprocessing. Pass the options that you pass to `embed`
 * or `features`. A checkpoint has the same identity in every `dtype`.
 * @throws DeviceError; IndexError INDEX_OPTIONS for an option that is neither a JSON value nor undefined
 */
export async function modelIdentity(
  model: IdentifiedModel,
  options: IdentityOptions = {},
): Promise<ModelIdentity> {
  const { id } = checkOptions('modelIdentity', options);
  const { embedDim, depth, patchSize } = model.config;
  const preprocessing = lookText(model, options); // before the fingerprint, because it is cheap and may throw
  return {
    id: id ?? `dinov2-${embedDim}x${depth}-${patchSize}`,
    fingerprint: await model.fingerprint(),
    preprocessing,
  };
}

/** The text that `lookText` returns for the default preprocessing if no options are given. */
export const DEFAULT_LOOK = 'pooling cls, resize crop';

/**
 * Describes preprocessing and pooling as a text. If two texts are equal, the same image gives equal pixels
 * and the tokens are pooled in the same way.
 * @throws IndexError INDEX_OPTIONS
 */
export function lookText(
  { preprocessing = DEFAULT_PREPROCESSING }: Pick<IdentifiedModel, 'preprocessing'>,
  { pooling = 'cls', normalization, resample = preprocessing.resample, ...others }: IdentityOptions,
): string {
  const { resize, crop, convention } = DEFAULT_PREPROCESSING;
  const ofFile = preprocessingText({ ...preprocessing, resample, normalization: IMAGENET });
  const usual = preprocessingText({ ...DEFAULT_PREPROCESSING, resample });
  const replaced = others.resize === 'fit' || (others.resize === 'square' && others.size !== undefined);
  const applied: Preprocessing = {
    ...preprocessing,
    ...(replaced && { resize, crop, convention }),
    resample,
    normalization: { ...preprocessing.normalization, ...defined(normalization) },
  };
  const settings: Readonly<Record<string, unknown>> = {
    ...(ofFile === usual && { resize: 'crop' }), // otherwise the preprocessing itself contains `resize`
    ...others,
    pooling,
    preprocessing: preprocessingText(applied) || undefined,
  };
  return Object.keys(settings)
    .filter((name) => settings[name] !== undefined && CHANGES_VECTORS.has(name))
    .sort()
    .map((name) => `${name} ${textOf(name, settings[name])}`)
    .join(', ');
}

const defined = <Value extends object>(value: Value | undefined): Partial<Value> =>
  Object.fromEntries(Object.entries(value ?? {}).filter(([, each]) => each !== undefined)) as Partial<Value>;

/**
 * Serializes the value of an option. Objects that differ only in the order of their keys give the same text.
 * @throws IndexError INDEX_OPTIONS
 */
function textOf(name: string, value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return String(value);
  if (Array.isArray(value)) return `[${value.map((each) => textOf(name, each)).join(' ')}]`;
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype)
    return `{${Object.entries(value)
      .filter(([, each]) => each !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => `${key} ${textOf(name, each)}`)
      .join(' ')}}`;
  throw new IndexError(
    'INDEX_OPTIONS',
    `modelIdentity: expected ${name} to be a string, a number, a boolean, or a list or plain object of these, found ${value === null ? 'null' : `a ${typeof value}`}. Pass only options that change pixels.`,
  );
}

/**
 * True if vectors of two models can be compared: the models' fingerprints and preprocessing are equal. Their
 * `id`s are ignored.
 */
export function sameModel(a: ModelIdentity | undefined, b: ModelIdentity | undefined): boolean {
  return a?.fingerprint === b?.fingerprint && preprocessingOf(a) === preprocessingOf(b);
}

/**
 * Returns the preprocessing text of a model. Older versions of this library wrote a batch size at the start
 * of this text; the batch size is removed.
 */
const preprocessingOf = (model: ModelIdentity | undefined): string | undefined =>
  model?.preprocessing.replace(/^batchSize \d+, /, '');

/** Returns a description of a model for error messages. */
export const modelText = (model: ModelIdentity | undefined): string =>
  model ? `${model.id} (${model.fingerprint.slice(0, 12)}; ${model.preprocessing})` : 'no model';
