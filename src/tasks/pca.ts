/**
 * PCA pictures of DINOv2 features: patches with similar features get similar colours. See `pcaFit.ts` for the
 * methods and `patchMatrix.ts` for the arithmetic.
 */
import { OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { pcaColor } from '../gpu/kernels/pcaKernels.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import type { Burst } from '../gpu/task.js';
import { inLines } from '../gpu/workgroups.js';
import { F32_BYTES } from '../graph/constants.js';
import { checkOptions } from '../optionNames.js';
import { loadPart } from '../platform/part.js';
import type { DrawTarget } from './drawTarget.js';
import type { PatchFeatures } from './patchMatrix.js';
import {
  basisFromJSON,
  basisToJSON,
  COMPONENTS,
  type PcaBasis,
  type PcaColorRule,
  type PcaJSON,
} from './pcaBasis.js';
import { fitBasis, PCA_RECIPES, type ForegroundRule, type PcaRecipe } from './pcaFit.js';
import { drawPixels, pngOf } from './pcaPicture.js';
import { pictureSize, resizedPicture, type PictureSize } from './resizedPicture.js';

export type { ForegroundRule, PatchFeatures, PcaBasis, PcaColorRule, PcaJSON, PcaRecipe, PictureSize };

/** Options of `PCA.fit`. */
export interface PcaFitOptions {
  /** How patches become colours. Default `plain`. See `PcaRecipe`. */
  readonly recipe?: PcaRecipe;
  /** Selection of the foreground. Default `none`: all patches; with the recipe `paper`, `auto`. */
  readonly foreground?: ForegroundRule;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** Options of `PCA.drawTo`. */
export interface PcaColorOptions {
  /** Index of the image in the batch. Default 0. */
  readonly batchIndex?: number;
  /** Colour of background patches: black (default), transparent black, or coloured like the foreground. */
  readonly background?: 'black' | 'transparent' | 'colored';
  /**
   * If the picture has another size than one pixel per patch: true (default) interpolates between the centres
   * of the patches, as PyTorch's `interpolate(…, mode='bilinear', align_corners=False)`; false makes each patch
   * a rectangle.
   */
  readonly smooth?: boolean;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal;
}

/** Options of `PCA.rgb`, `PCA.draw` and `PCA.png`. */
export interface PcaDrawOptions extends PcaColorOptions, PictureSize {}

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
    this.colorRule = basis.colorRule;
    this.foreground = basis.foreground;
    this.#table = tableOf(basis);
  }

  /**
   * Fits one basis to all patches of one or several batches of features. Options choose the recipe (see
   * `PcaRecipe`) and the foreground. If no subject can be separated from the background (for example if one
   * side would have less than 2 % of the patches), all patches count as foreground, and `foreground` is
   * undefined.
   * @throws OptionError OPTION_VALUE, if there are no features, if they differ in `embedDim` or device, or if an
   *   option has an invalid value; ImageError INPUT_NOT_FINITE, if the features contain NaN or infinity
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
    const { recipe = 'plain', signal } = checkOptions('PCA.fit', options);
    const { foreground = recipe === 'paper' ? 'auto' : 'none' } = options;
    expectOneOf('PCA.fit', 'recipe', PCA_RECIPES, recipe);
    expectOneOf('PCA.fit', 'foreground', ['auto', 'inverted', 'none'], foreground);
    const images = 'gpu' in features ? [features] : features;
    return new PCA(await fitBasis(images, recipe, foreground, signal));
  }

  /**
   * Computes the picture of one image, by default with one pixel per patch: RGBA, (height, width, 4), for
   * `new ImageData(pixels, width, height)`. Alpha is not multiplied.
   * @throws OptionError OPTION_VALUE, if the features have a different `embedDim` than the basis, if
   *   `batchIndex` is out of range, or if another option has an invalid value
   */
  async rgb(features: PatchFeatures, options: PcaDrawOptions = {}): Promise<Uint8ClampedArray<ArrayBuffer>> {
    return this.#pixels('PCA.rgb', features, checkOptions('PCA.rgb', options));
  }

  /**
   * Draws the picture of one image on a canvas, and sets the canvas to the size of the picture: by default
   * cols × rows, one pixel per patch. CSS can scale the canvas on the page (`width`, `aspect-ratio`, and
   * `image-rendering: pixelated` for sharp squares). The picture is read back from the GPU: `drawTo` is faster.
   * @throws as `rgb`; ImageError IMAGE_TYPE, if the canvas already has a context other than '2d'
   */
  async draw(
    features: PatchFeatures,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    options: PcaDrawOptions = {},
  ): Promise<void> {
    checkOptions('PCA.draw', options);
    await drawPixels(canvas, features, options, () => this.#pixels('PCA.draw', features, options));
  }

  /**
   * Draws the picture of one image on the whole of a texture or canvas, on the GPU: nothing is read back. A
   * canvas keeps its width and height.
   * @throws as `rgb`; ImageError IMAGE_TYPE, if the canvas has a context other than 'webgpu'; OptionError
   *   OPTION_VALUE, if the target cannot be drawn on (see `DrawTarget`)
   * @example
   * ```js
   * canvas.width = 518;
   * canvas.height = 518;
   * await pca.drawTo(features, canvas);
   * ```
   */
  async drawTo(features: PatchFeatures, target: DrawTarget, options: PcaColorOptions = {}): Promise<void> {
    const { smooth = true, signal } = checkOptions('PCA.drawTo', options);
    signal?.throwIfAborted();
    this.#check('PCA.drawTo', features, options);
    const { gpu, rows, cols } = features;
    const { prepareDraw } = await loadPart(import('./drawTarget.js'));
    const [draw, compiled] = await Promise.all([
      prepareDraw('PCA.drawTo', gpu, target, smooth),
      this.#compiled(gpu),
    ]);
    await gpu.task('PCA.drawTo', signal, (task) => {
      if (features.lease) task.use(features.lease);
      task.burst((burst) => draw(burst, this.#colors(burst, compiled, features, options), rows, cols));
    });
  }

  /**
   * Encodes the picture of one image as a PNG file, by default with one pixel per patch. Works in the browser
   * and in Node, without a canvas.
   * @returns a Blob of the type image/png
   * @throws as `rgb`
   * @example
   * ```js
   * const file = await pca.png(features, { scale: 14 }); // as large as the image that the model saw
   * link.href = URL.createObjectURL(file); // in Node: await writeFile('pca.png', file.stream())
   * ```
   */
  async png(features: PatchFeatures, options: PcaDrawOptions = {}): Promise<Blob> {
    checkOptions('PCA.png', options);
    return pngOf('PCA.png', features, options, () => this.#pixels('PCA.png', features, options));
  }

  async #pixels(
    where: string,
    features: PatchFeatures,
    options: PcaDrawOptions,
  ): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const { smooth = true, signal } = options;
    signal?.throwIfAborted();
    this.#check(where, features, options);
    const { gpu, rows, cols } = features;
    const size = pictureSize(where, options, rows, cols);
    const compiled = await this.#compiled(gpu);
    const pixels = await gpu.task(where, signal, async (task) => {
      if (features.lease) task.use(features.lease);
      const rgba = task.burst((burst) => this.#colors(burst, compiled, features, options));
      return new Uint8ClampedArray(await task.read(rgba, 0, rows * cols * F32_BYTES));
    });
    return resizedPicture(pixels, features, size, smooth);
  }

  #check(
    where: string,
    { batch, embedDim }: PatchFeatures,
    { batchIndex = 0, background = 'black', smooth = true }: PcaColorOptions,
  ): void {
    if (embedDim !== this.embedDim) {
      throw new OptionError(
        'OPTION_VALUE',
        `${where}: expected features with ${this.embedDim} channels, as in the fit, found ${embedDim}. Fit one basis per model.`,
      );
    }
    if (!Number.isInteger(batchIndex) || batchIndex < 0 || batchIndex >= batch) {
      throw new OptionError(
        'OPTION_VALUE',
        `${where}: expected a batchIndex from 0 to ${batch - 1}, found ${batchIndex}.`,
      );
    }
    expectOneOf(where, 'background', ['black', 'transparent', 'colored'], background);
    expectOneOf(where, 'smooth', [true, false], smooth);
  }

  #compiled(gpu: Gpu): Promise<CompiledKernel> {
    return gpu.pipelines.compile({ kernel: pcaColor, constants: { EMBED_DIM: this.embedDim } });
  }

  /** Computes the colours of an image's patches on the GPU: u32 (rows · cols), r in the lowest byte. */
  #colors(
    burst: Burst,
    compiled: CompiledKernel,
    { buffer, numTokens, numRegisterTokens, rows, cols }: PatchFeatures,
    { batchIndex = 0, background = 'black' }: PcaColorOptions,
  ): GPUBuffer {
    const patches = rows * cols;
    const masked = this.foreground && background !== 'colored' ? 1 : 0;
    const firstToken = batchIndex * numTokens + 1 + numRegisterTokens;
    const backgroundColor = background === 'black' ? OPAQUE_BLACK : 0;
    const sigmoid = Number(this.colorRule === 'sigmoid');
    const image = burst.uniformOf('PCA image', [firstToken, patches, backgroundColor, masked, sigmoid]);
    const table = burst.storageOf('PCA basis', this.#table);
    const colors = burst.storage('PCA colours', patches * F32_BYTES);
    burst.dispatch(compiled, [image, buffer, table, colors], inLines(Math.ceil(patches / 16)));
    return colors;
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

function expectOneOf(where: string, name: string, known: readonly unknown[], found: unknown): void {
  if (!known.includes(found))
    throw new OptionError(
      'OPTION_VALUE',
      `${where}: expected ${name} to be ${known.map((each) => JSON.stringify(each)).join(' or ')}, found ${JSON.stringify(found)}.`,
    );
}
