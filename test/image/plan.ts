/** Resolves preprocessing options with defaults that suit the tests. */
import {
  planResize,
  resolvePreprocessing,
  type Geometry,
  type ResolvedPreprocessing,
} from '../../src/image/geometry.js';
import {
  DEFAULT_PREPROCESSING,
  type Preprocessing,
  type PreprocessingOptions,
} from '../../src/image/preprocessing.js';

export const resolve = (
  options: PreprocessingOptions = {},
  preprocessing: Preprocessing = DEFAULT_PREPROCESSING,
  patchSize = 14,
): ResolvedPreprocessing => resolvePreprocessing(preprocessing, options, patchSize);

export const planOf = (
  width: number,
  height: number,
  options: PreprocessingOptions = {},
  preprocessing: Preprocessing = DEFAULT_PREPROCESSING,
  patchSize = 14,
): Geometry => planResize(width, height, resolve(options, preprocessing, patchSize), patchSize);
