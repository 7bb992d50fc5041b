/**
 * Segmentation from clicks: some patches of an object and some patches of its surroundings are enough to fit
 * a small classifier of patches, which then finds the object in the same image and in other images.
 */
import { ImageError, OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { segmentPatches } from '../gpu/kernels/segmentKernels.js';
import { inLines } from '../gpu/workgroups.js';
import { F32_BYTES } from '../graph/constants.js';
import { fitLogistic } from '../numerics/logistic.js';
import { checkOptions } from '../optionNames.js';
import { indexOfClick, type ClickableFeatures } from './clickedPatch.js';
import { GpuPatchMap } from './gpuPatchMap.js';
import { wrong, type PatchPosition } from './patchMap.js';
import type { PatchFeatures } from './patchMatrix.js';
import type { ImagePoint } from './placement.js';
import {
  segmenterFromJSON,
  segmenterToJSON,
  type SegmenterJSON,
  type SegmenterModel,
} from './segmenterModel.js';

export type { SegmenterJSON };

/** The image that a click belongs to. */
export interface SegmenterImage {
  /** Index of the features, if an array of features is passed. Default: 0. */
  readonly image?: number | undefined;
  /** Index of the image in the batch of these features. Default: 0. */
  readonly batchIndex?: number | undefined;
}

/**
 * A click on an image: a patch, or a pixel of the image as an <img> shows it, which stands for the patch that
 * contains it (see `patchAt`).
 */
export type SegmenterPoint = (PatchPosition | ImagePoint) & SegmenterImage;

/** Options of `PatchSegmenter.fit`. */
export interface SegmenterFitOptions {
  /** Patches of the object: at least one. */
  readonly positive: readonly SegmenterPoint[];
  /** Patches that are not of the object: at least one. */
  readonly negative: readonly SegmenterPoint[];
  /**
   * Penalty for large weights, greater than 0. A larger penalty gives probabilities closer to 0.5. It is half
   * of the factor of |weights|² where the weights of all clicks sum to 1. Default: 0.01.
   */
  readonly regularization?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `PatchSegmenter.map`. */
export interface SegmenterMapOptions {
  /** Index of the image in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** The penalty with which two clicks of ordinary distance get probabilities near 0.1 and 0.9. */
const REGULARIZATION = 0.01;
/** Largest number of clicks. The time of a fit grows with the third power: about 0.3 s at this number. */
const MOST_POINTS = 512;

/**
 * A classifier of patches that was fitted to clicks: logistic regression on patch tokens scaled to length 1.
 * The scaling makes the result depend on directions only, like the cosine similarity, and keeps the few
 * patches with very large values, which large models have, from dominating the fit. Positive and negative
 * clicks have the same total weight, so five clicks on the object and one beside it work.
 *
 * A segmenter is immutable plain data without GPU memory: it needs no `dispose()`, survives the loss of a
 * device and works for all features of the same model.
 * @example
 * ```js
 * const segmenter = await PatchSegmenter.fit(features, {
 *   positive: [{ row: 8, col: 9 }, { row: 10, col: 8 }],
 *   negative: [{ x: 20, y: 30 }], // the patch that contains this pixel
 * });
 * const map = await segmenter.map(features); // or features of a different image, or of the next frame
 * (await map.read()).at(8, 9); // a probability, here close to 1
 * map.dispose();
 * ```
 */
export class PatchSegmenter implements SegmenterModel {
  /** Length of a token's vector. */
  readonly embedDim: number;
  /** Weight of each channel of a patch token that is scaled to length 1: (embedDim). */
  readonly weights: Float32Array<ArrayBuffer>;
  /** Constant that is added to the weighted sum. The logistic function of the total is the probability. */
  readonly bias: number;

  private constructor({ embedDim, weights, bias }: SegmenterModel) {
    this.embedDim = embedDim;
    this.weights = weights;
    this.bias = bias;
  }

  /**
   * Fits a segmenter to clicked patches. Reads only the tokens of these patches from the GPU; the fit takes
   * about a millisecond on the CPU, in float64. The same clicks give the same result, bit for bit.
   *
   * At least one negative patch is needed, because positive patches alone do not tell where the object ends.
   * To find patches that resemble others without a negative example, use a similarity map.
   * @param features features of one image or batch, or an array of features of one model
   * @throws OptionError OPTION_VALUE, if `positive` or `negative` is empty, if there are more than 512 patches,
   *   if a patch does not exist, or if the features differ in `embedDim` or device; ImageError INPUT_NOT_FINITE, if a
   *   token contains NaN or infinity; DeviceError, if the GPU fails
   */
  static async fit(
    features: ClickableFeatures | readonly ClickableFeatures[],
    options: SegmenterFitOptions,
  ): Promise<PatchSegmenter> {
    const where = 'PatchSegmenter.fit';
    const {
      positive = [],
      negative = [],
      regularization = REGULARIZATION,
      signal,
    } = checkOptions(where, options) ?? {};
    signal?.throwIfAborted();
    const images = 'gpu' in features ? [features] : features;
    const gpu = checkImages(where, images);
    const { embedDim } = images[0]!;
    if (!Number.isFinite(regularization) || regularization < 1e-9)
      throw wrong(`${where}: regularization`, 'a number of at least 1e-9', regularization);
    const points = [...listOf(where, 'positive', positive), ...listOf(where, 'negative', negative)];
    if (points.length > MOST_POINTS)
      throw wrong(where, `at most ${MOST_POINTS} patches in all`, points.length);
    const places = points.map((point) => placeOf(where, images, point));

    const tokens = await gpu.task(where, signal, async (task) => {
      task.use(...images.flatMap(({ lease }) => lease ?? []));
      const bytes = embedDim * F32_BYTES;
      const gathered = task.burst((burst) => {
        const to = burst.storage('tokens of clicked patches', places.length * bytes);
        for (const [i, { buffer, token }] of places.entries())
          burst.copy(buffer, token * bytes, to, i * bytes, bytes);
        return to;
      });
      return new Float32Array(await task.read(gathered, 0, places.length * bytes));
    });
    const labels = Uint8Array.from(points, (_, i) => (i < positive.length ? 1 : 0));
    const { weights, bias } = fitLogistic(
      unitRows(where, tokens, embedDim),
      embedDim,
      labels,
      regularization,
    );
    return new PatchSegmenter({ embedDim, weights: Float32Array.from(weights), bias: Math.fround(bias) });
  }

  /**
   * Computes the probability of every patch of an image to belong to the object: 0 to 1, (rows, cols). The
   * map stays on the GPU: `map.read()` reads it, and `map.dispose()` frees it. A patch whose token contains NaN
   * or infinity has the value NaN.
   * @throws OptionError OPTION_VALUE, if the features have a different `embedDim` than the segmenter, or if
   *   `batchIndex` is out of range; DeviceError, if the GPU fails
   */
  async map(features: PatchFeatures, options: SegmenterMapOptions = {}): Promise<GpuPatchMap> {
    const where = 'PatchSegmenter.map';
    const { batchIndex = 0, signal } = checkOptions(where, options);
    signal?.throwIfAborted();
    const { gpu, buffer, batch, numTokens, numRegisterTokens, rows, cols, embedDim } = features;
    if (embedDim !== this.embedDim)
      throw new OptionError(
        'OPTION_VALUE',
        `${where}: expected features with ${this.embedDim} channels, as in the fit, found ${embedDim}. Fit one segmenter per model.`,
      );
    if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= batch)
      throw wrong(`${where}: batchIndex`, `a whole number from 0 to ${batch - 1}`, batchIndex);
    const compiled = await gpu.pipelines.compile({
      kernel: segmentPatches,
      constants: { EMBED_DIM: embedDim },
    });
    const patches = rows * cols;
    const firstToken = batchIndex * numTokens + 1 + numRegisterTokens;
    const table = Float32Array.of(...this.weights, this.bias, 0, 0, 0);
    const probabilities = await gpu.task(where, signal, async (task) => {
      if (features.lease) task.use(features.lease);
      const made = task.burst((burst) => {
        const image = burst.uniformOf('segmented image', [firstToken, patches]);
        const segmenter = burst.storageOf('segmenter', table);
        const out = burst.storage('probabilities', patches * F32_BYTES);
        burst.dispatch(compiled, [image, buffer, segmenter, out], inLines(Math.ceil(patches / 16)));
        return out;
      });
      return task.keep(made);
    });
    return new GpuPatchMap(gpu, rows, cols, probabilities);
  }

  /** Converts the segmenter to JSON data without loss: `fromJSON` restores a segmenter with the same bits. */
  toJSON(): SegmenterJSON {
    return segmenterToJSON(this);
  }

  /**
   * Restores a segmenter from the data of `toJSON`.
   * @throws OptionError OPTION_VALUE, if the data are invalid
   */
  static fromJSON(json: SegmenterJSON): PatchSegmenter {
    return new PatchSegmenter(segmenterFromJSON(json));
  }
}

/** Checks that the features are of one model on one device, and returns the device. */
function checkImages(where: string, images: readonly PatchFeatures[]): Gpu {
  const [first] = images;
  if (!first) throw wrong(where, 'features of at least one image', 'none');
  for (const { gpu, embedDim } of images) {
    if (embedDim !== first.embedDim)
      throw wrong(where, 'features of one model', `${first.embedDim} and ${embedDim} channels`);
    if (gpu.device !== first.gpu.device)
      throw wrong(where, 'features on one device', 'features on several devices');
  }
  return first.gpu;
}

function listOf(where: string, name: string, points: readonly SegmenterPoint[]): readonly SegmenterPoint[] {
  if (Array.isArray(points) && points.length > 0) return points;
  throw wrong(
    `${where}: ${name}`,
    name === 'negative'
      ? 'at least one patch that is not of the object (without one, use a similarity map)'
      : 'at least one patch of the object',
    Array.isArray(points) ? 'none' : typeof points,
  );
}

/** Finds the token of a clicked patch: the buffer that holds it and its index in the buffer. */
function placeOf(
  where: string,
  images: readonly ClickableFeatures[],
  point: SegmenterPoint,
): { buffer: GPUBuffer; token: number } {
  const { image = 0, batchIndex = 0 } = point;
  const found = images[image];
  if (!found) throw wrong(`${where}: image`, `a whole number from 0 to ${images.length - 1}`, image);
  const { buffer, batch, numTokens, numRegisterTokens } = found;
  if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= batch)
    throw wrong(`${where}: batchIndex`, `a whole number from 0 to ${batch - 1}`, batchIndex);
  const patch = indexOfClick(where, found, batchIndex, point);
  return { buffer, token: batchIndex * numTokens + 1 + numRegisterTokens + patch };
}

/** Returns the rows, each scaled to length 1. A row of zeros stays zero. */
function unitRows(where: string, tokens: Float32Array, dim: number): Float64Array {
  const out = Float64Array.from(tokens);
  for (let begin = 0; begin < out.length; begin += dim) {
    const row = out.subarray(begin, begin + dim);
    const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    if (!Number.isFinite(length))
      throw new ImageError('INPUT_NOT_FINITE', `${where}: expected finite tokens, found NaN or infinity.`);
    if (length > 0) for (let i = 0; i < dim; i++) row[i]! /= length;
  }
  return out;
}
