/** DINOv2 in a worker, as a page holds it. Computes nothing: every method is a question to the worker. */
import type { Dtype } from '../weights/precision.js';
import { DeviceError } from '../errors.js';
import type { AdapterDescription } from '../gpu/adapter.js';
import { Profile } from '../gpu/measure/profile.js';
import type { PixelOptions, Pixels } from '../image/preprocess.js';
import type { Preprocessing } from '../image/preprocessing.js';
import type { ImageSource } from '../image/source.js';
import type { DINOv2Config, ModelSize } from '../model/config.js';
import type {
  BySizeOptions,
  EmbedAllOptions,
  EmbedOptions,
  FeatureOptions,
  ForwardOptions,
  LoadOptions,
  LoadReport,
  ModelFiles,
  PixelSize,
  PretrainedOptions,
  TuneOptions,
  TuningReport,
} from '../options.js';
import type { ByteSource } from '../io/sources.js';
import { expectOptions } from '../optionObject.js';
import type { Embedded } from '../tasks/embedAll.js';
import { ImageClassifier } from './classifier.js';
import { Connection, type CallOptions } from './connection.js';
import { EmbedStream } from './embedStream.js';
import { Features } from './features.js';
import { baseUrl, compact, discard, sendImages } from './images.js';
import type { LoadRequest, ModelState, Operation, PageServices, Reply, Request } from './protocol.js';
import { modelPlaces } from './places.js';
import { PageStreams, refuseDevice, toSend } from './requests.js';
import type { WorkerOptions } from './start.js';
import { abandoned, disposalOfModel } from './unwanted.js';

/** As `LoadOptions` of 'dinov2-webgpu'; a device cannot be sent to a worker. */
export type WorkerLoadOptions<Options extends LoadOptions = LoadOptions> = Omit<Options, 'device'> &
  WorkerOptions & { readonly device?: undefined };

/** Features of those images of a list that have one size. */
export interface FeatureGroup {
  readonly indices: readonly number[];
  readonly features: Features;
}

/**
 * What `DINOv2` of 'dinov2-webgpu' is, with decoding, preprocessing and forwards in a worker: see there for
 * what methods do, give and throw. What differs: `gpuBytes` is a promise, `device` is not there, and features
 * have neither `buffer` nor `gpu`.
 */
export class DINOv2 {
  readonly config: DINOv2Config;
  readonly dtype: Dtype;
  readonly dtypeReason: string;
  readonly loaded: LoadReport;
  readonly preprocessing: Preprocessing;
  readonly classifier: ImageClassifier | undefined;
  readonly adapter: AdapterDescription;
  readonly parameterCount: number;
  readonly #connection: Connection;
  readonly #id: number;
  readonly #free: () => void;
  #disposed = false;

  private constructor(
    connection: Connection,
    {
      model,
      config,
      dtype,
      dtypeReason,
      loaded,
      preprocessing,
      adapter,
      parameterCount,
      classifier,
    }: ModelState,
  ) {
    this.#connection = connection;
    this.#id = model;
    this.config = config;
    this.dtype = dtype;
    this.dtypeReason = dtypeReason;
    this.loaded = loaded;
    this.preprocessing = preprocessing;
    this.adapter = adapter;
    this.parameterCount = parameterCount;
    this.classifier = classifier && new ImageClassifier(connection, classifier, this);
    modelPlaces.set(this, { connection, id: model });
    connection.retain();
    this.#free = () => {
      connection.tell(disposalOfModel(model));
      connection.release();
    };
    abandoned.register(this, this.#free, this);
  }

  /** As in 'dinov2-webgpu'. @throws what that throws; DeviceError WORKER_LOST, WORKER_OPTION */
  static async fromPretrained(
    id: string | URL,
    options: WorkerLoadOptions<PretrainedOptions> = {},
  ): Promise<DINOv2> {
    const {
      options: { persist, baseUrl: host, ...rest },
    } = toSend('fromPretrained', options);
    const { fetch } = options;
    // Workers cannot ask for it. What the browser answers changes nothing of the load, and some ask the
    // visitor, whose answer no load waits for.
    if (persist === true && options.cache !== 'none')
      void (globalThis.navigator?.storage as Partial<StorageManager> | undefined)
        ?.persist?.()
        .catch(() => undefined);
    const how = {
      kind: 'pretrained' as const,
      id: String(id),
      options: { ...rest, ...(host === undefined ? {} : { baseUrl: String(host) }) },
    };
    return DINOv2.#load(how, options, new PageStreams(), fetch);
  }

