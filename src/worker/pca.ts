/** The colourful picture, computed in the worker and drawn in the page. */
import { OptionError } from '../errors.js';
import type { PcaDrawOptions, PcaFitOptions } from '../tasks/pca.js';
import { basisFromJSON, basisToJSON, drawPixels, type PcaBasis, type PcaJSON } from '../tasks/pcaBasis.js';
import { Call, expectPlace, handles, options } from './call.js';
import type { Features } from './features.js';
import { KIND } from './protocol.js';
import { classes, classOf } from './remote.js';

const ofFeatures = handles('Features');

/**
 * What `PCA` of 'dinov2-webgpu' is: the same plain data, fitted and applied in the worker that has the
 * features.
 */
export class PCA implements PcaBasis {
  declare readonly embedDim: number;
  declare readonly mean: Float32Array<ArrayBuffer>;
  declare readonly components: Float32Array<ArrayBuffer>;
  declare readonly explainedVariance: Float32Array<ArrayBuffer>;
  declare readonly explainedVarianceRatio: Float32Array<ArrayBuffer>;
  declare readonly low: Float32Array<ArrayBuffer>;
  declare readonly high: Float32Array<ArrayBuffer>;
  declare readonly foreground: PcaBasis['foreground'];
  /** Goes along with each picture that is asked for: a hundredth of the picture's own work. */
  #json: PcaJSON | undefined;

  private constructor(basis: object) {
    Object.assign(this, basis);
  }

  static {
    const made: unknown = PCA;
    classes['PCA'] = made as (typeof classes)[string];
  }

  /** All features must be in one worker. @throws OptionError OPTION_VALUE; ImageError INPUT_NOT_FINITE */
  static async fit(features: Features | readonly Features[], given: PcaFitOptions = {}): Promise<PCA> {
    const [first] = [features].flat();
    if (!first)
      throw new OptionError(
        'OPTION_VALUE',
        'PCA.fit: expected features of at least one image, found none. Pass what model.features() gave, or an array of it.',
      );
    const { connection } = expectPlace('PCA.fit', 'Features', first);
    const packs = [ofFeatures, options];
    return (await new Call('PCA.fit', connection).send(classOf('PCA'), 'fit', packs, [
      features,
      given,
    ])) as PCA;
  }

  /** RGBA, (rows, cols, 4). Errors as in 'dinov2-webgpu'. */
  async rgb(features: Features, given: PcaDrawOptions = {}): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const { connection } = expectPlace('PCA.rgb', 'Features', features);
    const target = { [KIND]: 'PCA', json: (this.#json ??= this.toJSON()) };
    const packs = [ofFeatures, options];
    const rgba = await new Call('PCA.rgb', connection).send(target, 'rgb', packs, [features, given]);
    return rgba as Uint8ClampedArray<ArrayBuffer>;
  }

  /**
   * As in 'dinov2-webgpu'. The canvas stays the page's: four bytes a patch come from the worker, and are put
   * on it here.
   */
  async draw(
    features: Features,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    given: PcaDrawOptions = {},
  ): Promise<void> {
    await drawPixels(canvas, features, () => this.rgb(features, given));
  }

  toJSON(): PcaJSON {
    return basisToJSON(this);
  }

  /** @throws OptionError OPTION_VALUE */
  static fromJSON(json: PcaJSON): PCA {
    return new PCA(basisFromJSON(json));
  }
}
