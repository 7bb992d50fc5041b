/**
 * Checks the names of options. A name is an error if no method of the library has an option of that name. An
 * option that belongs to a different method is ignored, so that several methods can be called with the same
 * options object.
 */
import { OptionError } from './errors.js';
import { expectOptions } from './optionObject.js';

/** All option names. A type test checks that this list contains exactly the keys of all option types. */
export const OPTION_NAMES = [
  // options for loading a model
  'attempts',
  'baseUrl',
  'cache',
  'config',
  'debug',
  'delayMs',
  'device',
  'dtype',
  'fetch',
  'integrity',
  'labels',
  'onProgress',
  'onTrace',
  'persist',
  'posEmbed',
  'prefix',
  'preprocessor',
  'problemType',
  'registers',
  'retry',
  'revalidate',
  'revision',
  'selfTest',
  'signal',
  'stallMs',
  'weights',
  'worker',
  'workerUrl',
  // options for images and features
  'against',
  'againstBatchIndex',
  'attentions',
  'background',
  'batch',
  'batchIndex',
  'batchIndexA',
  'batchIndexB',
  'batchSize',
  'colormap',
  'contextFrames',
  'cropSize',
  'foreground',
  'head',
  'height',
  'layers',
  'longestSide',
  'mask',
  'maskedPatches',
  'maxInFlight',
  'minSimilarity',
  'mutual',
  'negative',
  'norm',
  'normalization',
  'normalize',
  'onFrame',
  'orientation',
  'pooling',
  'positive',
  'query',
  'radius',
  'range',
  'region',
  'regularization',
  'recipe',
  'resample',
  'reshape',
  'resize',
  'returnClassToken',
  'scale',
  'shortestEdge',
  'size',
  'sizesPx',
  'arithmetic',
  'smooth',
  'store',
  'temperature',
  'topK',
  'width',
  // options of the search
  'dim',
  'filter',
  'format',
  'id',
  'ids',
  'maxIterations',
  'metadata',
  'metric',
  'model',
  'patches',
  'removeMissing',
  'repair',
  'seed',
  'storage',
  'threshold',
  'thumbnailPx',
  'thumbnails',
  'under',
] as const;

/**
 * Throws if `options` is not an object, or has a property with an unknown name. Only own enumerable
 * properties are checked, so `options` may be an instance of a class.
 * @param where name of the called method, for error messages
 * @returns `options`
 * @throws OptionError OPTION_VALUE, OPTION_NAME
 */
export function checkOptions<Options>(where: string, options: Options): Options {
  expectOptions(where, options);
  if (options) checkNames(where, Object.keys(options));
  return options;
}

/** Throws if one of `names` is not the name of an option. @throws OptionError OPTION_NAME */
export function checkNames(where: string, names: readonly string[]): void {
  const unknown = names.find((name) => !(OPTION_NAMES as readonly string[]).includes(name));
  if (unknown === undefined) return;
  const near = nearest(unknown);
  throw new OptionError(
    'OPTION_NAME',
    `${where}: unknown option ${JSON.stringify(unknown.slice(0, 80))}. ${near === undefined ? 'No method has an option of this name. Remove the option.' : `Did you mean ${JSON.stringify(near)}?`}`,
  );
}

/** Converts a name to lower case and removes separators, so that Python's `crop_size` matches `cropSize`. */
const plain = (name: string): string =>
  name
    .slice(0, 80)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, '');

/**
 * Returns the option name with the smallest edit distance from `name`. Returns undefined if that distance
 * exceeds a third of the length of `name`: such an option is not worth suggesting.
 */
function nearest(name: string): string | undefined {
  const given = plain(name);
  let best: string | undefined;
  let fewest = given.length / 3;
  for (const known of OPTION_NAMES) {
    const edits = editDistance(given, plain(known));
    if (edits < fewest || (edits === fewest && best === undefined)) [best, fewest] = [known, edits];
  }
  return best;
}

/**
 * Computes the Damerau-Levenshtein distance of two texts: insertions, deletions, replacements and swaps of
 * neighbouring characters.
 */
function editDistance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i++) {
    const above = rows[i - 1]!;
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        above[j]! + 1,
        row[j - 1]! + 1,
        above[j - 1]! + Number(a[i - 1] !== b[j - 1]),
        swapped ? rows[i - 2]![j - 2]! + 1 : Infinity,
      );
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
