/** DINOv2: puts loader, model, image and GPU together. Computes nothing itself. */
import { syntheticStream } from './checkpoint/synthetic.js';
import { huggingFaceTensors } from './checkpoint/names.js';
import { choosePrecision, type Dtype, type Precision } from './checkpoint/precision.js';
import { watchForHead, type LinearHead } from './checkpoint/head.js';
import { locate, type HubOptions } from './checkpoint/hub.js';
import { readAll, type ByteSource } from './checkpoint/sources.js';
import { openTensors, type TensorStream } from './checkpoint/tensorStream.js';
import { loadWeights, type Weights } from './checkpoint/weights.js';
import { CheckpointError, ConfigError, DeviceError, ImageError } from './errors.js';
import { acquireGpu, type AdapterDescription, type Gpu } from './gpu/device.js';
import type { Target } from './gpu/lowering.js';
import { profileProgram, type Profile } from './gpu/profiler.js';
import { Program, SlotPool } from './gpu/program.js';
import { elementCount, type Value } from './graph/graph.js';
import { checkResize } from './image/geometry.js';
import { Preprocessor, type PixelOptions, type Pixels } from './image/preprocess.js';
import type { ImageSource } from './image/source.js';
import { configOf, inferConfig, nativeGrid, parseConfig, type DINOv2Config, type ModelSize, type PosEmbedConvention } from './model/config.js';
import { Features, type Kept } from './model/features.js';
import { parameterCount, parameters } from './model/parameters.js';
import { interpolatePosEmbed } from './model/posEmbed.js';
import { buildForward, countTokens, type Forward, type Grid, type Wanted } from './model/vit.js';
import { ImageClassifier, type ClassLabels } from './tasks/classifier.js';
import { embedInBatches, type Embedded } from './tasks/embedAll.js';
import { checkPooling, normalize, pool, type Pooling } from './tasks/pooling.js';

/** What a load has done so far. */
export interface LoadProgress {
  readonly loadedBytes: number;
  /** Undefined where the source does not say how long it is. */
  readonly totalBytes: number | undefined;
  readonly loadedTensors: number;
  readonly totalTensors: number;
}

