/** DINOv2: puts loader, model, image and GPU together. Computes nothing itself. */
import { syntheticStream } from './checkpoint/synthetic.js';
import { huggingFaceTensors } from './checkpoint/names.js';
import { locate, type HubOptions } from './checkpoint/hub.js';
import { readAll, type ByteSource } from './checkpoint/sources.js';
import { openTensors, type TensorStream } from './checkpoint/tensorStream.js';
import { loadWeights, type Weights } from './checkpoint/weights.js';
import { ConfigError, DeviceError, ImageError } from './errors.js';
import { acquireGpu, type AdapterDescription, type Gpu } from './gpu/device.js';
import type { WeightStorage } from './gpu/kernel.js';
import type { Target } from './gpu/lowering.js';
import { Program, SlotPool } from './gpu/program.js';
import { Preprocessor, type PixelOptions, type Pixels } from './image/preprocess.js';
import type { ImageSource } from './image/source.js';
import { configOf, inferConfig, nativeGrid, parseConfig, type DINOv2Config, type ModelSize } from './model/config.js';
import { Features } from './model/features.js';
import { parameterCount, parameters } from './model/parameters.js';
import { interpolatePosEmbed } from './model/posEmbed.js';
import { buildForward, countTokens, type Forward, type Grid } from './model/vit.js';
import { normalize, pool, type Pooling } from './tasks/pooling.js';

/** What a load has done so far. */
export interface LoadProgress {
  readonly loadedBytes: number;
  /** Undefined where the source does not say how long it is. */
  readonly totalBytes: number | undefined;
  readonly loadedTensors: number;
  readonly totalTensors: number;
}

