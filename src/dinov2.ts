/** The class `DINOv2`: connects the loader, the preprocessing, the forward pass and the tasks. */
import type { Health } from './health.js';
import type { Dtype } from './weights/precision.js';
import type { Embedder } from './embedder.js';
import type { Sessions } from './session/sessions.js';
import type { AdapterDescription } from './gpu/adapter.js';
import type { Profile } from './gpu/measure/profile.js';
import type { PixelOptions, Pixels } from './image/preprocess.js';
import type { Preprocessing } from './image/preprocessing.js';
import type { ImageSource } from './image/source.js';
import type { ReloadableModel } from './load/build.js';
import { checkConfig, configOf, type DINOv2Config, type ModelSize } from './model/config.js';
import type { Features } from './features.js';
import type { MemoryEstimate, MemoryInput } from './session/memory.js';
import { croppedPixels, gridOf, placementOfPixels } from './model/normalizedPixels.js';
import { parameterCount } from './model/parameters.js';
import { checkOptions } from './optionNames.js';
import { isBatch } from './optionObject.js';
import { loadPart } from './platform/part.js';
import type {
  BySizeOptions,
  EmbedAllOptions,
  EmbedOptions,
  FeatureGroup,
  FeatureOptions,
  ForwardOptions,
  LiveOptions,
  LoadOptions,
  LoadReport,
  ModelFiles,
  PixelSize,
  PretrainedOptions,
  TuneOptions,
  TuningReport,
} from './options.js';
import type { ImageClassifier } from './tasks/classifier.js';
import type { Embedded } from './tasks/embedAll.js';
import type { LiveVideo } from './tasks/live.js';
import type { LiveSource } from './tasks/liveSource.js';

/**
 * A DINOv2 vision transformer on the GPU. Make a model with `fromPretrained`, `fromFiles` or `synthetic`, and
 * call its `dispose()` when you no longer need the model.
 * @example
 * ```js
 * const model = await DINOv2.fromPretrained('facebook/dinov2-small');
 * const features = await model.features(file); // a File, Blob, URL, <img>, <canvas>, <video>, …
 * const tokens = await features.patchTokens(); // Float32Array (batch, rows · cols, embedDim)
 * features.dispose();
 * model.dispose();
 * ```
 */
export class DINOv2 {
  /** The configuration: depth, widths, patch size, registers. */
  readonly config: DINOv2Config;
  /**
   * Number type in which weight matrices are stored on the GPU. If the model was loaded with the `dtype`
   * `auto`: the type that the library chose.
   */
  readonly dtype: Dtype;
  /**
   * The reason for `dtype` when the model was loaded, as a sentence: the self-test's result, and the kernels
   * that the self-test rejected. `health` also says what `tune` chose later.
   */
  readonly dtypeReason: string;
  /** A report of the load: bytes from the network and the cache, tensor names, assumptions. */
  readonly loaded: LoadReport;
  /**
   * The default preprocessing of this model's images. Options of a call override the default. Its property
   * `source` names the file of the checkpoint that defines the preprocessing.
   */
  readonly preprocessing: Preprocessing;
  /**
   * The checkpoint's linear classifier. Undefined if the checkpoint has none. The classifier is read from
   * Hugging Face's `Dinov2ForImageClassification`, facebookresearch's `linear_head`, or timm's `head`.
   */
  readonly classifier: ImageClassifier | undefined;
  readonly #embedder: Embedder;
  readonly #sessions: Sessions;

  private constructor(
    engine: Engine,
    loaded: ReloadableModel,
    sessions: Sessions,
    classifierOf?: (model: DINOv2) => ImageClassifier,
  ) {
    const { config, precision, preprocessing, report } = loaded;
    this.config = config;
    this.preprocessing = preprocessing;
    this.dtype = precision.dtype;
    this.dtypeReason = precision.reason;
    this.loaded = report;
    this.#sessions = sessions;
    this.#embedder = new engine.Embedder(sessions, config.patchSize, preprocessing);
    this.classifier = classifierOf?.(this);
  }