  /**
   * As in 'dinov2-webgpu'. Bytes in memory are copied: hand in a File or Blob, of which nothing is, where
   * there are hundreds of megabytes.
   */
  static async fromFiles(files: ModelFiles, options: WorkerLoadOptions = {}): Promise<DINOv2> {
    expectOptions('fromFiles', files ?? null);
    const { weights, ...others } = files;
    const streams = new PageStreams();
    const list = Array.isArray(weights) ? (weights as readonly ByteSource[]) : [weights as ByteSource];
    const json = Object.fromEntries(Object.entries(others).map(([name, value]) => [name, jsonToSend(value)]));
    return DINOv2.#load(
      {
        kind: 'files',
        files: json,
        weights: list.map((file) => streams.source(file)),
        options: toSend('fromFiles', options).options,
      },
      options,
      streams,
    );
  }

  static async synthetic(
    size: ModelSize | DINOv2Config,
    options: WorkerLoadOptions & { readonly registers?: boolean } = {},
  ): Promise<DINOv2> {
    return DINOv2.#load(
      { kind: 'synthetic', size, options: toSend('synthetic', options).options },
      options,
      new PageStreams(),
    );
  }

  static async #load(
    how: LoadRequest['how'],
    options: WorkerLoadOptions,
    streams: PageStreams,
    fetch?: typeof globalThis.fetch,
  ): Promise<DINOv2> {
    refuseDevice(options);
    const { signal, onProgress } = options;
    signal?.throwIfAborted();
    const connection = Connection.open(options);
    const services: PageServices = {
      ...streams.services(fetch),
      ...(onProgress
        ? { progress: async (progress) => ({ value: onProgress(progress), transfer: [] }) }
        : {}),
    };
    const request = { how, base: baseUrl(), progress: onProgress !== undefined, fetch: fetch !== undefined };
    try {
      return new DINOv2(connection, await connection.call('load', request, { signal, services }));
    } catch (error) {
      streams.end(error);
      throw error;
    }
  }

  /** Bytes of the buffers that the library holds on the worker's device. @throws DeviceError DISPOSED */
  get gpuBytes(): Promise<number> {
    return this.#ask(() => this.#call('gpuBytes', { model: this.#id }));
  }

  async features(image: ImageSource | readonly ImageSource[], given: FeatureOptions = {}): Promise<Features> {
    const { options, signal } = toSend('features', given);
    const { images, transfer } = await this.#send(image, signal);
    return new Features(
      this.#connection,
      await this.#call(
        'features',
        { model: this.#id, images, options: withMask(options) },
        { signal, transfer },
      ),
    );
  }

  async featuresBySize(images: readonly ImageSource[], given: BySizeOptions = {}): Promise<FeatureGroup[]> {
    const { options, signal } = toSend('featuresBySize', given);
    const { images: sent, transfer } = await this.#send(images, signal);
    const list = Array.isArray(sent) ? sent : [sent];
    const groups = await this.#call(
      'featuresBySize',
      { model: this.#id, images: list, options },
      { signal, transfer },
    );
    return groups.map(({ indices, features }) => ({
      indices,
      features: new Features(this.#connection, features),
    }));
  }

  async embed(image: readonly ImageSource[], options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]>;
  async embed(image: ImageSource, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  async embed(
    image: ImageSource | readonly ImageSource[],
    given: EmbedOptions = {},
  ): Promise<Float32Array<ArrayBuffer> | Float32Array<ArrayBuffer>[]> {
    const { options, signal } = toSend('embed', given);
    const { images, transfer } = await this.#send(image, signal);
    return this.#call('embed', { model: this.#id, images, options }, { signal, transfer });
  }

  /**
   * Nothing goes on while nobody asks for the next result; at most two batches of images are with the worker.
   */
  async *embedAll(
    images: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    given: EmbedAllOptions = {},
  ): AsyncGenerator<Embedded, void, undefined> {
    const { options, signal } = toSend('embedAll', given);
    this.#alive();
    const stream = new EmbedStream(images, signal);
    yield* stream.results(
      this.#call('embedAll', { model: this.#id, options }, { signal, services: stream.services }),
    );
  }

  async pixels(image: ImageSource | readonly ImageSource[], given: PixelOptions = {}): Promise<Pixels> {
    const { options, signal } = toSend('pixels', given);
    const { images, transfer } = await this.#send(image, signal);
    return this.#call('pixels', { model: this.#id, images, options }, { signal, transfer });
  }

  async forward(pixels: Float32Array, size: PixelSize, given: ForwardOptions = {}): Promise<Features> {
    const { options, signal } = toSend('forward', given);
    this.#alive();
    const own = pixels instanceof Float32Array ? pixels.slice() : pixels; // the caller may refill its array; anything else is refused there
    const transfer = pixels instanceof Float32Array ? [own.buffer as ArrayBuffer] : [];
    const request = { model: this.#id, pixels: own, size, options: withMask(options) };
    return new Features(this.#connection, await this.#call('forward', request, { signal, transfer }));
  }

  async fingerprint(): Promise<string> {
    return this.#ask(() => this.#call('fingerprint', { model: this.#id }));
  }

  async describe(size?: PixelSize): Promise<string> {
    return this.#ask(() => this.#call('describe', { model: this.#id, size }));
  }

  async profile(image: ImageSource | readonly ImageSource[], given: PixelOptions = {}): Promise<Profile> {
    const { options, signal } = toSend('profile', given);
    const { images, transfer } = await this.#send(image, signal);
    return new Profile(
      await this.#call('profile', { model: this.#id, images, options }, { signal, transfer }),
    );
  }

  async tune(given: TuneOptions = {}): Promise<TuningReport> {
    const { options, signal } = toSend('tune', given);
    const { store } = given;
    const services: PageServices = store
      ? {
          getTuning: async ({ key }) => ({ value: await store.get(key), transfer: [] }),
          setTuning: async ({ key, value }) => ({ value: await store.set(key, value), transfer: [] }),
        }
      : {};
    const request = {
      model: this.#id,
      store: store === undefined ? ('default' as const) : store && ('page' as const),
      options,
    };
    return this.#ask(() => this.#call('tune', request, { signal, services }));
  }

  /**
   * Frees what the model holds on the GPU; with the last model and features the worker ends, a second later.
   * Features stay valid.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    abandoned.unregister(this);
    this.#free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async #send(
    image: ImageSource | readonly ImageSource[],
    signal: AbortSignal | undefined,
  ): Promise<{ images: Awaited<ReturnType<typeof sendImages>>['value']; transfer: Transferable[] }> {
    this.#alive();
    signal?.throwIfAborted();
    const { value, transfer } = await sendImages(image);
    if (this.#disposed) discard(transfer);
    this.#alive();
    return { images: value, transfer };
  }

  #call<Name extends Operation>(
    operation: Name,
    request: Request<Name>,
    options: CallOptions = {},
  ): Promise<Reply<Name>> {
    return this.#connection.call(operation, request, { ...options, holding: [this] });
  }

  async #ask<T>(call: () => Promise<T>): Promise<T> {
    this.#alive();
    return call();
  }

  #alive(): void {
    if (this.#disposed) throw new DeviceError('DISPOSED', 'This model was disposed of. Load it again.');
  }
}

/** config.json and the like: objects and files can be sent, URLs as their text. */
const jsonToSend = (json: unknown): unknown =>
  json instanceof URL ? json.href : json instanceof Uint8Array ? compact(json) : json;

function withMask<Options extends ForwardOptions>(options: Options): Options {
  const { maskedPatches } = options;
  return maskedPatches instanceof Uint8Array
    ? { ...options, maskedPatches: compact(maskedPatches) }
    : options;
}