export interface LoadOptions {
  /**
   * How matrices are stored on the GPU: `fp32`; `fp16`, half the memory; `int8`, a quarter; `auto`, fp16 where the self-test holds on this adapter,
   * else fp32. Sums and everything between layers are f32 in all of them. Default: `fp32`, Python's numbers.
   */
  readonly dtype?: 'auto' | Dtype | undefined;
  /** Tests every kernel against numbers computed here before it is trusted, once a device and dtype, in tenths of a second. Default: true. */
  readonly selfTest?: boolean | undefined;
  /**
   * How position embeddings are brought to another grid. Default: as the checkpoint's dialect has it, Hugging Face's or facebookresearch's own.
   * For facebookresearch's numbers from Hugging Face's files without registers: `offset`.
   */
  readonly posEmbed?: PosEmbedConvention | undefined;
  /** A device of the caller's; it is neither lost track of nor destroyed here. Default: one that all models of the page share. */
  readonly device?: GPUDevice | undefined;
  /** Stops the load; the promise rejects with the signal's reason, and nothing stays behind on the GPU. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

export interface PretrainedOptions extends LoadOptions, HubOptions {}

/** A checkpoint that is at hand already. */
export interface ModelFiles {
  /** config.json: its object, its text, or a file of it. Without it the configuration is read from the tensors' names and shapes. */
  readonly config?: object | Blob | string | undefined;
  /** The safetensors file. */
  readonly weights: ByteSource;
}

export interface ForwardOptions {
  /** Hidden states to keep: 0 is what enters the first block, `i` what leaves the i-th, up to `depth`. Default: none. */
  readonly layers?: readonly number[] | undefined;
  /** Blocks whose attention can be asked for: 0 to `depth` - 1, as in Hugging Face's `attentions`. Default: none. */
  readonly attentions?: readonly number[] | undefined;
  /**
   * `bool_masked_pos`: for every patch of every image, (batch, rows · cols), whether the mask token stands in for it. Needs a checkpoint with a
   * mask token, which all published ones are.
   */
  readonly maskedPatches?: readonly boolean[] | Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How an image becomes pixels, and what to keep of the forward. */
export interface FeatureOptions extends PixelOptions, ForwardOptions {}

export interface EmbedOptions extends PixelOptions {
  /** Default: `cls`. */
  readonly pooling?: Pooling | undefined;
  /** Scale to length 1, so that a dot product is a cosine. Default: true. */
  readonly normalize?: boolean | undefined;
}

export interface EmbedAllOptions extends EmbedOptions {
  /** Images in a forward, where they have one size. Default: 8. */
  readonly batchSize?: number | undefined;
}

/** Normalised pixels: float32 (batch, 3, height, width). */
export interface PixelSize {
  readonly height: number;
  readonly width: number;
  /** Default: 1. */
  readonly batch?: number | undefined;
}

/** A checkpoint about to be read. Where it brings no configuration, its tensors' shapes give it. */
interface Checkpoint {
  readonly config?: DINOv2Config | undefined;
  /** Names of a classifier's classes. */
  readonly labels?: ClassLabels | undefined;
  readonly stream: TensorStream;
}

type ByteProgress = (progress: Pick<LoadProgress, 'loadedBytes' | 'totalBytes'>) => void;

/** Programs that are kept for input sizes seen before. Each holds a table of positions and bind groups; activations are shared. */
const MAX_PROGRAMS = 8;

export class DINOv2 {
  readonly config: DINOv2Config;
  /** How the matrices are stored: what `auto` has become. */
  readonly dtype: Dtype;
  /** Why, in a sentence: the self-test's result, and what it made the loader pass over. */
  readonly dtypeReason: string;
  /** The checkpoint's own classifier (Hugging Face's `Dinov2ForImageClassification`, or a `linear_head`), where it has one. */
  readonly classifier: ImageClassifier | undefined;
  readonly #gpu: Gpu;
  readonly #target: Target;
  readonly #weights: Weights;
  readonly #preprocessor: Preprocessor;
  readonly #pool: SlotPool;
  readonly #programs = new Map<string, Promise<LoadedProgram>>();
  /** Forwards share buffers, so they run one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(gpu: Gpu, config: DINOv2Config, precision: Precision, target: Target, weights: Weights, preprocessor: Preprocessor, classifier: NamedHead | undefined) {
    this.config = config;
    this.dtype = precision.dtype;
    this.dtypeReason = precision.reason;
    this.#gpu = gpu;
    this.#target = target;
    this.#weights = weights;
    this.#preprocessor = preprocessor;
    this.#pool = new SlotPool(gpu);
    this.classifier = classifier && new ImageClassifier(this, classifier.head, classifier.labels);
  }

  /**
   * Loads a checkpoint by its id on the Hugging Face hub (`facebook/dinov2-small`), or from a folder's URL that holds config.json and
   * model.safetensors. Weights go to the GPU as they arrive.
   * @throws SourceError, SafetensorsError, ConfigError, CheckpointError, DeviceError; or the signal's reason
   */
  static async fromPretrained(id: string | URL, options: PretrainedOptions = {}): Promise<DINOv2> {
    const { configUrl, weightsUrl } = locate(id, options);
    const { signal, fetch } = options;
    const open = async (onProgress: ByteProgress): Promise<Checkpoint> => {
      const described = describedBy(parseJson(await readAll(configUrl, { signal, fetch })));
      return { ...described, stream: await openTensors(weightsUrl, { signal, fetch, onProgress }) };
    };
    return DINOv2.#load(open, options);
  }

