/** DINOv2 in a worker, as a page holds it. Computes nothing: every method is a question to the worker. */
import type { DINOv2 as PageDINOv2 } from '../dinov2.js';
import { Profile } from '../gpu/measure/profile.js';
import type { ImageSource } from '../image/source.js';
import type { DINOv2Config, ModelSize } from '../model/config.js';
import { expectOptions } from '../optionObject.js';
import type {
  BySizeOptions,
  EmbedAllOptions,
  FeatureOptions,
  ForwardOptions,
  LoadOptions,
  ModelFiles,
  PixelSize,
  PretrainedOptions,
} from '../options.js';
import type { Embedded } from '../tasks/embedAll.js';
import { Call, files, images, options, pixels, value, type Pack } from './call.js';
import { ImageClassifier } from './classifier.js';
import { Connection, unsendable } from './connection.js';
import { embedAll } from './embedAll.js';
import { Features } from './features.js';
import { OwnedHandle } from './handles.js';
import { ask, classes, classOf, remote, type RemoteClass } from './remote.js';
import type { WorkerOptions } from './start.js';

/** As `LoadOptions` of 'dinov2-webgpu'; a device cannot be sent to a worker. */
export type WorkerLoadOptions<Options extends LoadOptions = LoadOptions> = Omit<Options, 'device'> &
  WorkerOptions & { readonly device?: undefined };

/** Features of those images of a list that have one size. */
export interface FeatureGroup {
  readonly indices: readonly number[];
  readonly features: Features;
}

interface ModelApi extends Omit<
  PageDINOv2,
  'device' | 'gpuBytes' | 'embedAll' | 'classifier' | 'features' | 'featuresBySize' | 'forward'
> {
  /**
   * The checkpoint's own linear classifier (Hugging Face's `Dinov2ForImageClassification`, facebookresearch's
   * `linear_head`, timm's `head`), where it has one.
   */
  readonly classifier: ImageClassifier | undefined;
  /** As in 'dinov2-webgpu'. */
  features(image: ImageSource | readonly ImageSource[], options?: FeatureOptions): Promise<Features>;
  /** As in 'dinov2-webgpu'. */
  featuresBySize(images: readonly ImageSource[], options?: BySizeOptions): Promise<FeatureGroup[]>;
  /** As in 'dinov2-webgpu'. */
  forward(pixels: Float32Array, size: PixelSize, options?: ForwardOptions): Promise<Features>;
}

const RemoteModel: RemoteClass<ModelApi> = remote<ModelApi>(OwnedHandle, {
  features: [images, options],
  featuresBySize: [images, options],
  embed: [images, options],
  pixels: [images, options],
  profile: [images, options],
  forward: [pixels, value, options],
  fingerprint: [],
  describe: [value],
  tune: [options],
});

/**
 * What `DINOv2` of 'dinov2-webgpu' is, with decoding, preprocessing and forwards in a worker. What differs:
 * `gpuBytes` is a promise, `device` is not there, and features have neither `buffer` nor `gpu`. With the last
 * model and features the worker ends, a second later.
 */
export class DINOv2 extends RemoteModel {
  /** As in 'dinov2-webgpu'. @throws what that throws; DeviceError WORKER_LOST, WORKER_OPTION */
  static async fromPretrained(
    id: string | URL,
    given: WorkerLoadOptions<PretrainedOptions> = {},
  ): Promise<DINOv2> {
    return load('fromPretrained', value, id, given);
  }

  /**
   * As in 'dinov2-webgpu'. Bytes in memory are copied: hand in a File or Blob, of which nothing is, where
   * there are hundreds of megabytes.
   */
  static async fromFiles(given: ModelFiles, settings: WorkerLoadOptions = {}): Promise<DINOv2> {
    return load('fromFiles', files, given, settings);
  }

  /** As in 'dinov2-webgpu'. */
  static async synthetic(
    size: ModelSize | DINOv2Config,
    given: WorkerLoadOptions & { readonly registers?: boolean } = {},
  ): Promise<DINOv2> {
    return load('synthetic', value, size, given);
  }

  /** Bytes of the buffers that the library holds on the worker's device. @throws DeviceError DISPOSED */
  get gpuBytes(): Promise<number> {
    return ask(this, 'gpuBytes') as Promise<number>;
  }

  /**
   * As in 'dinov2-webgpu'. Nothing goes on while nobody asks for the next result; at most two batches of images
   * are with the worker.
   */
  embedAll(
    sources: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    given: EmbedAllOptions = {},
  ): AsyncGenerator<Embedded, void, undefined> {
    return embedAll(this, sources, given);
  }
}
// Here, and not beside each class: a bundler drops a file whose exports a page does not use.
Object.assign(classes, { DINOv2, Features, ImageClassifier, Profile });

async function load(
  method: string,
  pack: Pack,
  what: unknown,
  given: WorkerLoadOptions<PretrainedOptions>,
): Promise<DINOv2> {
  expectOptions(method, given);
  if (given.device !== undefined) throw unsendable('device', 'the worker makes a GPUDevice of its own');
  given.signal?.throwIfAborted();
  // Workers cannot ask for it. What the browser answers changes nothing of the load, and some ask the visitor,
  // whose answer no load waits for.
  if (given.persist === true && given.cache !== 'none')
    void (globalThis.navigator?.storage as Partial<StorageManager> | undefined)
      ?.persist?.()
      .catch(() => undefined);
  const call = new Call(method, Connection.open(given));
  return (await call.send(classOf('DINOv2'), method, [pack, options], [what, given])) as DINOv2;
}