export interface LoadOptions {
  /** How matrices are stored on the GPU: `fp32`, or `fp16` for half the memory. Sums are f32 in both. Default: `fp32`. */
  readonly dtype?: 'fp32' | 'fp16' | undefined;
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
  /** Hidden states to keep, 0 (what enters the first block) to `depth`. Default: none. */
  readonly layers?: readonly number[] | undefined;
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

/** Normalised pixels: float32 (batch, 3, height, width). */
export interface PixelSize {
  readonly height: number;
  readonly width: number;
  /** Default: 1. */
  readonly batch?: number | undefined;
}

/** A checkpoint about to be read. Where it brings no configuration, its tensors' shapes give it. */
interface Checkpoint {
  readonly config: DINOv2Config | undefined;
  readonly stream: TensorStream;
}

type ByteProgress = (progress: Pick<LoadProgress, 'loadedBytes' | 'totalBytes'>) => void;

/** Programs that are kept for input sizes seen before. Each holds a table of positions and bind groups; activations are shared. */
const MAX_PROGRAMS = 8;

export class DINOv2 {
  readonly config: DINOv2Config;
  readonly dtype: 'fp32' | 'fp16';
  readonly #gpu: Gpu;
  readonly #target: Target;
  readonly #weights: Weights;
  readonly #preprocessor: Preprocessor;
  readonly #pool: SlotPool;
  readonly #programs = new Map<string, Promise<LoadedProgram>>();
  /** Forwards share buffers, so they run one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #disposed = false;

  private constructor(gpu: Gpu, config: DINOv2Config, dtype: 'fp32' | 'fp16', target: Target, weights: Weights, preprocessor: Preprocessor) {
    this.config = config;
    this.dtype = dtype;
    this.#gpu = gpu;
    this.#target = target;
    this.#weights = weights;
    this.#preprocessor = preprocessor;
    this.#pool = new SlotPool(gpu);
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
      const config = parseConfig(parseJson(await readAll(configUrl, { signal, fetch })));
      return { config, stream: await openTensors(weightsUrl, { signal, fetch, onProgress }) };
    };
    return DINOv2.#load(open, options);
  }

  /** Loads a checkpoint from files: a dropped `File`, bytes, a stream. Errors as `fromPretrained`. */
  static async fromFiles({ config, weights }: ModelFiles, options: LoadOptions = {}): Promise<DINOv2> {
    const open = async (onProgress: ByteProgress): Promise<Checkpoint> => {
      const given = await readConfig(config, options.signal);
      return { config: given, stream: await openTensors(weights, { signal: options.signal, onProgress }) };
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
    const { dtype = 'fp32', signal, onProgress } = options;
    signal?.throwIfAborted();
    let progress: LoadProgress = { loadedBytes: 0, totalBytes: undefined, loadedTensors: 0, totalTensors: 0 };
    const report = (news: Partial<LoadProgress>): void => {
      progress = { ...progress, ...news };
      onProgress?.(progress);
    };
    const gpu = await acquireGpu(options.device); // first: where there is no GPU, nothing is downloaded
    let stream: TensorStream | undefined;
    try {
      const checkpoint = await open(report);
      stream = checkpoint.stream;
      const { header } = stream;
      const config = checkpoint.config ?? inferConfig(header);
      if (!config) {
        const names = [...header.tensors.keys()].slice(0, 3).join(', ') || 'no tensor';
        throw new ConfigError('CONFIG_UNSUPPORTED', `The file's tensors are not a DINOv2's: expected names such as embeddings.cls_token or cls_token, found ${names}. Give a DINOv2 checkpoint, or its config.json with it.`);
      }
      const target: Target = { software: gpu.software, weights: storageOf(dtype, gpu) };
      // Kernels compile while the weights arrive: no kernel depends on the input's size, so the smallest forward names them all.
      const compiling = Program.warmUp(gpu, buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph, target);
      const preprocessing = Preprocessor.create(gpu, { patchSize: config.patchSize });
      const loading = loadWeights(gpu, stream, parameters(config), { storage: target.weights, signal, onTensor: report });
      const [weights, preprocessor] = await Promise.all([loading, preprocessing, compiling]).catch(async (error: unknown) => {
        // One of the three failed: what the others make is not left behind.
        await checkpoint.stream.cancel(error).catch(() => undefined);
        const [late, unused] = await Promise.allSettled([loading, preprocessing]);
        if (late.status === 'fulfilled') for (const buffer of late.value.buffers.values()) gpu.memory.destroy(buffer);
        if (unused.status === 'fulfilled') unused.value.dispose();
        throw error;
      });
      return new DINOv2(gpu, config, dtype, target, weights, preprocessor);
    } catch (error) {
      await stream?.cancel(error).catch(() => undefined); // the first error is the one to tell
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

  /** Bytes that the library holds on this device: weights, activations, features that are alive. */
  get gpuBytes(): number {
    return this.#gpu.memory.bytes;
  }

  /**
   * Features of one image, or of a batch of images that have one size once they are resized.
   * @throws ImageError if an image cannot be fetched, decoded or used; DeviceError
   */
  async features(image: ImageSource | readonly ImageSource[], options: FeatureOptions = {}): Promise<Features> {
    this.#alive();
    const sources = isBatch(image) ? image : [image];
    const { buffer, batch, height, width } = await this.#preprocessor.batch(sources, options);
    try {
      const { patchSize } = this.config;
      return await this.#run({ batch, rows: height / patchSize, cols: width / patchSize }, options, (pixels) => {
        const encoder = this.#gpu.device.createCommandEncoder({ label: 'pixels' });
        encoder.copyBufferToBuffer(buffer, 0, pixels, 0, batch * 3 * height * width * 4);
        this.#gpu.device.queue.submit([encoder.finish()]);
      });
    } finally {
      this.#gpu.memory.destroy(buffer);
    }
  }

  /** One vector for an image (embedDim, or 2 · embedDim for `cls+mean`); an array of images gives an array of vectors. */
  async embed(image: readonly ImageSource[], options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>[]>;
  async embed(image: ImageSource, options?: EmbedOptions): Promise<Float32Array<ArrayBuffer>>;
  async embed(image: ImageSource | readonly ImageSource[], options: EmbedOptions = {}): Promise<Float32Array<ArrayBuffer> | Float32Array<ArrayBuffer>[]> {
    const { pooling = 'cls', normalize: unit = true } = options;
    using features = await this.features(image, options);
    const { batch, numTokens, numRegisterTokens, embedDim } = features;
    const tokens = await features.lastHiddenState();
    const vectors = pool({ tokens, batch, numTokens, numRegisterTokens, embedDim }, pooling);
    if (unit) vectors.forEach(normalize);
    return isBatch(image) ? vectors : vectors[0]!;
  }

  /** What the model sees of an image, or of a batch: normalised pixels, with the same bits as Hugging Face's BitImageProcessor on Pillow. */
  async pixels(image: ImageSource | readonly ImageSource[], options: PixelOptions = {}): Promise<Pixels> {
    this.#alive();
    return this.#preprocessor.read(isBatch(image) ? image : [image], options);
  }

  /**
   * The forward of pixels that are normalised already.
   * @param pixels float32 (batch, 3, height, width), row-major, each colour (value / 255 - mean) / std. Where a side is no multiple of the
   *   patch size, the remainder on the right and at the bottom is dropped, as in Hugging Face's model.
   * @throws ImageError INPUT_SHAPE, INPUT_NOT_FINITE; DeviceError
   */
  async forward(pixels: Float32Array, { height, width, batch = 1 }: PixelSize, options: ForwardOptions = {}): Promise<Features> {
    const { patchSize } = this.config;
    const grid: Grid = { batch, rows: Math.floor(height / patchSize), cols: Math.floor(width / patchSize) };
    if (![height, width, batch].every((extent) => Number.isInteger(extent) && extent > 0) || pixels.length !== batch * 3 * height * width) {
      throw new ImageError('INPUT_SHAPE', `forward: expected ${batch} × 3 × ${height} × ${width} = ${batch * 3 * height * width} values, found ${pixels.length}. Pixels are (batch, 3, height, width).`);
    }
    if (grid.rows < 1 || grid.cols < 1) {
      throw new ImageError('INPUT_SHAPE', `forward: expected at least one patch of ${patchSize} × ${patchSize}, found an image of ${height} × ${width}. Enlarge it.`);
    }
    const bad = pixels.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) throw new ImageError('INPUT_NOT_FINITE', `forward: expected finite pixels, found ${pixels[bad]} at index ${bad}. Check the normalisation.`);
    const cropped = cropToPatches(pixels, batch * 3, height, width, grid.rows * patchSize, grid.cols * patchSize);
    return this.#run(grid, options, (buffer) => this.#gpu.device.queue.writeBuffer(buffer, 0, cropped));
  }

  /** The plan of a forward, one line a dispatch, and the bytes that sharing buffers saves. Default size: 224 × 224, one image. */
  async describe({ height, width, batch = 1 }: PixelSize = { height: 224, width: 224 }): Promise<string> {
    const { patchSize } = this.config;
    const grid: Grid = { batch, rows: Math.floor(height / patchSize), cols: Math.floor(width / patchSize) };
    const { program } = await this.#exclusive(() => this.#programFor(grid, []));
    return program.describe();
  }

  /** Frees what the model holds on the GPU. Features that it gave stay valid until they are disposed of themselves. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    // A forward under way holds the buffers: they go when it has ended.
    void this.#queue.catch(() => undefined).then(async () => {
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

  /** One forward: `fill` brings the pixels into their buffer, (batch, 3, rows · patchSize, cols · patchSize). */
  #run(grid: Grid, { layers = [], signal }: ForwardOptions, fill: (pixels: GPUBuffer) => void | Promise<void>): Promise<Features> {
    const { depth, embedDim } = this.config;
    const wrong = layers.find((layer) => !Number.isInteger(layer) || layer < 0 || layer > depth);
    if (wrong !== undefined) throw new ImageError('INPUT_SHAPE', `layers: expected whole numbers from 0 to ${depth}, found ${wrong}.`);
    return this.#exclusive(async () => {
      signal?.throwIfAborted();
      const { program, forward } = await this.#programFor(grid, layers);
      await fill(this.#pool.get('pixels')!);
      signal?.throwIfAborted();
      const bytes = grid.batch * countTokens(this.config, grid) * embedDim * 4;
      const made: GPUBuffer[] = [];
      try {
        const buffers = await this.#gpu.allocating(() => new Map(forward.graph.outputs.map((output) => {
          const buffer = this.#gpu.memory.storage(`features ${output.name}`, bytes);
          made.push(buffer);
          return [output, buffer];
        })));
        await program.run((output) => buffers.get(output)!);
        const hiddenStates = new Map([...forward.hiddenStates].map(([layer, value]) => [layer, buffers.get(value)!]));
        return new Features(this.#gpu, this.config, grid, buffers.get(forward.lastHiddenState)!, hiddenStates);
      } catch (error) {
        for (const buffer of made) this.#gpu.memory.destroy(buffer);
        throw error;
      }
    });
  }

  #alive(): void {
    if (this.#disposed) throw new DeviceError('DISPOSED', 'This model was disposed of. Load it again.');
  }

  #exclusive<T>(task: () => Promise<T>): Promise<T> {
    this.#alive();
    const result = this.#queue.catch(() => undefined).then(task);
    this.#queue = result;
    return result;
  }

  #programFor(grid: Grid, layers: readonly number[]): Promise<LoadedProgram> {
    const key = [grid.batch, grid.rows, grid.cols, ...layers].join();
    const known = this.#programs.get(key);
    const loading = known ?? this.#makeProgram(grid, layers);
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

  async #makeProgram(grid: Grid, layers: readonly number[]): Promise<LoadedProgram> {
    const gpu = this.#gpu;
    const { config } = this;
    const { embedDim } = config;
    const forward = buildForward(config, grid, layers);
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