  /**
   * Loads a checkpoint from the Hugging Face hub or from a folder. Weights stream to the GPU as they arrive.
   * Browsers store the files for the next load; see the option `cache`.
   *
   * A folder holds model.safetensors, or model.safetensors.index.json and its shards. config.json and
   * preprocessor_config.json are optional: without config.json, the configuration is derived from the tensors
   * and `loaded.assumed` lists the assumptions.
   * @param id an id on the hub such as `facebook/dinov2-small`, or the URL of a folder; in Node also a path
   *   (`./folder`)
   * @throws SourceError, SafetensorsError, ConfigError, CheckpointError, DeviceError, OptionError; the
   *   signal's reason
   * @example
   * ```js
   * const model = await DINOv2.fromPretrained('facebook/dinov2-base', {
   *   dtype: 'auto',
   *   onProgress: ({ loadedBytes, totalBytes }) => console.log(loadedBytes, totalBytes),
   * });
   * ```
   */
  static async fromPretrained(id: string | URL, options: PretrainedOptions = {}): Promise<DINOv2> {
    checkOptions('fromPretrained', options);
    const engine = await loadEngine();
    return DINOv2.#of(engine, await engine.loadPretrained(id, options));
  }

  /**
   * Loads a checkpoint from files: `File`, `FileSystemFileHandle`, bytes, stream or URL; in Node also a path.
   * @throws the errors of `fromPretrained`
   * @example
   * ```js
   * const model = await DINOv2.fromFiles({ config: configFile, weights: safetensorsFile });
   * ```
   */
  static async fromFiles(files: ModelFiles, options: LoadOptions = {}): Promise<DINOv2> {
    checkOptions('fromFiles', files ?? null);
    checkOptions('fromFiles', options);
    const engine = await loadEngine();
    return DINOv2.#of(engine, await engine.loadFiles(files, options));
  }

  /**
   * Makes a model of a published size with untrained weights, without a download. The model takes the same
   * time and memory as the trained model, so it is useful for tests and benchmarks. Its features have no
   * meaning.
   * @param size a published size, or a configuration of your own
   * @throws ConfigError, DeviceError, OptionError; the signal's reason
   * @example
   * ```js
   * const model = await DINOv2.synthetic('small', { registers: true });
   * ```
   */
  static async synthetic(
    size: ModelSize | DINOv2Config,
    options: LoadOptions & { readonly registers?: boolean } = {},
  ): Promise<DINOv2> {
    checkOptions('synthetic', options);
    const config =
      typeof size === 'string' ? configOf(size, { registers: options.registers ?? false }) : size;
    checkConfig(config, 'synthetic');
    const engine = await loadEngine();
    return DINOv2.#of(engine, await engine.loadSynthetic(config, options));
  }

