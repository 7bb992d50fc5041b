/** The colourful picture, computed in the worker and drawn in the page. */
import { OptionError } from '../errors.js';
import type { PcaDrawOptions, PcaFitOptions } from '../tasks/pca.js';
import { basisFromJSON, basisToJSON, drawPixels, type PcaBasis, type PcaJSON } from '../tasks/pcaBasis.js';
import { placeOf, type Features } from './features.js';
import { toSend } from './requests.js';

/**
 * What `PCA` of 'dinov2-webgpu' is: the same plain data, fitted and applied in the worker that has the
 * features.
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
  /** What goes along with each picture that is asked for: a hundredth of the picture's own work. */
  #sent: PcaJSON | undefined;

  private constructor(basis: PcaBasis) {
    this.embedDim = basis.embedDim;
    this.mean = basis.mean;
    this.components = basis.components;
    this.explainedVariance = basis.explainedVariance;
    this.explainedVarianceRatio = basis.explainedVarianceRatio;
    this.low = basis.low;
    this.high = basis.high;
    this.foreground = basis.foreground;
  }

  /** All features must be in one worker. @throws OptionError OPTION_VALUE; ImageError INPUT_NOT_FINITE */
  static async fit(features: Features | readonly Features[], given: PcaFitOptions = {}): Promise<PCA> {
    const { options, signal } = toSend('PCA.fit', given);
    const list = isList(features) ? [...features] : [features];
    const places = list.map((each) => placeOf('PCA.fit', each));
    const [first] = places;
    if (!first)
      throw new OptionError(
        'OPTION_VALUE',
        'PCA.fit: expected features of at least one image, found none. Pass what model.features() gave, or an array of it.',
      );
    if (places.some(({ connection }) => connection !== first.connection)) {
      throw new OptionError(
        'OPTION_VALUE',
        'PCA.fit: expected features in one worker, found two. Compute all of them with one model.',
      );
    }
    return new PCA(
      await first.connection.call(
        'fitPca',
        { features: places.map(({ id }) => id), options },
        { signal, holding: list },
      ),
    );
  }

  /** RGBA, (rows, cols, 4). Errors as in 'dinov2-webgpu'. */
  async rgb(features: Features, given: PcaDrawOptions = {}): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const { options, signal } = toSend('PCA.rgb', given);
    const { connection, id } = placeOf('PCA', features);
    this.#sent ??= this.toJSON();
    return connection.call(
      'pcaColours',
      { pca: this.#sent, features: id, options },
      { signal, holding: [features] },
    );
  }

  /**
   * As in 'dinov2-webgpu'. The canvas stays the page's: four bytes a patch come from the worker, and are put
   * on it here.
   */
  async draw(
    features: Features,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    options: PcaDrawOptions = {},
  ): Promise<void> {
    await drawPixels(canvas, features, () => this.rgb(features, options));
  }

  toJSON(): PcaJSON {
    return basisToJSON(this);
  }

  /** @throws OptionError OPTION_VALUE */
  static fromJSON(json: PcaJSON): PCA {
    return new PCA(basisFromJSON(json));
  }
}

const isList = (features: Features | readonly Features[]): features is readonly Features[] =>
  Array.isArray(features);