  /** Loads a checkpoint from files: a dropped `File`, bytes, a stream. Errors as `fromPretrained`. */
  static async fromFiles({ config, weights }: ModelFiles, options: LoadOptions = {}): Promise<DINOv2> {
    const open = async (onProgress: ByteProgress): Promise<Checkpoint> => {
      const given = await readConfig(config, options.signal);
      return { ...given, stream: await openTensors(weights, { signal: options.signal, onProgress }) };
    };
    return DINOv2.#load(open, options);
  }

  /**
   * A model of a published size with weights by formula (test/fixtures/reference/README.md): nothing is downloaded, and it costs what the real one
   * costs. Its features mean nothing.
   */
  static async synthetic(size: ModelSize | DINOv2Config, options: LoadOptions & { readonly registers?: boolean } = {}): Promise<DINOv2> {
    const config = typeof size === 'string' ? configOf(size, { registers: options.registers ?? false }) : size;
    const { signal } = options;
    const tensors = huggingFaceTensors(parameters(config));
    return DINOv2.#load(async (onProgress) => ({ config, stream: syntheticStream(tensors, { signal, onProgress }) }), options);
  }

  static async #load(open: (onProgress: ByteProgress) => Promise<Checkpoint>, options: LoadOptions): Promise<DINOv2> {
    const { dtype = 'fp32', selfTest = true, posEmbed, signal, onProgress } = options;
    signal?.throwIfAborted();
    let progress: LoadProgress = { loadedBytes: 0, totalBytes: undefined, loadedTensors: 0, totalTensors: 0 };
    const report = (news: Partial<LoadProgress>): void => {
      progress = { ...progress, ...news };
      onProgress?.(progress);
    };
    const gpu = await acquireGpu(options.device); // first: where there is no GPU, nothing is downloaded
    let stream: TensorStream | undefined;
    const choosing = choosePrecision(gpu, dtype, selfTest);
    choosing.catch(() => undefined); // it is told where it is awaited
    try {
      const checkpoint = await open(report);
      stream = checkpoint.stream;
      const { header } = stream;
      const found = checkpoint.config ?? inferConfig(header);
      if (!found) {
        const names = [...header.tensors.keys()].slice(0, 3).join(', ') || 'no tensor';
        throw new ConfigError('CONFIG_UNSUPPORTED', `The file's tensors are not a DINOv2's: expected names such as embeddings.cls_token or cls_token, found ${names}. Give a DINOv2 checkpoint, or its config.json with it.`);
      }
      const config = posEmbed === undefined ? found : { ...found, posEmbed: checkedPosEmbed(posEmbed) };
      const precision = await choosing;
      const target: Target = { software: gpu.software, weights: precision.storage };
      // Kernels compile while the weights arrive: no kernel depends on the input's size, so the smallest forward names them all.
      const compiling = Program.warmUp(gpu, buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph, target);
      const preprocessing = Preprocessor.create(gpu, { patchSize: config.patchSize });
      const { stream: tensors, head } = watchForHead(stream, [2 * config.embedDim, ...(config.depth < 4 ? [] : [5 * config.embedDim])]);
      const loading = loadWeights(gpu, tensors, parameters(config), { storage: target.weights, signal, onTensor: report });
      const all = Promise.all([loading, preprocessing, compiling]).then((made) => {
        signal?.throwIfAborted();
        return made;
      });
      const [weights, preprocessor] = await all.catch(async (error: unknown) => {
        // One of the three failed: what the others make is not left behind.
        await checkpoint.stream.cancel(error).catch(() => undefined);
        const [late, unused] = await Promise.allSettled([loading, preprocessing]);
        if (late.status === 'fulfilled') for (const buffer of late.value.buffers.values()) gpu.memory.destroy(buffer);
        if (unused.status === 'fulfilled') unused.value.dispose();
        throw error;
      });
      return new DINOv2(gpu, config, precision, target, weights, preprocessor, named(head(), checkpoint.labels));
    } catch (error) {
      await stream?.cancel(error).catch(() => undefined); // the first error is the one to tell
      await choosing.catch(() => undefined); // its buffers go with it
      gpu.release();
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
   * Bytes of the buffers that the library holds on this device: the weights of its models, activations (those of the largest input so far,
   * until `dispose()`), a table of positions for each of the last eight input sizes, features that are alive. Textures of images on their way are not counted.
   */
  get gpuBytes(): number {
    return this.#gpu.memory.bytes;
  }

  /**
   * Features of one image, or of a batch of images that have one size once they are resized.
   * @throws ImageError if an image cannot be fetched, decoded or used; DeviceError
   */
  async features(image: ImageSource | readonly ImageSource[], options: FeatureOptions = {}): Promise<Features> {
    return this.#whileAlive(async () => {
      const made = await this.#preprocessor.batch(isBatch(image) ? image : [image], options);
      try {
        return await this.#forwardOf([made], options);
      } finally {
        this.#gpu.memory.destroy(made.buffer);
      }
    });
  }

