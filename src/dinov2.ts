/** DINOv2: puts loader, model, image and GPU together. Computes nothing itself. */
import type { Dtype } from './weights/precision.js';
import type { Weights } from './weights/weightMemory.js';
import type { Embedder } from './embedder.js';
import { DeviceError, ImageError, modelDisposed, OptionError } from './errors.js';
import type { Forwards } from './session/forwards.js';
import type { Gpu } from './gpu/device.js';
import type { AdapterDescription } from './gpu/adapter.js';
import type { Profile } from './gpu/measure/profile.js';
import type { PixelOptions, Pixels, Preprocessor } from './image/preprocess.js';
import type { Preprocessing } from './image/preprocessing.js';
import type { ImageSource } from './image/source.js';
import type { LoadedModel } from './load/build.js';
import { checkConfig, configOf, type DINOv2Config, type ModelSize } from './model/config.js';
import type { Features } from './model/features.js';
import { parameterCount } from './model/parameters.js';
import type { Grid } from './model/vit.js';
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

export class DINOv2 {
  readonly config: DINOv2Config;
  /** How the matrices are stored: what `auto` has become. */
  readonly dtype: Dtype;
  /** Why, in a sentence: the self-test's result, and what it made the loader pass over. */
  readonly dtypeReason: string;
  /** How the weights came: from the network or the cache, and what is kept. */
  readonly loaded: LoadReport;
  /**
   * What is done to an image before the model sees it, where a call's options do not say otherwise; `source` says
   * which of the checkpoint's files it comes from.
   */
  readonly preprocessing: Preprocessing;
  /**
   * The checkpoint's own linear classifier (Hugging Face's `Dinov2ForImageClassification`, facebookresearch's
   * `linear_head`, timm's `head`), where it has one.
   */
  readonly classifier: ImageClassifier | undefined;
  readonly #gpu: Gpu;
  readonly #weights: Weights;
  readonly #preprocessor: Preprocessor;
  readonly #forwards: Forwards;
  readonly #embedder: Embedder;
  #disposed = false;

