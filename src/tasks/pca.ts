/**
 * The colourful picture of DINOv2: patches that mean alike get like colours. `pcaFit.ts` has the recipe,
 * `patchMatrix.ts` the arithmetic.
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

export interface PcaFitOptions {
  /** Default `auto`. */
  readonly foreground?: ForegroundRule;
  readonly signal?: AbortSignal;
}

export interface PcaDrawOptions {
  /** Which image of a batch. Default 0. */
  readonly batchIndex?: number;
  /**
   * What patches get that are not foreground: black (default), transparent black, or their colour like the
   * others.
   */
  readonly background?: 'black' | 'transparent' | 'colored';
  readonly signal?: AbortSignal;
}

const OPAQUE_BLACK = 0xff000000;

/**
 * A fitted basis. It never changes: fit it once and use it for every frame of a video, or for many images,
 * and like parts keep like colours. It is plain data and owns nothing on the GPU, so it needs no `dispose()`
 * and outlives a lost device.
 */
export class PCA implements PcaBasis {
  readonly embedDim: number;
  readonly mean: Float32Array<ArrayBuffer>;
  readonly components: Float32Array<ArrayBuffer>;
  readonly explainedVariance: Float32Array<ArrayBuffer>;
  readonly explainedVarianceRatio: Float32Array<ArrayBuffer>;
  readonly low: Float32Array<ArrayBuffer>;
  readonly high: Float32Array<ArrayBuffer>;
  readonly foreground: PcaBasis['foreground'];
  /** What the kernel reads. */
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
   * Fits one basis to all patches of one or several images (every image of a batch counts), by the recipe of
   * the DINOv2 paper; see `pcaFit.ts`. Where nothing can be told from the background (one side would hold
   * less than 2 % of the patches), all patches count as foreground, and `foreground` is undefined.
   * @throws OptionError OPTION_VALUE if there are no features, or they are of several models; ImageError
   *   INPUT_NOT_FINITE if they hold NaN or infinity
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
   * The picture of one image: RGBA, (rows, cols, 4), as `new ImageData(pixels, cols, rows)` takes it.
   * @throws OptionError OPTION_VALUE if the features are not of the model that the basis was fitted for, or the
   *   batch has no such image
   */
  async rgb(features: PatchFeatures, options: PcaDrawOptions = {}): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const { batchIndex = 0, background = 'black', signal } = checkOptions('PCA.rgb', options);
    signal?.throwIfAborted();
    const { gpu, buffer, batch, numTokens, numRegisterTokens, rows, cols, embedDim } = features;
    if (embedDim !== this.embedDim) {
      throw new OptionError(
        'OPTION_VALUE',
        `PCA: expected features with the ${this.embedDim} channels that it was fitted to, found ${embedDim}. Fit one basis for each model.`,
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
    const ground = background === 'black' ? OPAQUE_BLACK : 0;
    return gpu.task('PCA colours', signal, async (task) => {
      if (features.lease) task.use(features.lease);
      const rgba = task.burst((burst) => {
        const image = burst.uniformOf('PCA image', [firstToken, patches, ground, masked]);
        const table = burst.storageOf('PCA basis', this.#table);
        const colors = burst.storage('PCA colours', patches * F32_BYTES);
        burst.dispatch(compiled, [image, buffer, table, colors], inLines(Math.ceil(patches / 16)));
        return colors;
      });
      return new Uint8ClampedArray(await task.read(rgba, 0, patches * F32_BYTES));
    });
  }

  /**
   * Draws the picture of one image. The canvas becomes cols × rows pixels large, one a patch; how large it is
   * on the page, and whether smooth or in squares, is for CSS to say (`width`, `aspect-ratio`,
   * `image-rendering: pixelated`).
   * @throws ImageError IMAGE_TYPE if the canvas has a context other than '2d' already
   */
  async draw(
    features: PatchFeatures,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    options: PcaDrawOptions = {},
  ): Promise<void> {
    checkOptions('PCA.draw', options);
    await drawPixels(canvas, features, () => this.rgb(features, options));
  }

  /** Plain data that `JSON.stringify` keeps exactly: a picture drawn after `fromJSON` has the same bits. */
  toJSON(): PcaJSON {
    return basisToJSON(this);
  }

  /**
   * The basis that `toJSON` described.
   * @throws OptionError OPTION_VALUE if it is something else
   */
  static fromJSON(json: PcaJSON): PCA {
    return new PCA(basisFromJSON(json));
  }
}

/** mean, direction of the mask, three components, scale (4), shift (4): see shaders/pca_color.wgsl. */
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
    // Without a range there is nothing to tell apart: the channel is half way up everywhere.
    scale[k + 1] = range > 0 ? 1 / range : 0;
    shift[k + 1] = range > 0 ? -low[k]! / range : 0.5;
  }
  return table;
}