  /**
   * One vector for an image (embedDim, or 2 · embedDim for `cls+mean`); an array of images gives an array of vectors, in its order. With
   * `resize: 'fit'` they may differ in size: those of one size share a forward, and an image's vector has the same bits as if it were alone.
   */
  async embed(image: readonly ImageSource[], options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]>;
  async embed(image: ImageSource, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  async embed(image: ImageSource | readonly ImageSource[], options: EmbedOptions = {}): Promise<Float32Array<ArrayBuffer> | Float32Array<ArrayBuffer>[]> {
    return this.#whileAlive(async () => {
      checkPooling(options.pooling);
      const prepared: ImagePixels[] = [];
      try {
        for (const source of isBatch(image) ? image : [image]) prepared.push(await this.#preprocessor.batch([source], options));
        const vectors = await this.#embed(prepared, options);
        return isBatch(image) ? vectors : vectors[0]!;
      } finally {
        for (const { buffer } of prepared) this.#gpu.memory.destroy(buffer);
      }
    });
  }

  /**
   * Vectors of any number of images, one after the other and in their order; the next images are decoded while the model is at work. An image
   * that cannot be used gives `{ index, error }` instead of `{ index, embedding }`, and the rest goes on; what is thrown has ended it all.
   * @throws ImageError INPUT_SHAPE if the options do not fit together; DeviceError; the signal's reason; what the iterable throws
   */
  async *embedAll(images: Iterable<ImageSource> | AsyncIterable<ImageSource>, options: EmbedAllOptions = {}): AsyncGenerator<Embedded, void, undefined> {
    this.#alive();
    const { batchSize = 8, signal } = options;
    if (!Number.isInteger(batchSize) || batchSize < 1) throw new ImageError('INPUT_SHAPE', `batchSize: expected a whole number from 1, found ${String(batchSize)}.`);
    checkResize(options, this.config.patchSize);
    const steps = {
      prepare: (image: ImageSource) => this.#preprocessor.batch([image], options),
      embed: (prepared: readonly ImagePixels[]) => this.#embed(prepared, options),
      free: ({ buffer }: ImagePixels) => this.#gpu.memory.destroy(buffer),
    };
    yield* embedInBatches(images, steps, batchSize, signal);
  }