  private constructor(
    engine: Engine,
    loaded: LoadedModel,
    classifierOf?: (model: DINOv2) => ImageClassifier,
  ) {
    const { gpu, config, precision, target, weights, preprocessor, report } = loaded;
    this.config = config;
    this.preprocessing = loaded.preprocessing;
    this.dtype = precision.dtype;
    this.dtypeReason = precision.reason;
    this.loaded = report;
    this.#gpu = gpu;
    this.#weights = weights;
    this.#preprocessor = preprocessor;
    this.#forwards = new engine.Forwards(gpu, config, target, weights);
    this.#embedder = new engine.Embedder(
      gpu,
      preprocessor,
      this.#forwards,
      config.patchSize,
      loaded.preprocessing,
    );
    this.classifier = classifierOf?.(this);
  }

  /**
   * Loads a checkpoint by its id on the Hugging Face hub (`facebook/dinov2-small`), or from a folder's URL
   * that holds config.json and model.safetensors, or model.safetensors.index.json and the files that it
   * names; in Node also from a folder of the machine (`./folder`). Where there is no config.json, the tensors
   * say what the model is, and `loaded.assumed` what they cannot say. The folder's preprocessor_config.json, where
   * there is one, says how images become pixels. Weights go to the GPU as they arrive; in browsers they are kept,
   * see `cache`.
   * @throws SourceError, SafetensorsError, ConfigError, CheckpointError, DeviceError; or the signal's reason
   */
  static async fromPretrained(id: string | URL, options: PretrainedOptions = {}): Promise<DINOv2> {
    checkOptions('fromPretrained', options);
    const engine = await loadEngine();
    return DINOv2.#of(engine, await engine.loadPretrained(id, options));
  }

  /**
   * Loads a checkpoint from files: a dropped `File`, a `FileSystemFileHandle`, bytes, a stream, a URL; in
   * Node a path. Errors as `fromPretrained`.
   */
  static async fromFiles(files: ModelFiles, options: LoadOptions = {}): Promise<DINOv2> {
    checkOptions('fromFiles', files ?? null);
    checkOptions('fromFiles', options);
    const engine = await loadEngine();
    return DINOv2.#of(engine, await engine.loadFiles(files, options));
  }

  /**
   * A model of a published size with weights by formula (test/fixtures/reference/README.md): nothing is
   * downloaded, and it costs what the real one costs. Its features mean nothing.
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

  /** Also loads the part of the library that classifies, where the checkpoint has a classifier. */
  static async #of(engine: Engine, loaded: LoadedModel): Promise<DINOv2> {
    try {
      const { head } = loaded;
      if (!head) return new DINOv2(engine, loaded);
      const { ImageClassifier: Classifier } = await loadPart(import('./tasks/classifier.js'));
      return new DINOv2(
        engine,
        loaded,
        (model) => new Classifier(model, head.head, head.labels, head.problemType),
      );
    } catch (error) {
      freeLoaded(loaded);
      throw error;
    }
  }

  /** What the model runs on. */
  get adapter(): AdapterDescription {
    return this.#gpu.info;
  }

  get device(): GPUDevice {
    return this.#gpu.device;
  }

  /** Numbers in the model. */
  get parameterCount(): number {
    return parameterCount(this.config);
  }

  /**
   * Bytes of the buffers that the library holds on this device: the weights of its models, activations (those
   * of the largest input so far, until `dispose()`), a table of positions for each of the last eight input
   * sizes, features that are alive, images on their way.
   */
  get gpuBytes(): number {
    return this.#gpu.memory.bytes;
  }

  /**
   * Features of one image, or of a batch of images that have one size once they are resized.
   * @throws ImageError if an image cannot be fetched, decoded or used; OptionError OPTION_VALUE, OPTION_NAME;
   *   DeviceError
   */
  async features(
    image: ImageSource | readonly ImageSource[],
    options: FeatureOptions = {},
  ): Promise<Features> {
    checkOptions('features', options);
    return this.#whileAlive(async () => {
      const images = isBatch(image) ? image : [image];
      const { patchSize } = this.config;
      // Kept, so that nothing waits for its verdict: the features carry it.
      const { buffer, batch, height, width } = await this.#gpu.task(
        'features',
        options.signal,
        async (task) => {
          const made = await this.#preprocessor.batch(task, images, options);
          task.keep(made.buffer);
          return made;
        },
      );
      try {
        return await this.#forwards.run(
          { batch, rows: height / patchSize, cols: width / patchSize },
          options,
          (burst, pixels) => burst.copy(buffer, 0, pixels, 0, buffer.size),
        );
      } finally {
        this.#gpu.memory.destroy(buffer);
      }
    });
  }

  /**
   * Features of images that may differ in size, as with `resize: 'fit'`: those of one size share a forward,
   * and have the same bits as if each were alone. Images are taken in batches of `batchSize`, in their order; a
   * batch gives one group a size. Dispose of the features of every group. Errors as `features`.
   */
  async featuresBySize(images: readonly ImageSource[], options: BySizeOptions = {}): Promise<FeatureGroup[]> {
    checkOptions('featuresBySize', options);
    return this.#whileAlive(() => this.#embedder.groups(images, options));
  }

  /**
   * One vector for an image (embedDim, or 2 · embedDim for `cls+mean`); an array of images gives an array of
   * vectors, in its order. With `resize: 'fit'` they may differ in size: those of one size share a forward,
   * and an image's vector has the same bits as if it were alone. Arrays are computed in batches of 8, so that
   * their length costs no memory on the GPU.
   */
  async embed(image: readonly ImageSource[], options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]>;
  async embed(image: ImageSource, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  async embed(
    image: ImageSource | readonly ImageSource[],
    options: EmbedOptions = {},
  ): Promise<Float32Array<ArrayBuffer> | Float32Array<ArrayBuffer>[]> {
    checkOptions('embed', options);
    return this.#whileAlive(async () => {
      const vectors = await this.#embedder.embed(isBatch(image) ? image : [image], options);
      return isBatch(image) ? vectors : vectors[0]!;
    });
  }

  /**
   * Vectors of any number of images, in their order; the next images are decoded, several at the same time,
   * while the model is at work. At most two batches of images are held. A file or URL may be asked for before
   * the one ahead of it is decoded; a canvas, video or array that the iterable fills anew is not. An image that
   * cannot be used gives `{ index, error }` instead of `{ index, embedding }`, and the rest goes on; what is
   * thrown has ended it all.
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError; the signal's reason; what
   *   the iterable throws
   */
  async *embedAll(
    images: Iterable<ImageSource> | AsyncIterable<ImageSource>,
    options: EmbedAllOptions = {},
  ): AsyncGenerator<Embedded, void, undefined> {
    checkOptions('embedAll', options);
    this.#alive();
    yield* this.#embedder.embedAll(images, options);
  }

  /**
   * What the model sees of an image, or of a batch: normalised pixels, with the same bits as Hugging Face's
   * BitImageProcessor on Pillow.
   */
  async pixels(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Pixels> {
    checkOptions('pixels', options);
    return this.#whileAlive(() => this.#preprocessor.read(isBatch(image) ? image : [image], options));
  }

  /**
   * The forward of pixels that are normalised already.
   * @param pixels float32 (batch, 3, height, width), row-major, each colour (value / 255 - mean) / std. Where
   *   a side is no multiple of the patch size, the remainder on the right and at the bottom is dropped, as in
   *   Hugging Face's model.
   * @throws ImageError INPUT_SHAPE, INPUT_NOT_FINITE for the pixels; OptionError OPTION_VALUE, OPTION_NAME for
   *   `size` and `options`; DeviceError
   */
  async forward(pixels: Float32Array, size: PixelSize, options: ForwardOptions = {}): Promise<Features> {
    checkOptions('forward', size ?? null);
    checkOptions('forward', options);
    const { patchSize } = this.config;
    const { height, width, batch = 1 } = size;
    const grid = gridOf('forward', size, patchSize);
    if (!(pixels instanceof Float32Array)) {
      throw new ImageError(
        'INPUT_SHAPE',
        `forward: expected a Float32Array of normalised pixels, found ${Object.prototype.toString.call(pixels)}. Convert it, or hand the image to features().`,
      );
    }
    if (pixels.length !== batch * 3 * height * width) {
      throw new ImageError(
        'INPUT_SHAPE',
        `forward: expected ${batch} × 3 × ${height} × ${width} = ${batch * 3 * height * width} values, found ${pixels.length}. Pixels are (batch, 3, height, width).`,
      );
    }
    const bad = pixels.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new ImageError(
        'INPUT_NOT_FINITE',
        `forward: expected finite pixels, found ${pixels[bad]} at index ${bad}. Check the normalisation.`,
      );
    const cropped = cropToPatches(
      pixels,
      batch * 3,
      height,
      width,
      grid.rows * patchSize,
      grid.cols * patchSize,
    );
    return this.#forwards.run(grid, options, (burst, buffer) => burst.write(buffer, 0, cropped));
  }

  /**
   * SHA-256 (hexadecimal) of the configuration, of the parameters that are float32 in every `dtype`, and of a
   * sample of the matrices' values as the checkpoint has them: the same for one checkpoint in every `dtype`
   * and wherever it came from, and for what `dinov2-webgpu convert` makes of it; another for one that was
   * trained further, be it by an adapter that was merged into a few matrices. Of each matrix up to 2,048
   * values are looked at: an edit of a handful of weights may go unseen. For those who keep what a model
   * made, and must not mix models.
   * @throws DeviceError
   */
  async fingerprint(): Promise<string> {
    return this.#whileAlive(async () => {
      const { fingerprintOf } = await loadPart(import('./model/fingerprint.js'));
      return fingerprintOf(this.#gpu, this.config, this.#weights);
    });
  }

  /**
   * The plan of a forward, one line a dispatch, and the bytes that sharing buffers saves. Default size: 224 ×
   * 224, one image.
   */
  async describe(size: PixelSize = { height: 224, width: 224 }): Promise<string> {
    checkOptions('describe', size);
    const grid = gridOf('describe', size, this.config.patchSize);
    return this.#forwards.describe(grid);
  }

  /**
   * Where the time of a forward of this image, or batch, goes: every kernel's time, GFLOP/s, GB/s and share
   * of what this adapter does at best, which is measured too. On a GPU it takes about a second, on a
   * processor several forwards. Each dispatch is a `performance.measure` entry as well.
   * @throws as `features`
   */
  async profile(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Profile> {
    checkOptions('profile', options);
    return this.#whileAlive(async () => {
      const images = isBatch(image) ? image : [image];
      return this.#gpu.task('profile', options.signal, async (task) => {
        const { buffer, batch, height, width } = await this.#preprocessor.batch(task, images, options);
        const grid = { batch, rows: height / this.config.patchSize, cols: width / this.config.patchSize };
        return this.#forwards.profile(grid, buffer, options.signal);
      });
    });
  }

  /**
   * Chooses the fastest kernels for this model on this adapter, among those that give the same bits, by
   * measuring them: in a second or two on a GPU, at once where it was done before. On a processor there is
   * nothing to choose. Features stay what they are, bit for bit.
   * @throws OptionError OPTION_VALUE, OPTION_NAME; DeviceError
   */
  async tune(options: TuneOptions = {}): Promise<TuningReport> {
    const { sizesPx = [224, 518], store, signal } = checkOptions('tune', options);
    const wrong = sizesPx.find((px) => !Number.isInteger(px) || px < this.config.patchSize);
    if (wrong !== undefined || sizesPx.length === 0) {
      throw new OptionError(
        'OPTION_VALUE',
        `tune: expected sides of images in whole pixels, from ${this.config.patchSize} on, found ${String(wrong ?? 'none')}.`,
      );
    }
    return this.#whileAlive(async () => {
      const { defaultStore } = await loadPart(import('./gpu/measure/tuningStore.js'));
      return this.#forwards.tune(
        sizesPx,
        (store === undefined ? defaultStore() : store) || undefined,
        signal,
      );
    });
  }

  /**
   * Frees what the model holds on the GPU. Features that it gave stay valid until they are disposed of
   * themselves.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    void this.#forwards
      .dispose()
      .then(() => freeLoaded({ gpu: this.#gpu, preprocessor: this.#preprocessor, weights: this.#weights }));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #alive(): void {
    if (this.#disposed) throw modelDisposed();
  }

  /**
   * Runs what outlasts an await; where the model is disposed of meanwhile, that is the error, whatever fell
   * first.
   */
  async #whileAlive<T>(task: () => Promise<T>): Promise<T> {
    this.#alive();
    try {
      return await task();
    } catch (error) {
      if (error instanceof DeviceError) this.#alive();
      throw error;
    }
  }
}

