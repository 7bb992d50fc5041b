/** The classes of the entry `dinov2-webgpu/worker`, in the page. Every method is a call to the worker. */
import type { DINOv2 as PageDINOv2 } from '../dinov2.js';
import { Profile } from '../gpu/measure/profile.js';
import type { ImageSource } from '../image/source.js';
import type { Features as PageFeatures } from '../features.js';
import { expectOptions } from '../optionObject.js';
import type {
  EmbedAllOptions,
  FeatureGroup as PageFeatureGroup,
  LiveOptions,
  LoadOptions,
  PretrainedOptions,
} from '../options.js';
import { loadPart } from '../platform/part.js';
import type { ClassifierModel, ImageClassifier as PageClassifier } from '../tasks/classifier.js';
import type { Embedded } from '../tasks/embedAll.js';
import type { LiveVideo } from '../tasks/live.js';
import type { LiveSource } from '../tasks/liveSource.js';
import type { GpuPatchMap as PageGpuPatchMap } from '../tasks/gpuPatchMap.js';
import type { SimilarityOptions } from '../tasks/similarity.js';
import type { SimilarityQuery } from '../tasks/similarityQuery.js';
import type { PCA as PagePCA } from '../tasks/pca.js';
import type { PatchFeatures } from '../tasks/patchMatrix.js';
import { Call } from './call.js';
import { Connection, unsendable } from './connection.js';
import { embedAll } from './embedAll.js';
import { Handle, keepOwner, OwnedHandle } from './handles.js';
import { needPatchMap, similarityOptions, type GpuPatchMap } from './maps.js';
import { expectObject, files, handles, images, options, pixels, send, value, type Pack } from './packs.js';
import { ask, classes, classOf, remote, type PublicClass } from './remote.js';
import type { WorkerOptions } from './start.js';

/**
 * Options for loading a model in a worker: `LoadOptions` without a device and `onTrace`, which cannot be sent
 * to a worker.
 */
export type WorkerLoadOptions<Options extends LoadOptions = LoadOptions> = Omit<
  Options,
  'device' | 'onTrace'
> &
  WorkerOptions & {
    /** Not available, because a worker creates its own device. */
    readonly device?: undefined;
    /** Not available. With `debug: 'trace'`, the worker reports each task by `console.debug`. */
    readonly onTrace?: undefined;
  };

/** A group of images of a list that have the same size in pixels, and their features as one batch. */
export interface FeatureGroup {
  /** Positions of the group's images in the list of all images. */
  readonly indices: readonly number[];
  /** The features of the group's images, as one batch. */
  readonly features: Features;
}

/**
 * A type of `dinov2-webgpu` in which its classes are replaced by the classes of `dinov2-webgpu/worker`. The
 * parameter `PCA` is the worker's `PCA`, needed only for the members of `PCA` itself.
 */
type Swap<Type, PCA> =
  Type extends Promise<infer Value>
    ? Promise<Swap<Value, PCA>>
    : Type extends PagePCA
      ? PCA
      : Type extends PageClassifier
        ? ImageClassifier
        : Type extends ClassifierModel
          ? DINOv2
          : Type extends PageGpuPatchMap
            ? GpuPatchMap
            : Type extends PatchFeatures
              ? Features
              : Type extends readonly PatchFeatures[]
                ? readonly Features[]
                : Type extends PageFeatureGroup[]
                  ? FeatureGroup[]
                  : Type;

/**
 * The members of a class that `Names` lists, with their documentation. In their types, the classes of
 * `dinov2-webgpu` are replaced by those of `dinov2-webgpu/worker`.
 */
export type Moved<Class, Names extends keyof Class, PCA = never> = {
  readonly [Name in keyof Pick<Class, Names>]: Class[Name] extends (...args: infer Args) => infer Result
    ? (...args: { [Index in keyof Args]: Swap<Args[Index], PCA> }) => Swap<Result, PCA>
    : Swap<Class[Name], PCA>;
};

/** Static methods that load a model, with the options for loading a model in a worker. */
type Loaders = {
  readonly [
    Name in keyof Pick<typeof PageDINOv2, 'fromPretrained' | 'fromFiles' | 'synthetic'>
  ]: (typeof PageDINOv2)[Name] extends (from: infer From, options?: infer Options) => unknown
    ? (from: From, options?: WorkerLoadOptions<Options & LoadOptions>) => Promise<DINOv2>
    : never;
};

/** Features in the worker: `Features` of 'dinov2-webgpu' without `buffer` and `gpu`. */
export interface Features extends Handle, Omit<PageFeatures, 'buffer' | 'gpu' | 'lease' | 'similarity'> {
  /**
   * Computes the similarity of every patch to a query, as `similarity` of 'dinov2-webgpu'. The maps stay in the
   * worker.
   * @throws the errors of `similarity` of 'dinov2-webgpu'; OptionError OPTION_VALUE, if `against` is in another
   *   worker
   */
  similarity(
    query: SimilarityQuery,
    options: SimilarityOptions<readonly Features[]> & { readonly against: readonly Features[] },
  ): Promise<GpuPatchMap[]>;
  similarity(query: SimilarityQuery, options?: SimilarityOptions<Features>): Promise<GpuPatchMap>;
}
class RemoteFeatures extends remote<Omit<Features, 'attentionMap'>>(OwnedHandle, {
  clsToken: [],
  poolerOutput: [],
  registerTokens: [],
  patchTokens: [],
  lastHiddenState: [],
  hiddenState: [value, options],
  getIntermediateLayers: [value, options],
  attention: [value, options],
  similarity: [value, similarityOptions],
}) {
  async attentionMap(...args: unknown[]): Promise<unknown> {
    await needPatchMap();
    return ask(this, 'attentionMap', [value, options], args);
  }
}
const madeFeatures: unknown = RemoteFeatures;
/** Features in the worker, as the methods of a model return them. */
export const Features: PublicClass<Features> = madeFeatures as PublicClass<Features>;

