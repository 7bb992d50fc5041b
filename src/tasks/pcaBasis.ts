/**
 * What a fitted PCA consists of: plain data, which JSON keeps. Names nothing of the GPU, so that a page can
 * hold it whose models are in a worker.
 */
import { OptionError } from '../errors.js';
import { context2dOf, putPixels } from './canvas.js';

/** Everything that a picture needs. Plain data. */
export interface PcaBasis {
  readonly embedDim: number;
  /** (embedDim): of the patches that the components were fitted to. */
  readonly mean: Float32Array<ArrayBuffer>;
  /**
   * (3, embedDim): orthonormal, the largest variance first; a row of zeros where the patches have fewer
   * directions.
   */
  readonly components: Float32Array<ArrayBuffer>;
  /**
   * (3): variance of the patches along each component (divided by their number less one, as scikit-learn
   * does).
   */
  readonly explainedVariance: Float32Array<ArrayBuffer>;
  /** (3): the same as a share of the variance of all channels together. */
  readonly explainedVarianceRatio: Float32Array<ArrayBuffer>;
  /** (3): the scores that become 0 and 255. */
  readonly low: Float32Array<ArrayBuffer>;
  readonly high: Float32Array<ArrayBuffer>;
  /** A patch x is foreground where (x - mean) · direction > threshold. Absent: all patches are. */
  readonly foreground:
    { readonly direction: Float32Array<ArrayBuffer>; readonly threshold: number } | undefined;
}

/** Red, green, blue. */
export const COMPONENTS = 3;

/** What `toJSON` gives and `fromJSON` takes: about 25 kB for each 384 channels. */
export interface PcaJSON {
  readonly format: 'dinov2-webgpu/pca';
  readonly version: 1;
  readonly embedDim: number;
  readonly mean: readonly number[];
  readonly components: readonly number[];
  readonly explainedVariance: readonly number[];
  readonly explainedVarianceRatio: readonly number[];
  readonly low: readonly number[];
  readonly high: readonly number[];
  readonly foreground: { readonly direction: readonly number[]; readonly threshold: number } | null;
}

/** Plain data that `JSON.stringify` keeps exactly. */
export function basisToJSON(basis: PcaBasis): PcaJSON {
  const { embedDim, foreground } = basis;
  return {
    format: 'dinov2-webgpu/pca',
    version: 1,
    embedDim,
    mean: shortest(basis.mean),
    components: shortest(basis.components),
    explainedVariance: shortest(basis.explainedVariance),
    explainedVarianceRatio: shortest(basis.explainedVarianceRatio),
    low: shortest(basis.low),
    high: shortest(basis.high),
    foreground: foreground
      ? { direction: shortest(foreground.direction), threshold: foreground.threshold }
      : null,
  };
}

/** @throws OptionError OPTION_VALUE if it is not what `basisToJSON` gives */
export function basisFromJSON(json: PcaJSON): PcaBasis {
  const { format, version, embedDim, foreground } = json;
  if (format !== 'dinov2-webgpu/pca' || version !== 1) {
    throw new OptionError(
      'OPTION_VALUE',
      `PCA.fromJSON: expected the format dinov2-webgpu/pca, version 1, found ${String(format)}, version ${String(version)}. Fit the basis again.`,
    );
  }
  if (!Number.isInteger(embedDim) || embedDim < 4 || embedDim % 4 !== 0) {
    throw new OptionError(
      'OPTION_VALUE',
      `PCA.fromJSON: expected embedDim to be a positive multiple of 4, found ${String(embedDim)}.`,
    );
  }
  const numbers = (name: string, values: readonly number[], length: number): Float32Array<ArrayBuffer> => {
    if (!Array.isArray(values) || values.length !== length || !values.every(Number.isFinite)) {
      throw new OptionError(
        'OPTION_VALUE',
        `PCA.fromJSON: expected ${name} to be ${length} finite numbers, found something else. The file may be damaged: fit the basis again.`,
      );
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
    foreground: foreground
      ? {
          direction: numbers('foreground.direction', foreground.direction, embedDim),
          threshold: numbers('foreground.threshold', [foreground.threshold], 1)[0]!,
        }
      : undefined,
  };
}

/** Nine digits tell every f32 from its neighbours. */
const shortest = (values: Float32Array): number[] =>
  Array.from(values, (value) => Number(value.toPrecision(9)));

/**
 * Puts a picture of cols × rows pixels on a canvas, which takes its size.
 * @param pixels asked for once the canvas is known to be one that can be drawn on: (rows, cols, 4)
 * @throws ImageError IMAGE_TYPE if the canvas has a context other than '2d' already
 */
export async function drawPixels(
  canvas: HTMLCanvasElement | OffscreenCanvas,
  { rows, cols }: { readonly rows: number; readonly cols: number },
  pixels: () => Promise<Uint8ClampedArray<ArrayBuffer>>,
): Promise<void> {
  const context = context2dOf('PCA.draw', canvas);
  putPixels(context, await pixels(), cols, rows);
}