const isBatch = (image: ImageSource | readonly ImageSource[]): image is readonly ImageSource[] => Array.isArray(image);

/** A program with the graph that it was made from. */
interface LoadedProgram {
  readonly program: Program;
  readonly forward: Forward;
  dispose(): void;
}

function storageOf(dtype: 'fp32' | 'fp16', gpu: Gpu): WeightStorage {
  if (dtype === 'fp32') return 'f32';
  return gpu.device.features.has('shader-f16') ? 'f16' : 'f16-packed';
}

function parseJson(bytes: Uint8Array): unknown {
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError('CONFIG_JSON', `config.json: expected JSON, found ${JSON.stringify(text.slice(0, 40))}. Give the config.json that lies beside the weights on the hub.`, { cause });
  }
}

async function readConfig(config: object | Blob | string | undefined, signal: AbortSignal | undefined): Promise<DINOv2Config | undefined> {
  if (config === undefined) return undefined;
  if (typeof config === 'string') return parseConfig(parseJson(new TextEncoder().encode(config)));
  if (config instanceof Blob) return parseConfig(parseJson(await readAll(config, { signal })));
  return parseConfig(config);
}

/** The top left rows × cols of every plane; the pixels themselves where nothing is dropped. */
function cropToPatches(pixels: Float32Array, planes: number, height: number, width: number, rows: number, cols: number): Float32Array<ArrayBuffer> {
  if (rows === height && cols === width) return pixels as Float32Array<ArrayBuffer>;
  const out = new Float32Array(planes * rows * cols);
  for (let plane = 0; plane < planes; plane++) {
    for (let row = 0; row < rows; row++) {
      const from = (plane * height + row) * width;
      out.set(pixels.subarray(from, from + cols), (plane * rows + row) * cols);
    }
  }
  return out;
}