  /** What the model sees of an image, or of a batch: normalised pixels, with the same bits as Hugging Face's BitImageProcessor on Pillow. */
  async pixels(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Pixels> {
    return this.#whileAlive(() => this.#preprocessor.read(isBatch(image) ? image : [image], options));
  }

  /**
   * The forward of pixels that are normalised already.
   * @param pixels float32 (batch, 3, height, width), row-major, each colour (value / 255 - mean) / std. Where a side is no multiple of the
   *   patch size, the remainder on the right and at the bottom is dropped, as in Hugging Face's model.
   * @throws ImageError INPUT_SHAPE, INPUT_NOT_FINITE; DeviceError
   */
  async forward(pixels: Float32Array, size: PixelSize, options: ForwardOptions = {}): Promise<Features> {
    const { patchSize } = this.config;
    const { height, width, batch = 1 } = size;
    const grid = gridOf('forward', size, patchSize);
    if (!(pixels instanceof Float32Array)) {
      throw new ImageError('INPUT_SHAPE', `forward: expected a Float32Array of normalised pixels, found ${Object.prototype.toString.call(pixels)}. Convert it, or hand the image to features().`);
    }
    if (pixels.length !== batch * 3 * height * width) {
      throw new ImageError('INPUT_SHAPE', `forward: expected ${batch} × 3 × ${height} × ${width} = ${batch * 3 * height * width} values, found ${pixels.length}. Pixels are (batch, 3, height, width).`);
    }
    const bad = pixels.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new ImageError('INPUT_NOT_FINITE', `forward: expected finite pixels, found ${pixels[bad]} at index ${bad}. Check the normalisation.`);
    const cropped = cropToPatches(pixels, batch * 3, height, width, grid.rows * patchSize, grid.cols * patchSize);
    return this.#run(grid, options, (buffer) => this.#gpu.device.queue.writeBuffer(buffer, 0, cropped));
  }

  /** The plan of a forward, one line a dispatch, and the bytes that sharing buffers saves. Default size: 224 × 224, one image. */
  async describe(size: PixelSize = { height: 224, width: 224 }): Promise<string> {
    const grid = gridOf('describe', size, this.config.patchSize);
    const { program } = await this.#exclusive(() => this.#programFor(grid, {}));
    return program.describe();
  }

  /**
   * Where the time of a forward of this image, or batch, goes: every kernel's time, GFLOP/s, GB/s and share of what this adapter does at best, which
   * is measured too. On a GPU it takes about a second, on a processor several forwards. Each dispatch is a `performance.measure` entry as well.
   * @throws as `features`
   */
  async profile(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Profile> {
    return this.#whileAlive(async () => {
      const { batch, height, width, buffer } = await this.#preprocessor.batch(isBatch(image) ? image : [image], options);
      try {
        const grid = { batch, rows: height / this.config.patchSize, cols: width / this.config.patchSize };
        return await this.#exclusive(async () => {
          const { program } = await this.#programFor(grid, {});
          const encoder = this.#gpu.device.createCommandEncoder({ label: 'pixels' });
          encoder.copyBufferToBuffer(buffer, 0, this.#pool.get('pixels')!, 0, buffer.size);
          this.#gpu.device.queue.submit([encoder.finish()]);
          return profileProgram(this.#gpu, program, grid, options.signal);
        }, options.signal);
      } finally {
        this.#gpu.memory.destroy(buffer);
      }
    });
  }

  /** Frees what the model holds on the GPU. Features that it gave stay valid until they are disposed of themselves. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    // A forward under way holds the buffers: they go when it has ended.
    void this.#queue.then(async () => {
      await Promise.all([...this.#programs.values()].map(async (loading) => (await loading.catch(() => undefined))?.dispose()));
      this.#programs.clear();
      this.#pool.dispose();
      this.#preprocessor.dispose();
      for (const buffer of this.#weights.buffers.values()) this.#gpu.memory.destroy(buffer);
      this.#gpu.release();
    });
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Vectors of images that are on the GPU: a forward for each size among them. */
  async #embed(images: readonly ImagePixels[], { pooling = 'cls', normalize: unit = true, signal }: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]> {
    const groups = new Map<string, number[]>();
    for (const [index, { height, width }] of images.entries()) {
      const size = `${height} × ${width}`;
      groups.set(size, [...(groups.get(size) ?? []), index]);
    }
    const vectors: Float32Array<ArrayBuffer>[] = [];
    for (const indices of groups.values()) {
      const features = await this.#forwardOf(indices.map((index) => images[index]!), { signal });
      try {
        const { batch, numTokens, numRegisterTokens, embedDim } = features;
        const tokens = await features.lastHiddenState();
        pool({ tokens, batch, numTokens, numRegisterTokens, embedDim }, pooling).forEach((vector, i) => {
          vectors[indices[i]!] = unit ? normalize(vector) : vector;
        });
      } finally {
        features.dispose();
      }
    }
    return vectors;
  }

