/** What made an index's vectors, so that those of another model are never compared with them. */
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

export interface IdentityOptions extends Omit<PixelOptions, 'signal'> {
  /** What to call the model in messages. Default: its width and depth. */
  readonly id?: string;
  /** As handed to `embed`. Default `cls`. */
  readonly pooling?: Pooling;
}

/** What an identity is made of. A model without `preprocessing` has the default's, that of facebook/dinov2. */
export interface IdentifiedModel extends Pick<DINOv2, 'config' | 'fingerprint'> {
  readonly preprocessing?: Preprocessing | undefined;
}

/** Options that change vectors; the others that a shared object of options may have are passed over. */
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
  'preprocessing', // of the model
]);

/**
 * The identity of a model together with what is done to images: the model's own preprocessing, and the options
 * that `embed` and `features` get, which are to be handed in. Equal for the same checkpoint in every `dtype`, as
 * `fingerprint` is.
 * @throws DeviceError; IndexError INDEX_OPTIONS for an option that is neither a JSON value nor undefined
 */
export async function modelIdentity(
  model: IdentifiedModel,
  options: IdentityOptions = {},
): Promise<ModelIdentity> {
  const { id } = checkOptions('modelIdentity', options);
  const { embedDim, depth, patchSize } = model.config;
  const preprocessing = lookText(model, options); // first: it costs nothing, and may throw
  return {
    id: id ?? `dinov2-${embedDim}x${depth}-${patchSize}`,
    fingerprint: await model.fingerprint(),
    preprocessing,
  };
}

/** What becomes of an image when nothing is said of it: the text of the default preprocessing without options. */
export const DEFAULT_LOOK = 'pooling cls, resize crop';

/**
 * What a model with these options makes of an image, as a text: equal texts stand for equal pixels and pooling.
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
    ...(ofFile === usual && { resize: 'crop' }), // else the text of the preprocessing says it
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

/** One text for one value, whatever the order of an object's names. @throws IndexError INDEX_OPTIONS */
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
    `modelIdentity: expected ${name} to be a text, a number, a boolean, or a list or plain object of these, found ${value === null ? 'null' : `a ${typeof value}`}. Leave out what does not change pixels.`,
  );
}

/** Whether vectors of one may be compared with those of the other. What they are called does not count. */
export function sameModel(a: ModelIdentity | undefined, b: ModelIdentity | undefined): boolean {
  return a?.fingerprint === b?.fingerprint && preprocessingOf(a) === preprocessingOf(b);
}

/** Identities that were made before the option was passed over begin with it. */
const preprocessingOf = (model: ModelIdentity | undefined): string | undefined =>
  model?.preprocessing.replace(/^batchSize \d+, /, '');

/** For messages. */
export const modelText = (model: ModelIdentity | undefined): string =>
  model ? `${model.id} (${model.fingerprint.slice(0, 12)}; ${model.preprocessing})` : 'no model';
