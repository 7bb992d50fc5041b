/** What made an index's vectors, so that those of another model are never compared with them. */
import type { DINOv2 } from '../dinov2.js';
import type { PixelOptions } from '../image/preprocess.js';
import type { PreprocessingOptions } from '../image/preprocessing.js';
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

/** Options that change vectors; the others that a shared object of options may have are passed over. */
const CHANGES_VECTORS: ReadonlySet<string> = new Set<
  keyof PreprocessingOptions | 'orientation' | 'pooling' | 'normalize'
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
]);

/**
 * The identity of a model together with what is done to images: hand in the options that `embed` and
 * `features` get. Equal for the same checkpoint in every `dtype`, as `fingerprint` is.
 * @throws DeviceError; IndexError INDEX_OPTIONS for an option that is no string, number or boolean
 */
export async function modelIdentity(
  model: Pick<DINOv2, 'config' | 'fingerprint'>,
  options: IdentityOptions = {},
): Promise<ModelIdentity> {
  const { id, pooling = 'cls', ...pixels } = checkOptions('modelIdentity', options);
  const { embedDim, depth, patchSize } = model.config;
  const settings: Readonly<Record<string, unknown>> = { resize: 'crop', ...pixels, pooling };
  const words = Object.keys(settings)
    .sort()
    .flatMap((name) => {
      const value = settings[name];
      if (value === undefined || !CHANGES_VECTORS.has(name)) return [];
      if (!['string', 'number', 'boolean'].includes(typeof value))
        throw new IndexError(
          'INDEX_OPTIONS',
          `modelIdentity: expected ${name} to be a string or a number, found a ${typeof value}. Leave out what does not change pixels.`,
        );
      return [`${name} ${String(value)}`];
    });
  return {
    id: id ?? `dinov2-${embedDim}x${depth}-${patchSize}`,
    fingerprint: await model.fingerprint(),
    preprocessing: words.join(', '),
  };
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