/** What a model loads and computes with. It starts to download when the first load begins. */
type Engine = typeof import('./engine.js');
const loadEngine = (): Promise<Engine> => loadPart(import('./engine.js'));

/** Frees what a load has made. */
function freeLoaded({
  gpu,
  preprocessor,
  weights,
}: Pick<LoadedModel, 'gpu' | 'preprocessor' | 'weights'>): void {
  preprocessor.dispose();
  for (const buffer of weights.buffers.values()) gpu.memory.destroy(buffer);
  gpu.release();
}

/** The patches of a batch of images: whole ones, the remainder is dropped. */
function gridOf(where: string, { height, width, batch = 1 }: PixelSize, patchSize: number): Grid {
  if (![height, width, batch].every((extent) => Number.isInteger(extent) && extent > 0)) {
    throw new OptionError(
      'OPTION_VALUE',
      `${where}: expected whole numbers of pixels and images from 1, found height ${height}, width ${width}, batch ${batch}.`,
    );
  }
  const grid = { batch, rows: Math.floor(height / patchSize), cols: Math.floor(width / patchSize) };
  if (grid.rows >= 1 && grid.cols >= 1) return grid;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected at least one patch of ${patchSize} × ${patchSize}, found an image of ${height} × ${width}. Enlarge it.`,
  );
}

/**
 * The top left rows × cols of every plane. A copy in any case: the caller may refill its array while the
 * forward waits for its turn.
 */
function cropToPatches(
  pixels: Float32Array,
  planes: number,
  height: number,
  width: number,
  rows: number,
  cols: number,
): Float32Array<ArrayBuffer> {
  if (rows === height && cols === width) return Float32Array.from(pixels);
  const out = new Float32Array(planes * rows * cols);
  for (let plane = 0; plane < planes; plane++) {
    for (let row = 0; row < rows; row++) {
      const from = (plane * height + row) * width;
      out.set(pixels.subarray(from, from + cols), (plane * rows + row) * cols);
    }
  }
  return out;
}