  /** One forward of images of one size that are on the GPU. */
  #forwardOf(images: readonly ImagePixels[], options: ForwardOptions): Promise<Features> {
    const { patchSize } = this.config;
    const { height, width } = images[0]!;
    const batch = images.reduce((sum, image) => sum + image.batch, 0);
    return this.#run({ batch, rows: height / patchSize, cols: width / patchSize }, options, (pixels) => {
      const encoder = this.#gpu.device.createCommandEncoder({ label: 'pixels' });
      let to = 0;
      for (const image of images) {
        const bytes = image.batch * 3 * height * width * 4;
        encoder.copyBufferToBuffer(image.buffer, 0, pixels, to, bytes);
        to += bytes;
      }
      this.#gpu.device.queue.submit([encoder.finish()]);
    });
  }

  /** One forward: `fill` brings the pixels into their buffer, (batch, 3, rows · patchSize, cols · patchSize). */
  #run(grid: Grid, { layers = [], attentions = [], maskedPatches, signal }: ForwardOptions, fill: (pixels: GPUBuffer) => void | Promise<void>): Promise<Features> {
    const { depth, embedDim, layerNormEps: eps } = this.config;
    checkLayers('layers', layers, depth);
    checkLayers('attentions', attentions, depth - 1);
    const mask = maskedPatches && this.#maskOf(maskedPatches, grid);
    const numTokens = countTokens(this.config, grid);
    if (numTokens > MAX_TOKENS) {
      throw new DeviceError('DEVICE_LIMIT', `An image of ${grid.rows} × ${grid.cols} patches: expected at most ${MAX_TOKENS} tokens, found ${numTokens}. Use a smaller image.`);
    }
    return this.#exclusive(async () => {
      signal?.throwIfAborted();
      const { program, forward } = await this.#programFor(grid, { layers, attentions, masked: mask !== undefined });
      await fill(this.#pool.get('pixels')!);
      signal?.throwIfAborted();
      if (mask) this.#gpu.device.queue.writeBuffer(this.#pool.get('mask')!, 0, mask);
      const { memory } = this.#gpu;
      const made: GPUBuffer[] = [];
      const make = (label: string, bytes: number): GPUBuffer => {
        const buffer = memory.storage(label, bytes);
        made.push(buffer);
        return buffer;
      };
      try {
        const { buffers, norm } = await this.#gpu.allocating(() => ({
          buffers: new Map(forward.graph.outputs.map((output) => [output, make(`features ${output.name}`, elementCount(output.shape) * 4)])),
          // The features outlive the model, so they have the norm's parameters of their own.
          norm: forward.hiddenStates.size > 0 ? { weight: make('features norm.weight', embedDim * 4), bias: make('features norm.bias', embedDim * 4), eps } : undefined,
        }));
        if (norm) this.#copyNorm(norm.weight, norm.bias);
        await program.run((output) => buffers.get(output)!, signal);
        const kept = (values: ReadonlyMap<number, Value>): Kept['qkv'] => new Map([...values].map(([layer, value]) => [layer, buffers.get(value)!]));
        return new Features(this.#gpu, this.config, grid, {
          lastHiddenState: buffers.get(forward.lastHiddenState)!,
          hiddenStates: kept(forward.hiddenStates),
          qkv: kept(forward.qkv),
          norm,
        });
      } catch (error) {
        for (const buffer of made) memory.destroy(buffer);
        throw error;
      }
    }, signal);
  }

  #copyNorm(weight: GPUBuffer, bias: GPUBuffer): void {
    const { buffers } = this.#weights;
    const encoder = this.#gpu.device.createCommandEncoder({ label: 'norm' });
    encoder.copyBufferToBuffer(buffers.get('norm.weight')!, 0, weight, 0, weight.size);
    encoder.copyBufferToBuffer(buffers.get('norm.bias')!, 0, bias, 0, bias.size);
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** @throws ImageError INPUT_SHAPE, CheckpointError CHECKPOINT_TENSORS */
  #maskOf(maskedPatches: readonly boolean[] | Uint8Array, { batch, rows, cols }: Grid): Uint32Array<ArrayBuffer> {
    const count = batch * rows * cols;
    if (maskedPatches.length !== count) {
      throw new ImageError('INPUT_SHAPE', `maskedPatches: expected ${batch} × ${rows} × ${cols} = ${count} values, found ${maskedPatches.length}. Give one for every patch of every image, row by row.`);
    }
    if (!this.#weights.buffers.has('mask_token')) {
      throw new CheckpointError('CHECKPOINT_TENSORS', 'maskedPatches: expected a checkpoint with a mask token (mask_token, or embeddings.mask_token), found one without. Leave maskedPatches out, or load a checkpoint such as facebook/dinov2-small.');
    }
    return Uint32Array.from(maskedPatches, Number);
  }

  #alive(): void {
    if (this.#disposed) throw new DeviceError('DISPOSED', 'This model was disposed of. Load it again.');
  }

  /** Runs what outlasts an await; where the model is disposed of meanwhile, that is the error, whatever fell first. */
  async #whileAlive<T>(task: () => Promise<T>): Promise<T> {
    this.#alive();
    try {
      return await task();
    } catch (error) {
      if (error instanceof DeviceError) this.#alive();
      throw error;
    }
  }

  /** Runs a task when those before it have ended. An abort ends the wait; from then on it is the task that heeds it. */
  #exclusive<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    this.#alive();
    let started = false;
    const result = this.#queue.then(() => {
      started = true;
      return task();
    });
    // Not the result itself, which would be held until the next task.
    const over = (): void => undefined;
    this.#queue = result.then(over, over);
    if (!signal) return result;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        if (!started) reject(signal.reason as Error);
      };
      signal.addEventListener('abort', abort, { once: true });
      void result.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  }

  #programFor(grid: Grid, wanted: Wanted): Promise<LoadedProgram> {
    const key = JSON.stringify([grid.batch, grid.rows, grid.cols, sortedSet(wanted.layers), sortedSet(wanted.attentions), wanted.masked === true]);
    const known = this.#programs.get(key);
    const loading = known ?? this.#makeProgram(grid, wanted);
    this.#programs.delete(key); // the map's order is that of last use
    this.#programs.set(key, loading);
    if (!known) {
      loading.catch(() => this.#programs.delete(key));
      const [oldest, program] = this.#programs.entries().next().value!;
      if (this.#programs.size > MAX_PROGRAMS) {
        this.#programs.delete(oldest);
        void program.then((old) => old.dispose());
      }
    }
    return loading;
  }

  async #makeProgram(grid: Grid, wanted: Wanted): Promise<LoadedProgram> {
    const gpu = this.#gpu;
    const { config } = this;
    const { embedDim } = config;
    const forward = buildForward(config, grid, wanted);
    const size = { ...grid, numTokens: countTokens(config, grid) };
    const table = new Float32Array((1 + grid.rows * grid.cols) * embedDim);
    table.set(this.#weights.posEmbed.subarray(0, embedDim));
    const interpolated = interpolatePosEmbed(this.#weights.posEmbed, { embedDim, nativeGrid: nativeGrid(config), rows: grid.rows, cols: grid.cols, convention: config.posEmbed });
    table.set(interpolated, embedDim);
    const positions = await gpu.allocating(() => gpu.memory.storageOf('positions', table));
    const fixed = ({ name, kind }: { name: string; kind: string }): GPUBuffer | undefined =>
      kind === 'weight' ? this.#weights.buffers.get(name) : name === 'positions' ? positions : undefined;
    try {
      const program = await Program.create(gpu, forward.graph, this.#target, size, this.#pool, fixed);
      const dispose = (): void => {
        program.dispose();
        gpu.memory.destroy(positions);
      };
      return { program, forward, dispose };
    } catch (error) {
      gpu.memory.destroy(positions);
      throw error;
    }
  }
}

/** Tokens of an image at most: one workgroup each along an axis of a dispatch. */
const MAX_TOKENS = 65_535;

/** The patches of a batch of images: whole ones, the remainder is dropped. */
function gridOf(where: string, { height, width, batch = 1 }: PixelSize, patchSize: number): Grid {
  if (![height, width, batch].every((extent) => Number.isInteger(extent) && extent > 0)) {
    throw new ImageError('INPUT_SHAPE', `${where}: expected whole numbers of pixels and images from 1, found height ${height}, width ${width}, batch ${batch}.`);
  }
  const grid = { batch, rows: Math.floor(height / patchSize), cols: Math.floor(width / patchSize) };
  if (grid.rows >= 1 && grid.cols >= 1) return grid;
  throw new ImageError('INPUT_SHAPE', `${where}: expected at least one patch of ${patchSize} × ${patchSize}, found an image of ${height} × ${width}. Enlarge it.`);
}

const isBatch = (image: ImageSource | readonly ImageSource[]): image is readonly ImageSource[] => Array.isArray(image);

/** Pixels of images of one size on the GPU: (batch, 3, height, width). */
interface ImagePixels {
  readonly buffer: GPUBuffer;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
}

const sortedSet = (values: readonly number[] = []): number[] => [...new Set(values)].sort((a, b) => a - b);

function checkLayers(option: string, layers: readonly number[], last: number): void {
  const wrong = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer > last);
  if (wrong !== undefined) throw new ImageError('INPUT_SHAPE', `${option}: expected whole numbers from 0 to ${last}, found ${wrong}.`);
}