  /**
   * Makes the model from loaded weights. Imports the classifier's module only if the checkpoint has a
   * classifier.
   */
  static async #of(engine: Engine, loaded: ReloadableModel): Promise<DINOv2> {
    const sessions = new engine.Sessions(loaded);
    try {
      const { head } = loaded;
      if (!head) return new DINOv2(engine, loaded, sessions);
      const { ImageClassifier: Classifier } = await loadPart(import('./tasks/classifier.js'));
      return new DINOv2(
        engine,
        loaded,
        sessions,
        (model) => new Classifier(model, head.head, head.labels, head.problemType),
      );
    } catch (error) {
      sessions.dispose();
      throw error;
    }
  }

  /** The adapter that the model runs on. */
  get adapter(): AdapterDescription {
    return this.#sessions.current.gpu.info;
  }

  /** The device that the model runs on. */
  get device(): GPUDevice {
    return this.#sessions.current.gpu.device;
  }

  /** Number of parameters of the model. */
  get parameterCount(): number {
    return parameterCount(this.config);
  }

  /**
   * Bytes of all buffers that the library holds on this device: weights and activations of all models,
   * features that are not disposed of, images in preparation. Activations stay allocated for the largest
   * input so far.
   */
  get gpuBytes(): number {
    return this.#sessions.current.gpu.memory.bytes;
  }

  /**
   * Computes the features of an image, or of several images as one batch.
   * @param image an image or an array of images. All images of a batch must have the same size after resizing
   * @throws ImageError if an image cannot be fetched, decoded or used; OptionError OPTION_VALUE, OPTION_NAME;
   *   DeviceError
   * @example
   * ```js
   * const features = await model.features(file, { resize: 'fit', longestSide: 518 });
   * console.log(features.rows, features.cols); // patches from top to bottom, and from left to right
   * features.dispose();
   * ```
   */
  async features(
    image: ImageSource | readonly ImageSource[],
    options: FeatureOptions = {},
  ): Promise<Features> {
    checkOptions('features', options);
    return this.#embedder.features(isBatch(image) ? image : [image], options);
  }

  /**
   * Computes the features of images that may differ in size, as with `resize: 'fit'`. Images of the same size
   * share a forward pass, and the features of each image have the same bits as if the image were computed
   * alone. Images are processed in order, `batchSize` at a time. Each batch gives one group for each image
   * size in the batch.
   * @throws the errors of `features`
   * @example
   * ```js
   * for (const { indices, features } of await model.featuresBySize(files, { resize: 'fit' })) {
   *   console.log(indices, await features.clsToken()); // (indices.length, embedDim)
   *   features.dispose();
   * }
   * ```
   */
  async featuresBySize(images: readonly ImageSource[], options: BySizeOptions = {}): Promise<FeatureGroup[]> {
    checkOptions('featuresBySize', options);
    return this.#embedder.groups(images, options);
  }

  /**
   * Computes one vector for an image, or an array of vectors for an array of images.
   *
   * A vector has `embedDim` values, or 2 · `embedDim` for the pooling `cls+mean`. By default, the vector is
   * scaled to length 1. The images of an array may differ in size. Images are computed in batches of 8; the
   * batch does not change the bits of a vector.
   * @throws the errors of `features`
   * @example
   * ```js
   * const [a, b] = await model.embed([fileA, fileB]);
   * console.log(cosineSimilarity(a, b));
   * ```
   */
  async embed(image: readonly ImageSource[], options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]>;
  async embed(image: ImageSource, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  async embed(
    image: ImageSource | readonly ImageSource[],
    options: EmbedOptions = {},
  ): Promise<Float32Array<ArrayBuffer> | Float32Array<ArrayBuffer>[]> {
    checkOptions('embed', options);
    this.#sessions.alive();
    const vectors = await this.#embedder.embed(isBatch(image) ? image : [image], options);
    return isBatch(image) ? vectors : vectors[0]!;
  }

  /**
   * Computes the vectors of any number of images, in order. The next images are decoded while the GPU
   * computes. The method holds at most two batches of images in memory.
   *
   * An image that cannot be used gives `{ index, error }` instead of `{ index, embedding }`; the iteration
   * continues. The method takes several files and URLs from the iterable ahead of time. It takes canvases,
   * videos and arrays of pixels one at a time, so the iterable may reuse a canvas, video or array.
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError; the signal's reason; an error of the iterable
   * @example
   * ```js
   * for await (const { index, embedding, error } of model.embedAll(files)) {
   *   if (error) console.warn(files[index].name, error.message);
   *   else vectors.set(files[index].name, embedding);
   * }
   * ```
   */
  async *embedAll(
    images: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: EmbedAllOptions = {},
  ): AsyncGenerator<Embedded, void, undefined> {
    checkOptions('embedAll', options);
    this.#sessions.alive();
    yield* this.#embedder.embedAll(images, options);
  }

  /**
   * Computes features of a video continuously. The newest frame wins: while two frames are in flight, a new
   * frame replaces the frame that waits. The pixels stay on the GPU, and nothing is read back.
   * @param source a <video>, a camera (`MediaStream` or track), or a stream of `VideoFrame`s
   * @returns the running live video. Errors reject its promise `finished`
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError DISPOSED; the signal's reason
   * @example
   * ```js
   * const live = await model.live(video, {
   *   resize: 'fit',
   *   longestSide: 224,
   *   onFrame: (features) => pca.drawTo(features, canvas),
   * });
   * live.finished.catch(showError);
   * stopButton.onclick = () => live.stop();
   * ```
   */
  async live(source: LiveSource, options: LiveOptions): Promise<LiveVideo> {
    checkOptions('live', options ?? null);
    this.#sessions.alive();
    const [{ startLive }, { prepareFrames }] = await loadPart(
      Promise.all([import('./tasks/live.js'), import('./image/frameUpload.js')]),
    );
    await prepareFrames(this.#sessions.current.gpu);
    this.#sessions.alive();
    return startLive(source, options, {
      features: (frame, signal) => this.features(frame, { ...options, signal }),
      computed: (signal) =>
        this.#sessions.run(({ gpu }) => gpu.task('live', signal, (task) => task.computed(true)), signal),
    });
  }

  /**
   * Prepares images without running the model. Returns normalised pixels, float32 (batch, 3, height, width),
   * with the same bits as Hugging Face's `BitImageProcessor` with Pillow.
   * @throws ImageError; OptionError OPTION_VALUE, OPTION_NAME; DeviceError
   */
  async pixels(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Pixels> {
    checkOptions('pixels', options);
    return this.#embedder.pixels(isBatch(image) ? image : [image], options);
  }

  /**
   * Runs the model on pixels that are already normalised.
   * @param pixels float32 (batch, 3, height, width), row-major. An 8-bit value v is normalised to (v / 255 -
   *   mean) / std. If a side is not a multiple of the patch size, the remaining pixels at the right or the
   *   bottom are ignored, as in Hugging Face's model.
   * @throws ImageError INPUT_SHAPE, INPUT_NOT_FINITE for the pixels; OptionError OPTION_VALUE, OPTION_NAME
   *   for `size` and `options`; DeviceError
   */
  async forward(pixels: Float32Array, size: PixelSize, options: ForwardOptions = {}): Promise<Features> {
    checkOptions('forward', size ?? null);
    checkOptions('forward', options);
    const { patchSize } = this.config;
    const grid = gridOf('forward', size, patchSize);
    const cropped = croppedPixels(pixels, size, grid, patchSize);
    const placement = placementOfPixels(size.width, size.height, patchSize);
    const placements = Array.from({ length: grid.batch }, () => placement);
    return this.#sessions.run(
      ({ forwards }) =>
        forwards.run(grid, placements, options, (burst, buffer) => burst.write(buffer, 0, cropped)),
      options.signal,
    );
  }

  /**
   * Computes a SHA-256 hash, in hexadecimal digits, that identifies the weights. Store the hash with vectors,
   * so that you never compare vectors made by different models.
   *
   * The hash of a checkpoint is the same for every `dtype`, for every source, and for the files into which
   * `dinov2-webgpu convert` converts the checkpoint. Further training changes the hash, even if it changes
   * only a few matrices. The hash covers the configuration, all vectors of parameters, and up to 2,048 values
   * of each matrix. So a change of a handful of weights may not change the hash.
   * @throws DeviceError
   */
  async fingerprint(): Promise<string> {
    return this.#sessions.run(async ({ gpu, weights }) => {
      const { fingerprintOf } = await loadPart(import('./model/fingerprint.js'));
      return fingerprintOf(gpu, this.config, weights);
    });
  }

  /**
   * Describes a forward pass as text: one line for each dispatch, and the memory of its buffers.
   * @param size size of the input. Default: one image of 224 × 224
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError
   */
  async describe(size: PixelSize = { height: 224, width: 224 }): Promise<string> {
    checkOptions('describe', size);
    const grid = gridOf('describe', size, this.config.patchSize);
    return this.#sessions.run(({ forwards }) => forwards.describe(grid));
  }

  /**
   * Predicts the GPU memory of a call before it is made, for images of `height` × `width` pixels after resizing.
   * Allocates nothing. Not included: the picture while it is prepared (up to 67 MB for a file, its size for pixels
   * in memory, twice its size for a canvas or video), and what other calls allocate meanwhile.
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError DISPOSED
   * @example
   * ```js
   * const { peakBytes } = await model.memory({ height: 1036, width: 1036, batch: 4 });
   * if (peakBytes > 2e9) console.warn('Use a smaller batch.');
   * ```
   */
  async memory(input: MemoryInput): Promise<MemoryEstimate> {
    return (await loadPart(import('./session/memory.js'))).memoryOf(this.#sessions, input);
  }

  /**
   * Measures each kernel of a forward pass: time, GFLOP/s, GB/s, and the share of the adapter's measured
   * maximum rate. Takes about a second on a GPU, and the time of several forward passes on a software
   * adapter. Also adds a `performance.measure` entry for each dispatch.
   * @throws the errors of `features`
   */
  async profile(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Profile> {
    checkOptions('profile', options);
    return this.#embedder.profile(isBatch(image) ? image : [image], options);
  }

  /**
   * Measures equivalent kernels on this adapter, and selects the fastest kernels for later calls. Equivalent
   * kernels give the same bits, so results do not change, unless the option `arithmetic` is true. Takes a second or two on a GPU. If an earlier visit
   * stored a result, the stored result is used without measuring. A software adapter has only one kernel for
   * each operation.
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError
   */
  async tune(options: TuneOptions = {}): Promise<TuningReport> {
    checkOptions('tune', options);
    const { tuneModel } = await loadPart(import('./session/tuneModel.js'));
    return tuneModel(this.#sessions, options, this.config.patchSize);
  }

  /**
   * Returns the health of the model as plain data: the self-test, the kernels that were rejected, a loss of the
   * device, and what is used instead of something that failed. Runs nothing on the GPU.
   * @throws DeviceError DISPOSED
   */
  async health(): Promise<Health> {
    const { healthOf } = await loadPart(import('./health.js'));
    return healthOf(this, this.#sessions);
  }

  /**
   * Writes a report to paste into an issue: library, browser, adapter, features, limits, kernels, health, and
   * the times of the load and of three forward passes, which take at most five seconds. The report contains no
   * address, no name of a file, and nothing about images.
   * @throws DeviceError DISPOSED
   */
  async report(): Promise<string> {
    const { reportOf } = await loadPart(import('./health.js'));
    return reportOf(this, this.#sessions);
  }

  /**
   * Recovers the model from the loss of its device, or moves it to another device. A model on the library's
   * own device recovers by itself when a method is called, at most twice a minute, so most pages never call
   * this method. Call it without an argument to recover before the next call, or after two losses within a
   * minute; if the device is not lost, this does nothing. A model on a device of yours needs a new device.
   * @param device a device of yours that replaces the model's device
   * @throws DeviceError DEVICE_LOST if the weights came from a stream, their files have changed or cannot be
   *   read, or the lost device is your own and `device` is missing; DEVICE_REFUSED if the browser provides no
   *   device; DISPOSED
   * @example
   * ```js
   * await model.recover(await adapter.requestDevice()); // for a model that was loaded with the option `device`
   * ```
   */
  async recover(device?: GPUDevice): Promise<void> {
    return this.#sessions.recover(this.#sessions.current, { device, byCaller: true });
  }

  /**
   * Frees the GPU memory of the model. Features that the model computed stay valid until they are disposed
   * of.
   */
  dispose(): void {
    this.#sessions.dispose();
  }

  /** Calls `dispose()` at the end of a block that declares the model with `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * The module with the code that loads and computes. The module is downloaded when the first model is loaded.
 */
type Engine = typeof import('./engine.js');
const loadEngine = (): Promise<Engine> => loadPart(import('./engine.js'));
