/** `PatchSegmenter` in the page: the worker fits it and computes its maps. */
import type {
  PatchSegmenter as PagePatchSegmenter,
  SegmenterFitOptions,
  SegmenterMapOptions,
} from '../tasks/segmentation.js';
import {
  segmenterFromJSON,
  segmenterToJSON,
  type SegmenterJSON,
  type SegmenterModel,
} from '../tasks/segmenterModel.js';
import { OptionError } from '../errors.js';
import { Call } from './call.js';
import type { Features, Moved } from './classes.js';
import type { GpuPatchMap } from './maps.js';
import { expectObject, handles, options, send } from './packs.js';
import { KIND } from './protocol.js';
import { classes, classOf, type PublicClass } from './remote.js';

const PACKS = [handles('Features'), options];

/**
 * A fitted segmenter, as in 'dinov2-webgpu'. The segmenter is plain data in the page. Its maps are computed
 * in the worker that holds the features, and stay there.
 */
export interface PatchSegmenter extends Omit<PagePatchSegmenter, 'map'>, Moved<PagePatchSegmenter, 'map'> {}

class WorkerPatchSegmenter {
  readonly #model: SegmenterModel;
  /** The segmenter as JSON, sent with each call of `map`. */
  #json: SegmenterJSON | undefined;

  constructor(model: SegmenterModel) {
    Object.assign(this, model);
    this.#model = model;
  }

  static async fit(
    features: Features | readonly Features[],
    given: SegmenterFitOptions,
  ): Promise<PatchSegmenter> {
    const [first] = [features].flat();
    if (!first)
      throw new OptionError(
        'OPTION_VALUE',
        'PatchSegmenter.fit: expected features of at least one image, found none.',
      );
    const where = 'PatchSegmenter.fit';
    const call = new Call(where, expectObject(where, 'Features', first).connection);
    return (await send(call, classOf('PatchSegmenter'), 'fit', PACKS, [features, given])) as PatchSegmenter;
  }

  async map(features: Features, given: SegmenterMapOptions = {}): Promise<GpuPatchMap> {
    const where = 'PatchSegmenter.map';
    const call = new Call(where, expectObject(where, 'Features', features).connection);
    const target = { [KIND]: 'PatchSegmenter', json: (this.#json ??= this.toJSON()) };
    return (await send(call, target, 'map', PACKS, [features, given])) as GpuPatchMap;
  }

  toJSON(): SegmenterJSON {
    return segmenterToJSON(this.#model);
  }

  static fromJSON(json: SegmenterJSON): WorkerPatchSegmenter {
    return new WorkerPatchSegmenter(segmenterFromJSON(json));
  }
}
// The constructor copies the model onto the object, which TypeScript does not see.
const made: unknown = (classes['PatchSegmenter'] = WorkerPatchSegmenter);

/** A fitted segmenter. Use `PatchSegmenter.fit` or `PatchSegmenter.fromJSON`. */
export const PatchSegmenter: PublicClass<PatchSegmenter> & {
  /**
   * Fits a segmenter to clicked patches, in the worker that holds the features. At least one positive and one
   * negative patch are needed.
   * @throws as `PatchSegmenter.fit` of 'dinov2-webgpu'; DeviceError WORKER_LOST
   */
  fit(features: Features | readonly Features[], options: SegmenterFitOptions): Promise<PatchSegmenter>;
  /**
   * Restores a segmenter from the data of `toJSON`.
   * @throws OptionError OPTION_VALUE, if the data are invalid
   */
  fromJSON(json: SegmenterJSON): PatchSegmenter;
} = made as typeof PatchSegmenter;
