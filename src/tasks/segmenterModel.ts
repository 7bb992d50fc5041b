/**
 * The data of a fitted segmenter and its JSON form. Does not depend on GPU code, so that a page whose models
 * are in a worker can use it.
 */
import { OptionError } from '../errors.js';
import { show } from '../platform/json.js';

/** The plain data of a fitted segmenter. */
export interface SegmenterModel {
  /** Length of a token's vector. */
  readonly embedDim: number;
  /** Weight of each channel of a patch token that is scaled to length 1: (embedDim). */
  readonly weights: Float32Array<ArrayBuffer>;
  /** Constant that is added to the weighted sum. */
  readonly bias: number;
}

/** A segmenter as JSON data: the result of `PatchSegmenter.toJSON`. About 5 kB per 384 channels. */
export interface SegmenterJSON {
  /** Identifies the format. */
  readonly format: 'dinov2-webgpu/segmenter';
  /** Version of the format. */
  readonly version: 1;
  /** See `PatchSegmenter.embedDim`. */
  readonly embedDim: number;
  /** See `PatchSegmenter.weights`: (embedDim). */
  readonly weights: readonly number[];
  /** See `PatchSegmenter.bias`. */
  readonly bias: number;
}

/** Converts a segmenter to JSON data without loss. */
export function segmenterToJSON({ embedDim, weights, bias }: SegmenterModel): SegmenterJSON {
  // Nine significant digits identify every f32.
  const shortest = (value: number): number => Number(value.toPrecision(9));
  return {
    format: 'dinov2-webgpu/segmenter',
    version: 1,
    embedDim,
    weights: Array.from(weights, shortest),
    bias: shortest(bias),
  };
}

/**
 * Restores a segmenter from the data of `segmenterToJSON`.
 * @throws OptionError OPTION_VALUE, if the data are invalid
 */
export function segmenterFromJSON(json: SegmenterJSON): SegmenterModel {
  const { format, version, embedDim, weights, bias } = (json ?? {}) as Partial<SegmenterJSON>;
  if (format !== 'dinov2-webgpu/segmenter' || version !== 1)
    throw invalid(
      `expected the format dinov2-webgpu/segmenter, version 1, found ${show(format)}, version ${show(version)}. Fit the segmenter again`,
    );
  if (!isDim(embedDim))
    throw invalid(`expected embedDim to be a positive multiple of 4, found ${show(embedDim)}`);
  if (!Array.isArray(weights) || weights.length !== embedDim || !weights.every(isF32))
    throw invalid(
      `weights must be an array of ${embedDim} finite numbers. The file may be damaged: fit the segmenter again`,
    );
  if (!isF32(bias))
    throw invalid('bias must be a finite number. The file may be damaged: fit the segmenter again');
  return { embedDim, weights: Float32Array.from(weights), bias: Math.fround(bias) };
}

const isDim = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 4 && value % 4 === 0;

/** True for a number that is finite as a 32-bit float, too. */
const isF32 = (value: unknown): value is number =>
  typeof value === 'number' && Number.isFinite(Math.fround(value));

const invalid = (problem: string): OptionError =>
  new OptionError('OPTION_VALUE', `PatchSegmenter.fromJSON: ${problem}.`);
