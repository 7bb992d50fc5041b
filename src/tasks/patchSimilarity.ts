/** Similarity of patches, computed in memory: fast enough to follow a pointer. */
import { ImageError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import { PatchMap, wrong } from './patchMap.js';

/** A patch of an image, counted from the top left. */
export interface PatchPosition {
  /** Row of the patch, counted from 0 at the top. */
  readonly row: number;
  /** Column of the patch, counted from 0 at the left. */
  readonly col: number;
}

/** A rectangle of patches. */
export interface PatchRegion extends PatchPosition {
  /** Height in patches. */
  readonly rows: number;
  /** Width in patches. */
  readonly cols: number;
}

/** Patches that the result should resemble, and patches that it should not resemble. */
export interface PatchExamples {
  /** Patches that the result should resemble: at least one. */
  readonly positive: readonly PatchPosition[];
  /** Patches that the result should not resemble. Default: none. */
  readonly negative?: readonly PatchPosition[] | undefined;
}

/**
 * The query of a similarity: a patch, a rectangle of patches, examples, or a vector of `embedDim` numbers.
 */
export type SimilarityQuery = PatchPosition | PatchRegion | PatchExamples | ArrayLike<number>;

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

  private constructor(rows: number, cols: number, embedDim: number, directions: Float32Array<ArrayBuffer>) {
    this.rows = rows;
    this.cols = cols;
    this.embedDim = embedDim;
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
    return new PatchSimilarity(rows, cols, embedDim, tokens);
  }

  /**
   * Returns the similarity of every patch to the query. To compare with a part of a different image, pass
   * `other.vector(query)`, where `other` is the `PatchSimilarity` of that image by the same model.
   * @throws OptionError OPTION_VALUE, if the image lacks a patch of the query, or if a vector has a different
   *   length than `embedDim`
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
    if ('length' in query) {
      if (query.length !== this.embedDim)
        throw wrong('PatchSimilarity', `a vector of ${this.embedDim} numbers`, query.length);
      return scaleToUnit(Float32Array.from(query), 'PatchSimilarity');
    }
    const positive = 'positive' in query ? query.positive : this.#patchesOf(query);
    const negative = ('positive' in query && query.negative) || [];
    if (positive.length === 0) throw wrong('PatchSimilarity', 'at least one positive patch', 'none');
    const sums = new Float64Array(this.embedDim);
    for (const [patches, sign] of [
      [positive, 1],
      [negative, -1],
    ] as const) {
      for (const patch of patches) {
        const direction = this.#direction(patch);
        for (let i = 0; i < sums.length; i++) sums[i]! += (sign / patches.length) * direction[i]!;
      }
    }
    return scaleToUnit(Float32Array.from(sums), 'PatchSimilarity');
  }

  #direction({ row, col }: PatchPosition): Float32Array {
    const { rows, cols, embedDim } = this;
    if (![row, col].every(Number.isInteger) || row < 0 || col < 0 || row >= rows || col >= cols)
      throw wrong(
        'PatchSimilarity',
        `a patch of the ${rows} × ${cols} grid (rows × columns)`,
        `row ${row}, col ${col}`,
      );
    const begin = (row * cols + col) * embedDim;
    return this.#directions.subarray(begin, begin + embedDim);
  }

  /** Returns the patches of a rectangle. A single patch is a rectangle of 1 × 1. */
  #patchesOf({ row, col, rows = 1, cols = 1 }: PatchPosition & Partial<PatchRegion>): PatchPosition[] {
    if (
      ![rows, cols].every((side) => Number.isInteger(side) && side >= 1) ||
      rows * cols > this.rows * this.cols
    )
      throw wrong(
        'PatchSimilarity',
        `a rectangle within the ${this.rows} × ${this.cols} grid (rows × columns)`,
        `${rows} × ${cols}`,
      );
    return Array.from({ length: rows * cols }, (_, i) => ({
      row: row + Math.floor(i / cols),
      col: col + (i % cols),
    }));
  }
}

/** Scales a vector to length 1 in place. The sum of squares is float64, so it cannot overflow. */
function scaleToUnit(vector: Float32Array<ArrayBuffer>, where: string): Float32Array<ArrayBuffer> {
  let squares = 0;
  for (const value of vector) squares += value * value;
  if (!Number.isFinite(squares))
    throw new ImageError('INPUT_NOT_FINITE', `${where}: expected finite values, found NaN or infinity.`);
  const length = Math.sqrt(squares);
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i]! /= length;
  return vector;
}
