/**
 * The data of a fitted PCA and its JSON form. Does not depend on GPU code, so that a page whose models are in
 * a worker can use it.
 */
import { OptionError } from '../errors.js';

/** How a score becomes a colour value. See `PCA.colorRule`. */
export type PcaColorRule = 'linear' | 'sigmoid';

/** The plain data of a fitted PCA. */
export interface PcaBasis {
  /** Length of a token's vector. */
  readonly embedDim: number;
  /** Mean of the patches to which the components were fitted: (embedDim). */
  readonly mean: Float32Array<ArrayBuffer>;
  /**
   * Orthonormal components, the largest variance first: (3, embedDim). A missing component is a row of zeros.
   */
  readonly components: Float32Array<ArrayBuffer>;
  /**
   * Variance of the patches along each component, divided by the number of patches − 1 as in scikit-learn:
   * (3).
   */
  readonly explainedVariance: Float32Array<ArrayBuffer>;
  /** Share of each component in the variance of all channels together: (3). */
  readonly explainedVarianceRatio: Float32Array<ArrayBuffer>;
  /** Scores that map to colour value 0: (3). See `colorRule`. */
  readonly low: Float32Array<ArrayBuffer>;
  /** Scores that map to colour value 255: (3). See `colorRule`. */
  readonly high: Float32Array<ArrayBuffer>;
  /**
   * How a score becomes a colour value, with t = (score - low) / (high - low). `linear`: 255 · t, clamped.
   * `sigmoid`: 255 · sigmoid(4 · t - 2), a curve whose tangent at the middle is the line of `linear`.
   */
  readonly colorRule: PcaColorRule;
  /**
   * Rule for foreground patches: (x - mean) · direction > threshold. Undefined: all patches are foreground.
   */
  readonly foreground:
    { readonly direction: Float32Array<ArrayBuffer>; readonly threshold: number } | undefined;
}

/** Number of components: one each for red, green and blue. */
export const COMPONENTS = 3;

/** A PCA basis as JSON data: the result of `PCA.toJSON`. About 25 kB per 384 channels. */
export interface PcaJSON {
  /** Identifies the format. */
  readonly format: 'dinov2-webgpu/pca';
  /**
   * Version of the format. Version 2 has `colorRule`. A basis with the rule `linear` is written as version 1,
   * which earlier builds of the library read.
   */
  readonly version: 1 | 2;
  /** See `PCA.embedDim`. */
  readonly embedDim: number;
  /** See `PCA.mean`: (embedDim). */
  readonly mean: readonly number[];
  /** See `PCA.components`: (3, embedDim). */
  readonly components: readonly number[];
  /** See `PCA.explainedVariance`: (3). */
  readonly explainedVariance: readonly number[];
  /** See `PCA.explainedVarianceRatio`: (3). */
  readonly explainedVarianceRatio: readonly number[];
  /** See `PCA.low`: (3). */
  readonly low: readonly number[];
  /** See `PCA.high`: (3). */
  readonly high: readonly number[];
  /** See `PCA.colorRule`. Missing in version 1: `linear`. */
  readonly colorRule?: PcaColorRule;
  /** See `PCA.foreground`. Null: all patches are foreground. */
  readonly foreground: { readonly direction: readonly number[]; readonly threshold: number } | null;
}

/** Converts a basis to JSON data without loss. */
export function basisToJSON(basis: PcaBasis): PcaJSON {
  const { embedDim, foreground } = basis;
  return {
    format: 'dinov2-webgpu/pca',
    version: basis.colorRule === 'linear' ? 1 : 2,
    embedDim,
    mean: shortest(basis.mean),
    components: shortest(basis.components),
    explainedVariance: shortest(basis.explainedVariance),
    explainedVarianceRatio: shortest(basis.explainedVarianceRatio),
    low: shortest(basis.low),
    high: shortest(basis.high),
    ...(basis.colorRule === 'linear' ? {} : { colorRule: basis.colorRule }),
    foreground: foreground
      ? { direction: shortest(foreground.direction), threshold: foreground.threshold }
      : null,
  };
}

/**
 * Restores a basis from the data of `basisToJSON`.
 * @throws OptionError OPTION_VALUE, if the data are invalid
 */
export function basisFromJSON(json: PcaJSON): PcaBasis {
  const { format, version, embedDim, foreground, colorRule = 'linear' } = json ?? {};
  if (format !== 'dinov2-webgpu/pca' || (version !== 1 && version !== 2)) {
    throw invalid(`expected dinov2-webgpu/pca, version 1 or 2, found ${word(format)} ${word(version)}.`);
  }
  if (!Number.isInteger(embedDim) || embedDim < 4 || embedDim % 4 !== 0) {
    throw invalid(`embedDim must be a multiple of 4, found ${word(embedDim)}.`);
  }
  if (colorRule !== 'linear' && colorRule !== 'sigmoid') {
    throw invalid(`colorRule must be linear or sigmoid, found ${word(colorRule)}.`);
  }
  const numbers = (name: string, values: readonly number[], length: number): Float32Array<ArrayBuffer> => {
    if (!Array.isArray(values) || values.length !== length || !values.every(isF32)) {
      throw invalid(`${name} must be ${length} finite numbers.`);
    }
    return Float32Array.from(values);
  };
  return {
    embedDim,
    mean: numbers('mean', json.mean, embedDim),
    components: numbers('components', json.components, COMPONENTS * embedDim),
    explainedVariance: numbers('explainedVariance', json.explainedVariance, COMPONENTS),
    explainedVarianceRatio: numbers('explainedVarianceRatio', json.explainedVarianceRatio, COMPONENTS),
    low: numbers('low', json.low, COMPONENTS),
    high: numbers('high', json.high, COMPONENTS),
    colorRule,
    foreground: foreground
      ? {
          direction: numbers('foreground.direction', foreground.direction, embedDim),
          threshold: numbers('foreground.threshold', [foreground.threshold], 1)[0]!,
        }
      : undefined,
  };
}

/** True for a number that is finite as a 32-bit float, too. */
const isF32 = (value: unknown): boolean => typeof value === 'number' && isFinite(Math.fround(value));

const invalid = (problem: string): OptionError =>
  new OptionError('OPTION_VALUE', `PCA.fromJSON: ${problem} Fit the basis again.`);

/** A value for a message. An object of a hostile file may not be convertible to text. */
const word = (value: unknown): unknown => (typeof value === 'object' ? 'an object' : value);

/** Rounds to nine significant digits, which identify every f32. */
const shortest = (values: Float32Array): number[] =>
  Array.from(values, (value) => Number(value.toPrecision(9)));