function checkedPosEmbed(posEmbed: PosEmbedConvention): PosEmbedConvention {
  if (['plain', 'antialias', 'offset'].includes(posEmbed)) return posEmbed;
  throw new ConfigError('CONFIG_FIELD', `posEmbed: expected 'plain', 'antialias' or 'offset', found ${JSON.stringify(posEmbed)}.`);
}

/** A checkpoint's classifier, and the names of its classes where they are known. */
interface NamedHead {
  readonly head: LinearHead;
  readonly labels: ClassLabels | undefined;
}

/** Hugging Face writes no names where a model has none of its own: those of another number of classes are its config's defaults. */
function named(head: LinearHead | undefined, labels: ClassLabels = {}): NamedHead | undefined {
  const entries = Object.entries(labels);
  const belong = entries.length === head?.numClasses && entries.every(([, label], i) => typeof label === 'string' && String(i) in labels);
  return head && { head, labels: belong ? labels : undefined };
}

/** A program with the graph that it was made from. */
interface LoadedProgram {
  readonly program: Program;
  readonly forward: Forward;
  dispose(): void;
}

function parseJson(bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError('CONFIG_JSON', `config.json: expected JSON, found ${JSON.stringify(text.slice(0, 40))}. Give the config.json that lies beside the weights on the hub.`, { cause });
  }
}

type Described = Pick<Checkpoint, 'config' | 'labels'>;

async function readConfig(config: object | Blob | string | undefined, signal: AbortSignal | undefined): Promise<Described | undefined> {
  if (config === undefined) return undefined;
  if (typeof config === 'string') return describedBy(parseJson(new TextEncoder().encode(config)));
  if (config instanceof Blob) return describedBy(parseJson(await readAll(config, { signal })));
  return describedBy(config);
}

/** What config.json says of a model. */
function describedBy(json: unknown): Described {
  const config = parseConfig(json);
  const { id2label } = json as { readonly id2label?: unknown };
  return typeof id2label === 'object' && id2label !== null ? { config, labels: id2label as Readonly<Record<string, string>> } : { config };
}

/** The top left rows × cols of every plane. A copy in any case: the caller may refill its array while the forward waits for its turn. */
function cropToPatches(pixels: Float32Array, planes: number, height: number, width: number, rows: number, cols: number): Float32Array<ArrayBuffer> {
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
