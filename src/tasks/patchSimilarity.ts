/** Similarity of patches, computed in memory: fast enough to follow a pointer. */
import type { ImagePlacement } from '../image/placement.js';
import { checkOptions } from '../optionNames.js';
import { PatchMap, wrong, type PatchPosition } from './patchMap.js';
import {
  isVector,
  scaleToUnit,
  unitOf,
  weightsOf,
  type QueryImage,
  type SimilarityQuery,
} from './similarityQuery.js';

/** Options of `PatchSimilarity.read`. */
export interface PatchSimilarityOptions {
  /** Index of the image in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
}

/** A patch and its similarity. */
export interface PatchMatch extends PatchPosition {
  /** Cosine similarity, -1 to 1. */
  readonly score: number;
}

/**
 * The part of `Features` that `PatchSimilarity` reads. Features of 'dinov2-webgpu' and of
 * 'dinov2-webgpu/worker' implement it.
 */
export interface PatchTokenReader {
  /** Number of images in the batch. */
  readonly batch: number;
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** Length of a token's vector. */
  readonly embedDim: number;
  /** How the pixels of each image map to patches. Needed only for queries in pixels. */
  readonly placements?: readonly ImagePlacement[] | undefined;
  /** Reads the patch tokens: (batch, rows · cols, embedDim). */
  patchTokens(): Promise<Float32Array<ArrayBuffer>>;
}

/**
 * The patch tokens of one image in memory, for similarity. `read` reads the tokens once. Each map then takes
 * about a millisecond on the CPU and no work on the GPU, so a map can follow the pointer.
 *
 * Similarity is the cosine of two patch tokens: 1 for equal directions, 0 for unrelated directions. Several
 * patches become one query vector: the mean of their directions minus the mean of the directions of the
 * negative examples.
 * @example
 * ```js
 * const similarity = await PatchSimilarity.read(features);
 * canvas.onpointermove = ({ offsetX, offsetY }) => {
 *   const row = Math.floor((offsetY / canvas.clientHeight) * similarity.rows);
 *   const col = Math.floor((offsetX / canvas.clientWidth) * similarity.cols);
 *   similarity.map({ row, col }).draw(canvas, { range: [0, 1] });
 * };
 * ```
 */
export class PatchSimilarity {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** Length of a token's vector. */
  readonly embedDim: number;
  /** (rows · cols, embedDim): the tokens, each scaled to length 1. A token of zeros stays zero. */
  readonly #directions: Float32Array<ArrayBuffer>;

  readonly #image: QueryImage;

  private constructor(image: QueryImage, embedDim: number, directions: Float32Array<ArrayBuffer>) {
    this.rows = image.rows;
    this.cols = image.cols;
    this.embedDim = embedDim;
    this.#image = image;
    this.#directions = directions;
  }

  /**
   * Reads the patch tokens of an image.
   * @param features features of 'dinov2-webgpu' or of 'dinov2-webgpu/worker'
   * @throws OptionError OPTION_VALUE, if `batchIndex` is out of range; OPTION_NAME, if an option is unknown;
   *   ImageError INPUT_NOT_FINITE, if a token contains NaN or infinity; DeviceError, if the GPU fails
   */
  static async read(
    features: PatchTokenReader,
    options: PatchSimilarityOptions = {},
  ): Promise<PatchSimilarity> {
    const { batchIndex = 0 } = checkOptions('PatchSimilarity.read', options);
    const { batch, rows, cols, embedDim } = features;
    if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= batch)
      throw wrong('PatchSimilarity.read: batchIndex', `a whole number from 0 to ${batch - 1}`, batchIndex);
    const size = rows * cols * embedDim;
    const tokens = (await features.patchTokens()).slice(batchIndex * size, (batchIndex + 1) * size);
    for (let begin = 0; begin < size; begin += embedDim)
      scaleToUnit(tokens.subarray(begin, begin + embedDim), 'PatchSimilarity.read');
    const image = { rows, cols, placement: features.placements?.[batchIndex] };
    return new PatchSimilarity(image, embedDim, tokens);
  }

  /**
   * Returns the similarity of every patch to the query. To compare with a part of a different image, pass
   * `other.vector(query)`, where `other` is the `PatchSimilarity` of that image by the same model.
   * @throws OptionError OPTION_VALUE, if the image lacks a patch or point of the query, or if a vector has a
   *   different length than `embedDim` or is zero; ImageError INPUT_NOT_FINITE, if it contains NaN or infinity
   */
  map(query: SimilarityQuery): PatchMap {
    const { rows, cols, embedDim } = this;
    const vector = this.vector(query);
    const values = new Float32Array(rows * cols);
    for (let patch = 0, at = 0; patch < values.length; patch++) {
      let sum = 0;
      for (let i = 0; i < embedDim; i++) sum += vector[i]! * this.#directions[at++]!;
      values[patch] = sum;
    }
    return new PatchMap(rows, cols, values);
  }

  /**
   * Returns the patch that is most similar to the query. If several patches are equally similar, returns the
   * first of them in reading order.
   * @throws as `map`
   */
  nearest(query: SimilarityQuery): PatchMatch {
    const { values, cols } = this.map(query);
    let best = 0;
    for (let patch = 1; patch < values.length; patch++) if (values[patch]! > values[best]!) best = patch;
    return { row: Math.floor(best / cols), col: best % cols, score: values[best]! };
  }

  /**
   * Returns the query as one vector of length 1 (embedDim).
   * @throws as `map`
   */
  vector(query: SimilarityQuery): Float32Array<ArrayBuffer> {
    const { embedDim } = this;
    if (isVector(query)) return unitOf('PatchSimilarity', query, embedDim);
    const sums = new Float64Array(embedDim);
    for (const [patch, weight] of weightsOf('PatchSimilarity', this.#image, query))
      for (let i = 0; i < embedDim; i++) sums[i]! += weight * this.#directions[patch * embedDim + i]!;
    return scaleToUnit(Float32Array.from(sums), 'PatchSimilarity');
  }
}