/**
 * A classifier in the worker: `ImageClassifier` of 'dinov2-webgpu'. A classifier does not keep the worker
 * alive.
 */
export interface ImageClassifier
  extends Handle, Omit<PageClassifier, 'logits'>, Moved<PageClassifier, 'logits'> {}
/** A classifier in the worker. Use `model.classifier` or `ImageClassifier.fromFiles`. */
export const ImageClassifier: PublicClass<ImageClassifier> & Moved<typeof PageClassifier, 'fromFiles'> =
  Object.assign(
    remote<ImageClassifier>(Handle, {
      classify: [images, options],
      logits: [handles('Features')],
    }),
    {
      async fromFiles(model: DINOv2, given: object, settings: object = {}): Promise<ImageClassifier> {
        const where = 'ImageClassifier.fromFiles';
        const call = new Call(where, expectObject(where, 'DINOv2', model).connection);
        const packs = [handles('DINOv2'), files, options];
        const args = [model, given, settings];
        const made = (await send(
          call,
          classOf('ImageClassifier'),
          'fromFiles',
          packs,
          args,
        )) as ImageClassifier;
        keepOwner(made, model);
        return made;
      },
    },
  );

/**
 * A model in a worker: `DINOv2` of 'dinov2-webgpu' without `device`. `gpuBytes` is a promise, and features
 * have neither `buffer` nor `gpu`. The worker ends one second after its last model and its last features
 * were disposed of.
 */
export interface DINOv2
  extends
    Handle,
    Omit<
      PageDINOv2,
      'device' | 'gpuBytes' | 'classifier' | 'features' | 'featuresBySize' | 'forward' | 'live' | 'recover'
    >,
    Moved<PageDINOv2, 'classifier' | 'features' | 'featuresBySize' | 'forward'> {
  /**
   * Size in bytes of the buffers that the library holds on the worker's device.
   * @throws DeviceError DISPOSED
   */
  readonly gpuBytes: Promise<number>;
  /**
   * Computes features of a video continuously, as `live` of 'dinov2-webgpu'. The loop runs in the page, and
   * sends references to frames to the worker, without copying pixels. `onFrame` receives features in the
   * worker.
   * @throws the errors of `live` of 'dinov2-webgpu'; DeviceError WORKER_LOST
   */
  live(source: LiveSource, options: LiveOptions<Features>): Promise<LiveVideo>;
  /**
   * Recovers the model from the loss of its device, as `recover` of 'dinov2-webgpu' without an argument.
   * @throws the errors of `recover` of 'dinov2-webgpu'; DeviceError WORKER_LOST
   */
  recover(): Promise<void>;
}
class RemoteModel extends remote<Omit<DINOv2, 'gpuBytes' | 'embedAll' | 'live'>>(OwnedHandle, {
  features: [images, options],
  featuresBySize: [images, options],
  embed: [images, options],
  pixels: [images, options],
  profile: [images, options],
  forward: [pixels, value, options],
  fingerprint: [],
  memory: [value],
  health: [],
  report: [],
  describe: [value],
  tune: [options],
  recover: [],
}) {
  get gpuBytes(): Promise<number> {
    return ask(this, 'gpuBytes') as Promise<number>;
  }

  embedAll(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    given: EmbedAllOptions = {},
  ): AsyncGenerator<Embedded, void, undefined> {
    return embedAll(this, sources, given);
  }

  async live(source: LiveSource, given: LiveOptions<Features>): Promise<LiveVideo> {
    return (await loadPart(import('./live.js'))).live(this, source, given);
  }
}

const load =
  <Name extends keyof Loaders>(method: Name, pack: Pack): Loaders[Name] =>
  async (from: unknown, given: WorkerLoadOptions<PretrainedOptions> = {}) => {
    expectOptions(method, given);
    if (given.device !== undefined) throw unsendable('device', 'the worker creates its own GPUDevice');
    given.signal?.throwIfAborted();
    // Workers cannot request persistent storage, so the page requests it. The load does not wait for the
    // answer, which does not affect the load and may need a decision by the visitor.
    if (given.persist === true && given.cache !== 'none')
      void (globalThis.navigator?.storage as Partial<StorageManager> | undefined)
        ?.persist?.()
        .catch(() => undefined);
    const call = new Call(method, Connection.open(given));
    return (await send(call, classOf('DINOv2'), method, [pack, options], [from, given])) as DINOv2;
  };

/** A model in a worker. Load it with one of the static methods. */
export const DINOv2: PublicClass<DINOv2> & Loaders = Object.assign(RemoteModel, {
  fromPretrained: load('fromPretrained', value),
  fromFiles: load('fromFiles', files),
  synthetic: load('synthetic', value),
});

// One statement for all classes, so that a bundler does not drop a class of which the page uses no export.
Object.assign(classes, {
  DINOv2,
  Features,
  ImageClassifier,
  Profile,
});
