/**
 * PCA pictures of DINOv2 features: patches with similar features get similar colours. See `pcaFit.ts` for the
 * method and `patchMatrix.ts` for the arithmetic.
 */
import { OptionError } from '../errors.js';
import { pcaColor } from '../gpu/kernels/pcaKernels.js';
import {
  basisFromJSON,
  basisToJSON,
  COMPONENTS,
  drawPixels,
  type PcaBasis,
  type PcaJSON,
} from './pcaBasis.js';
import { fitBasis, type ForegroundRule } from './pcaFit.js';
import { inLines } from '../gpu/workgroups.js';
import { F32_BYTES } from '../graph/constants.js';
import { checkOptions } from '../optionNames.js';
import type { PatchFeatures } from './patchMatrix.js';

export type { ForegroundRule, PatchFeatures, PcaBasis, PcaJSON };

/** Options of `PCA.fit`. */
export interface PcaFitOptions {
  /** Selection of the foreground. Default `auto`. */
  readonly foreground?: ForegroundRule;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** Options of `PCA.rgb` and `PCA.draw`. */
export interface PcaDrawOptions {
  /** Index of the image in the batch. Default 0. */
  readonly batchIndex?: number;
  /** Colour of background patches: black (default), transparent black, or coloured like the foreground. */
  readonly background?: 'black' | 'transparent' | 'colored';
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

const OPAQUE_BLACK = 0xff000000;

/**
 * A fitted PCA basis. A basis is immutable. Fit it once and use it for every frame of a video, or for many
 * images, so that similar parts keep similar colours. A basis is plain data without GPU memory: it needs no
 * `dispose()` and survives the loss of a device.
 */
export class PCA implements PcaBasis {
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
  /** Scores that map to colour value 0: (3). */
  readonly low: Float32Array<ArrayBuffer>;
  /** Scores that map to colour value 255: (3). */
  readonly high: Float32Array<ArrayBuffer>;
  /**
   * Rule for foreground patches: (x - mean) · direction > threshold. Undefined: all patches are foreground.
   */
  readonly foreground: PcaBasis['foreground'];
  /** The input of the colour kernel, shaders/pca_color.wgsl. */
  readonly #table: Float32Array<ArrayBuffer>;

  private constructor(basis: PcaBasis) {
    this.embedDim = basis.embedDim;
    this.mean = basis.mean;
    this.components = basis.components;
    this.explainedVariance = basis.explainedVariance;
    this.explainedVarianceRatio = basis.explainedVarianceRatio;
    this.low = basis.low;
    this.high = basis.high;
    this.foreground = basis.foreground;
    this.#table = tableOf(basis);
  }

  /**
   * Fits one basis to all patches of one or several batches of features, by the method of the DINOv2 paper
   * (see `pcaFit.ts`). If no subject can be separated from the background (for example if one side would have
   * less than 2 % of the patches), all patches count as foreground, and `foreground` is undefined.
   * @throws OptionError OPTION_VALUE, if there are no features or if they come from several models;
   *   ImageError INPUT_NOT_FINITE, if the features contain NaN or infinity
   * @example
   * ```js
   * const pca = await PCA.fit([featuresA, featuresB]); // the same colours in both pictures
   * await pca.draw(featuresA, canvas);
   * ```
   */
  static async fit(
    features: PatchFeatures | readonly PatchFeatures[],
    options: PcaFitOptions = {},
  ): Promise<PCA> {
    const { foreground = 'auto', signal } = checkOptions('PCA.fit', options);
    const images = 'gpu' in features ? [features] : features;
    return new PCA(await fitBasis(images, foreground, signal));
  }

  /**
   * Computes the picture of one image, one pixel per patch: RGBA, (rows, cols, 4), for `new ImageData(pixels,
   * cols, rows)`.
   * @throws OptionError OPTION_VALUE, if the features have a different `embedDim` than the basis, or if
   *   `batchIndex` is out of range
   */
  async rgb(features: PatchFeatures, options: PcaDrawOptions = {}): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const { batchIndex = 0, background = 'black', signal } = checkOptions('PCA.rgb', options);
    signal?.throwIfAborted();
    const { gpu, buffer, batch, numTokens, numRegisterTokens, rows, cols, embedDim } = features;
    if (embedDim !== this.embedDim) {
      throw new OptionError(
        'OPTION_VALUE',
        `PCA: expected features with ${this.embedDim} channels, as in the fit, found ${embedDim}. Fit one basis per model.`,
      );
    }
    if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= batch) {
      throw new OptionError(
        'OPTION_VALUE',
        `PCA: expected a batchIndex from 0 to ${batch - 1}, found ${batchIndex}.`,
      );
    }
    const compiled = await gpu.pipelines.compile({ kernel: pcaColor, constants: { EMBED_DIM: embedDim } });
    const patches = rows * cols;
    const masked = this.foreground && background !== 'colored' ? 1 : 0;
    const firstToken = batchIndex * numTokens + 1 + numRegisterTokens;
    const backgroundColor = background === 'black' ? OPAQUE_BLACK : 0;
    return gpu.task('PCA colours', signal, async (task) => {
      if (features.lease) task.use(features.lease);
      const rgba = task.burst((burst) => {
        const image = burst.uniformOf('PCA image', [firstToken, patches, backgroundColor, masked]);
        const table = burst.storageOf('PCA basis', this.#table);
        const colors = burst.storage('PCA colours', patches * F32_BYTES);
        burst.dispatch(compiled, [image, buffer, table, colors], inLines(Math.ceil(patches / 16)));
        return colors;
      });
      return new Uint8ClampedArray(await task.read(rgba, 0, patches * F32_BYTES));
    });
  }

  /**
   * Draws the picture of one image. Sets the canvas size to cols × rows, one pixel per patch. Scale the
   * canvas with CSS: `width`, `aspect-ratio`, and `image-rendering: pixelated` for sharp squares.
   * @throws as `rgb`; ImageError IMAGE_TYPE, if the canvas already has a context other than '2d'
   */
  async draw(
    features: PatchFeatures,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    options: PcaDrawOptions = {},
  ): Promise<void> {
    checkOptions('PCA.draw', options);
    await drawPixels(canvas, features, () => this.rgb(features, options));
  }

  /**
   * Converts the basis to JSON data without loss: `fromJSON` restores a basis that draws identical pictures.
   */
  toJSON(): PcaJSON {
    return basisToJSON(this);
  }

  /**
   * Restores a basis from the data of `toJSON`.
   * @throws OptionError OPTION_VALUE, if the data are invalid
   */
  static fromJSON(json: PcaJSON): PCA {
    return new PCA(basisFromJSON(json));
  }
}

/**
 * Computes the input of shaders/pca_color.wgsl: mean, foreground direction, three components, scale (4),
 * shift (4).
 */
function tableOf({ embedDim, mean, components, low, high, foreground }: PcaBasis): Float32Array<ArrayBuffer> {
  const table = new Float32Array((2 + COMPONENTS) * embedDim + 8);
  table.set(mean, 0);
  if (foreground) table.set(foreground.direction, embedDim);
  table.set(components, 2 * embedDim);
  const scale = table.subarray((2 + COMPONENTS) * embedDim);
  const shift = scale.subarray(4);
  scale[0] = 1;
  shift[0] = -(foreground?.threshold ?? 0);
  for (let k = 0; k < COMPONENTS; k++) {
    const range = high[k]! - low[k]!;
    // If `low` equals `high`, the colour channel is 0.5 everywhere.
    scale[k + 1] = range > 0 ? 1 / range : 0;
    shift[k + 1] = range > 0 ? -low[k]! / range : 0.5;
  }
  return table;
}
