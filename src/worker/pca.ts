/** `PCA` in the page: the worker computes, the page draws. */
import { OptionError } from '../errors.js';
import { expectOptions } from '../optionObject.js';
import { loadPart } from '../platform/part.js';
import type { PCA as PagePCA, PcaColorOptions, PcaDrawOptions, PcaFitOptions } from '../tasks/pca.js';
import { basisFromJSON, basisToJSON, type PcaBasis, type PcaJSON } from '../tasks/pcaBasis.js';
import { Call } from './call.js';
import type { Features, Moved } from './classes.js';
import { expectObject, handles, options, send, type Pack } from './packs.js';
import { KIND } from './protocol.js';
import { classes, classOf, type PublicClass } from './remote.js';

const PACKS = [handles('Features'), options];

/**
 * A fitted PCA basis, as in 'dinov2-webgpu'. The basis is plain data in the page. Its methods compute in the
 * worker that holds the features.
 */
export interface PCA
  extends Omit<PagePCA, 'rgb' | 'draw' | 'drawTo' | 'png'>, Moved<PagePCA, 'rgb' | 'draw' | 'png'> {
  /**
   * Draws the picture of one image on the whole of a canvas. The first call hands the canvas over to the worker
   * of the features, which draws on it from then on without the page. The canvas keeps the width and height that
   * it had at the first call.
   * @throws as `rgb`; ImageError IMAGE_TYPE, if the canvas has a context; OptionError OPTION_VALUE, if it is not
   *   a canvas, or if another worker has it
   */
  drawTo(
    features: Features,
    target: HTMLCanvasElement | OffscreenCanvas,
    options?: PcaColorOptions,
  ): Promise<void>;
}

class WorkerPCA {
  readonly #basis: PcaBasis;
  /**
   * The basis as JSON, sent with each call. This costs about a hundredth of the time of the call.
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
    const pixels = await this.#send('rgb', [handles('Features'), options], [features, given]);
    return pixels as Uint8ClampedArray<ArrayBuffer>;
  }

  async draw(
    features: Features,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    given: PcaDrawOptions = {},
  ): Promise<void> {
    expectOptions('PCA.draw', given);
    const { drawPixels } = await loadPart(import('../tasks/pcaPicture.js'));
    await drawPixels(canvas, features, given, () => this.rgb(features, given));
  }

  async drawTo(
    features: Features,
    canvas: HTMLCanvasElement | OffscreenCanvas,
    given: PcaColorOptions = {},
  ): Promise<void> {
    const { sendCanvas } = await loadPart(import('./sendCanvas.js'));
    await this.#send('drawTo', [handles('Features'), sendCanvas, options], [features, canvas, given]);
  }

  async png(features: Features, given: PcaDrawOptions = {}): Promise<Blob> {
    expectOptions('PCA.png', given);
    const { pngOf } = await loadPart(import('../tasks/pcaPicture.js'));
    return pngOf('PCA.png', features, given, () => this.rgb(features, given));
  }

  #send(method: string, packs: readonly Pack[], args: readonly unknown[]): Promise<unknown> {
    const where = `PCA.${method}`;
    const call = new Call(where, expectObject(where, 'Features', args[0]).connection);
    return send(call, { [KIND]: 'PCA', json: (this.#json ??= this.toJSON()) }, method, packs, args);
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
