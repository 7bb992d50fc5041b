/** `correspondences`: finds patches of two images that show the same thing. */
import { ImageError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import { Correspondences, positionOf, type Correspondence, type NearestData } from './correspondenceData.js';
import { nearestPatches, type Nearest, type PatchImage } from './nearestPatches.js';
import { wrong } from './patchMap.js';
import type { PatchFeatures } from './patchMatrix.js';
import type { PatchPosition } from './patchMap.js';
import type { PatchRegion } from './similarityQuery.js';

/** Options of `correspondences`. */
export interface CorrespondenceOptions {
  /**
   * True keeps only pairs in which each patch is the other's most similar patch. False keeps the most similar
   * patch of `b` for every patch of `a`. Default: true.
   */
  readonly mutual?: boolean | undefined;
  /** Maximum number of pairs: those with the highest scores. Default: all pairs. */
  readonly topK?: number | undefined;
  /** Lowest score of a pair, from -1 to 1. Default: no limit. */
  readonly threshold?: number | undefined;
  /**
   * Keeps only pairs whose patch of `a` is in this rectangle. Does not change which patches are most similar.
   * Default: the whole image.
   */
  readonly region?: PatchRegion | undefined;
  /** Index of the image in the batch of `a`. Default: 0. */
  readonly batchIndexA?: number | undefined;
  /** Index of the image in the batch of `b`. Default: 0. */
  readonly batchIndexB?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Finds the patches of two images that correspond to each other. For each patch of each image, the GPU finds
 * the most similar patch of the other image, by the cosine of the patch tokens. Among equally similar
 * patches, the first in reading order is taken.
 * @param a features of the first image
 * @param b features of the second image, by the same model and on the same device; may be `a` itself. Features of different models give results without
 *   meaning; this is noticed only if their `embedDim` differs
 * @throws OptionError OPTION_VALUE, if `a` and `b` have a different `embedDim` or device, or if an option has an
 *   invalid value; OPTION_NAME, if an option is unknown; ImageError INPUT_NOT_FINITE, if a patch token
 *   contains NaN or infinity; DeviceError, such as KERNEL_WRONG if the GPU computes wrongly; the signal's reason
 * @example
 * ```js
 * const { matches } = await correspondences(await model.features(cat), await model.features(dog));
 * console.log(matches[0]); // { a: { row: 3, col: 5 }, b: { row: 4, col: 9 }, score: 0.81 }
 * ```
 */
export async function correspondences(
  a: PatchFeatures,
  b: PatchFeatures,
  options: CorrespondenceOptions = {},
): Promise<Correspondences> {
  return new Correspondences(await correspondenceData(a, b, options));
}

/** Computes the data of `Correspondences`. */
export async function correspondenceData(
  a: PatchFeatures,
  b: PatchFeatures,
  options: CorrespondenceOptions,
): Promise<NearestData> {
  const { batchIndexA = 0, batchIndexB = 0, signal } = checkOptions(WHERE, options);
  signal?.throwIfAborted();
  for (const features of [a, b])
    if (!(features as Partial<PatchFeatures> | undefined)?.gpu)
      throw wrong(WHERE, 'features of two images, as model.features() returns them', features);
  if (a.embedDim !== b.embedDim)
    throw wrong(
      WHERE,
      'features from one model',
      `${a.embedDim} and ${b.embedDim} channels. Compute all features with one model`,
    );
  if (a.gpu.device !== b.gpu.device)
    throw wrong(
      WHERE,
      'features on one device',
      'features on two devices. Compute all features with one model',
    );
  const images = [imageOf(a, 'batchIndexA', batchIndexA), imageOf(b, 'batchIndexB', batchIndexB)] as const;
  checkSelection(options, a);
  const [ofA, ofB] = await nearestPatches(...images, signal);
  checkFinite('a', a, ofA);
  checkFinite('b', b, ofB);
  const gridA = [a.rows, a.cols] as const;
  const gridB = [b.rows, b.cols] as const;
  return { gridA, gridB, ofA, ofB, matches: select(gridA, gridB, ofA, ofB, options) };
}

const WHERE = 'correspondences';

function imageOf(features: PatchFeatures, name: string, batchIndex: number): PatchImage {
  if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= features.batch)
    throw wrong(`${WHERE}: ${name}`, `a whole number from 0 to ${features.batch - 1}`, batchIndex);
  return { features, batchIndex };
}

/** Checks the options that select pairs. */
function checkSelection(options: CorrespondenceOptions, { rows, cols }: PatchFeatures): void {
  const { mutual = true, topK = 1, threshold = 0, region } = options;
  if (typeof mutual !== 'boolean') throw wrong(`${WHERE}: mutual`, 'true or false', mutual);
  if (!Number.isInteger(topK) || topK < 1)
    throw wrong(`${WHERE}: topK`, 'a whole number of at least 1', topK);
  if (!Number.isFinite(threshold)) throw wrong(`${WHERE}: threshold`, 'a finite number', threshold);
  if (!region) return;
  const { row, col, rows: height, cols: width } = region;
  const fits = (first: number, length: number, count: number): boolean =>
    [first, length].every(Number.isInteger) && first >= 0 && length >= 1 && first + length <= count;
  if (!fits(row, height, rows) || !fits(col, width, cols))
    throw wrong(
      `${WHERE}: region`,
      `a rectangle within the ${rows} × ${cols} grid (rows × columns) of a`,
      `row ${row}, col ${col}, rows ${height}, cols ${width}`,
    );
}

function checkFinite(name: string, { cols }: PatchFeatures, { notFinite }: Nearest): void {
  if (notFinite === undefined) return;
  throw new ImageError(
    'INPUT_NOT_FINITE',
    `${WHERE}: expected finite features, found NaN or infinity in ${name}, in the patch at row ${Math.floor(notFinite / cols)}, col ${notFinite % cols}. Check the pixels and the weights for NaN and infinity.`,
  );
}

/** Selects the pairs, the highest score first. Pairs with equal scores are in the reading order of `a`. */
function select(
  gridA: NearestData['gridA'],
  gridB: NearestData['gridB'],
  ofA: Nearest,
  ofB: Nearest,
  { mutual = true, topK = Infinity, threshold = -Infinity, region }: CorrespondenceOptions,
): Correspondence[] {
  const pairs: Correspondence[] = [];
  for (const [patch, other] of ofA.patches.entries()) {
    const a = positionOf(patch, gridA);
    const score = ofA.scores[patch]!;
    if (mutual && ofB.patches[other] !== patch) continue;
    if (score < threshold || (region && !contains(region, a))) continue;
    pairs.push({ a, b: positionOf(other, gridB), score });
  }
  return pairs.sort((first, second) => second.score - first.score).slice(0, topK);
}

const contains = (region: PatchRegion, { row, col }: PatchPosition): boolean =>
  row >= region.row && row < region.row + region.rows && col >= region.col && col < region.col + region.cols;
