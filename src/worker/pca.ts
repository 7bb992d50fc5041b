/** `PCA` in the page: the worker computes, the page draws. */
import { OptionError } from '../errors.js';
import type { PCA as PagePCA, PcaDrawOptions, PcaFitOptions } from '../tasks/pca.js';
import { basisFromJSON, basisToJSON, drawPixels, type PcaBasis, type PcaJSON } from '../tasks/pcaBasis.js';
import { Call } from './call.js';
import type { Features, Moved } from './classes.js';
import type { PublicClass } from './remote.js';
import { expectObject, handles, options, send } from './packs.js';
import { KIND } from './protocol.js';
import { classes, classOf } from './remote.js';

const PACKS = [handles('Features'), options];

/**
 * A fitted PCA basis, as in 'dinov2-webgpu'. The basis is plain data in the page. Its methods compute in the
 * worker that holds the features.
 */
export interface PCA extends Omit<PagePCA, 'rgb' | 'draw'>, Moved<PagePCA, 'rgb' | 'draw'> {}

class WorkerPCA {
  readonly #basis: PcaBasis;
  /**
   * The basis as JSON, sent with each call of `rgb`. This costs about a hundredth of the time of the call.
   */
  #json: PcaJSON | undefined;

  constructor(basis: PcaBasis) {
    Object.assign(this, basis);
    this.#basis = basis;
  }

  static async fit(features: Features | readonly Features[], given: PcaFitOptions = {}): Promise<PCA> {
    const [first] = [features].flat();
    if (!first)
      throw new OptionError(
        'OPTION_VALUE',
        'PCA.fit: expected features of at least one image, found none. Pass the result of model.features(), or an array of such results.',
      );
    const call = new Call('PCA.fit', expectObject('PCA.fit', 'Features', first).connection);
    return (await send(call, classOf('PCA'), 'fit', PACKS, [features, given])) as PCA;
  }

  async rgb(features: Features, given: PcaDrawOptions = {}): Promise<Uint8ClampedArray<ArrayBuffer>> {
    const call = new Call('PCA.rgb', expectObject('PCA.rgb', 'Features', features).connection);
    const target = { [KIND]: 'PCA', json: (this.#json ??= this.toJSON()) };
    return (await send(call, target, 'rgb', PACKS, [features, given])) as Uint8ClampedArray<ArrayBuffer>;
  }

  async draw(
    features: Features,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    given: PcaDrawOptions = {},
  ): Promise<void> {
    await drawPixels(canvas, features, () => this.rgb(features, given));
  }

  toJSON(): PcaJSON {
    return basisToJSON(this.#basis);
  }

  static fromJSON(json: PcaJSON): WorkerPCA {
    return new WorkerPCA(basisFromJSON(json));
  }
}
// The constructor of WorkerPCA copies the basis onto the object, which TypeScript does not see.
const made: unknown = (classes['PCA'] = WorkerPCA);

/** A fitted PCA basis. Use `PCA.fit` or `PCA.fromJSON`. */
export const PCA: PublicClass<PCA> & Moved<typeof PagePCA, 'fit' | 'fromJSON', PCA> = made as typeof PCA;
