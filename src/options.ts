/** The types of the options for loading models and computing features. */
import type { CacheKind } from './storage/store.js';
import type { Dialect } from './weights/huggingFace.js';
import type { HubOptions } from './io/hub.js';
import type { Dtype } from './weights/precision.js';
import type { RetryOptions } from './io/retry.js';
import type { ByteSource } from './io/sources.js';
import type { DebugMode } from './gpu/debug/debugGpu.js';
import type { TracedTask } from './gpu/debug/trace.js';
import type { Tuning, TuningSample } from './gpu/measure/tuner.js';
import type { TuningStore } from './gpu/measure/tuningStore.js';
import type { PixelOptions } from './image/preprocess.js';
import type { Features } from './features.js';
import type { PosEmbedConvention } from './model/config.js';
import type { LiveFrame } from './tasks/live.js';
import type { Pooling } from './tasks/pooling.js';

export type { PixelSize } from './model/normalizedPixels.js';

/** The progress of a load. `onProgress` is called with an object of this type. */
export interface LoadProgress {
  /** Bytes of the weights files that have been read. */
  readonly loadedBytes: number;
  /** Bytes of all weights files. Undefined if the source does not announce its length. */
  readonly totalBytes: number | undefined;
  /** Number of tensors that are on the GPU. */
  readonly loadedTensors: number;
  /** Number of all tensors of the model. */
  readonly totalTensors: number;
}

/** Options of every method that loads a model. */
export interface LoadOptions {
  /**
   * Number type in which weight matrices are stored on the GPU. `fp32`: the same numbers as in Python.
   * `fp16`: half the memory of `fp32`. `int8`: a quarter of the memory. `auto`: `fp16` if the self-test finds
   * it exact enough on this adapter, else `fp32`. Activations are float32, and so are sums. Exception: with
   * `fp16` on some GPUs, or if `tune({ arithmetic: true })` chooses it, linear layers add products in f16 in
   * runs of 16, and add the runs in float32; `health().dtypeReason` says so. Default: `fp32`.
   */
  readonly dtype?: 'auto' | Dtype | undefined;
  /**
   * Runs the model's kernels on small inputs before the first use and compares the results with float64 on
   * the CPU. Takes tenths of a second, once for each device. Default: true.
   */
  readonly selfTest?: boolean | undefined;
  /**
   * How position embeddings are resampled if the grid of patches differs from that of the checkpoint.
   * Default: as in Hugging Face, if config.json is Hugging Face's; otherwise as in the Python code whose naming
   * convention the tensor names follow (Hugging Face, facebookresearch or timm). Use `offset` to get the numbers of facebookresearch from a Hugging Face
   * checkpoint without registers.
   */
  readonly posEmbed?: PosEmbedConvention | undefined;
  /**
   * The prefix of the model's tensor names in the file, such as `teacher.backbone.`. Needed only for a file
   * that holds several models: the error for such a file lists their prefixes. Default: the prefix is
   * detected.
   */
  readonly prefix?: string | undefined;
  /**
   * A mode for finding errors. `check`: each forward pass searches the output of every kernel for NaN and
   * infinity, and rejects with `KERNEL_NOT_FINITE`, which names the first kernel, block and tensor. A forward
   * pass then waits for the GPU and takes longer. `trace`: each task on the GPU is reported to `onTrace`, after
   * the GPU has finished it. Applies to the calls of this model and to what is computed from its features.
   * Default: neither.
   */
  readonly debug?: DebugMode | undefined;
  /**
   * Called with each task if `debug` is `trace`. Default: one line for each task by `console.debug`.
   */
  readonly onTrace?: ((task: TracedTask) => void) | undefined;
  /**
   * The device to compute on. The library never destroys this device. Request the device with the features
   * `shader-f16` and `subgroups` if the adapter has them. Default: a device that all models of the page
   * share.
   */
  readonly device?: GPUDevice | undefined;
  /**
   * Stops the load. The promise rejects with the signal's reason, and all GPU memory of the load is freed.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Called repeatedly while the load proceeds. If this function throws, the load stops and its promise
   * rejects with the error.
   */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** A report of a finished load: the sources of the weights, the cache, the tensor names, and assumptions. */
export interface LoadReport {
  /**
   * Bytes of weights from the network. A byte that was fetched twice counts once. 0 for files and
   * `synthetic`.
   */
  readonly fetchedBytes: number;
  /** Bytes of weights that were read from the cache. */
  readonly cachedBytes: number;
  /** Duration of the load in milliseconds. */
  readonly loadMs: number;
  /** The storage that holds the checkpoint's files for the next load. */
  readonly cache: 'opfs' | 'cache-api' | 'folder' | 'none';
  /** The reason for the value of `cache`, as a sentence. */
  readonly cacheReason: string;
  /** The naming convention of the checkpoint's tensor names: Hugging Face, facebookresearch or timm. */
  readonly dialect: Dialect;
  /** The prefix of the model's tensor names, such as `module.`; '' if there is none. */
  readonly prefix: string;
  /**
   * Names of tensors in the file that do not belong to the model and were not loaded: other heads, decoders,
   * a second model, buffers. PyTorch calls such names unexpected keys.
   */
  readonly setAside: readonly string[];
  /**
   * Assumptions about facts that no file of the checkpoint states, as sentences. Example: the number of heads
   * of a checkpoint without config.json. Empty if config.json states everything.
   */
  readonly assumed: readonly string[];
}

/** Options of `DINOv2.fromPretrained`. */
export interface PretrainedOptions extends LoadOptions, HubOptions {
  /**
   * The storage for the checkpoint's files, so that the next load needs no network. `opfs`: the origin
   * private file system. `cache-api`: the Cache API. `auto`: `opfs` if the browser offers it, else
   * `cache-api`. `none`: no cache. In Node, `dinov2-webgpu/node` keeps files in a folder unless this is `none`. Default: `auto`.
   */
  readonly cache?: CacheKind | undefined;
  /**
   * True asks the server whether the cached files are current, and downloads files that are not. If the
   * server does not answer, the cached files are used. Files that cannot change are not checked: files of a
   * `revision` that is a full commit hash, and files with an `integrity` hash. Default: false, so that a
   * second load makes no request.
   */
  readonly revalidate?: boolean | undefined;
  /**
   * True calls `navigator.storage.persist()`, so that the browser does not evict the cached files when the
   * disk is full. Some browsers ask the visitor for permission. Has no effect in a worker. Default: false.
   */
  readonly persist?: boolean | undefined;
  /**
   * Expected SHA-256 of model.safetensors, as hexadecimal digits or as `sha256-` and Base64. An object gives
   * the hashes of several files by name: shards, model.safetensors.index.json, config.json,
   * preprocessor_config.json. If a name matches none of the files that are read, the load fails. Default: no
   * check.
   */
  readonly integrity?: string | Readonly<Record<string, string>> | undefined;
  /**
   * An object that replaces the checkpoint's preprocessor_config.json and has the same fields. null means the
   * preprocessing of facebook/dinov2: mean and standard deviation of ImageNet, the shorter edge resized to
   * 256 pixels by bicubic interpolation, the central 224 × 224 pixels. Default: preprocessor_config.json;
   * without this file, timm's `pretrained_cfg` in config.json; without both, the preprocessing of
   * facebook/dinov2.
   */
  readonly preprocessor?: object | null | undefined;
  /** Number of attempts of a request, and the delays between the attempts. */
  readonly retry?: RetryOptions | undefined;
}

/**
 * A JSON file: the parsed object, the text, the bytes, a file, or a URL. A string that begins with `{` is
 * text; any other string is a URL, or in Node a path.
 */
export type JsonSource = object | string | URL | Blob | FileSystemFileHandle | Uint8Array | ArrayBuffer;

/** The files of a checkpoint, for `DINOv2.fromFiles`. */
export interface ModelFiles {
  /**
   * config.json. Without this file, the configuration is derived from the names and shapes of the tensors.
   */
  readonly config?: JsonSource | undefined;
  /**
   * preprocessor_config.json, which defines how an image is prepared. Without this file, timm's
   * `pretrained_cfg` in config.json applies, or else the preprocessing of facebook/dinov2. null selects the
   * preprocessing of facebook/dinov2.
   */
  readonly preprocessor?: JsonSource | null | undefined;
  /** The safetensors file, or all shards of a checkpoint, in any order. */
  readonly weights: ByteSource | readonly ByteSource[];
}

/** Options of a forward pass: which intermediate results the features keep. */
export interface ForwardOptions {
  /**
   * Hidden states to keep for `features.hiddenState()`: 0 is the input of the first block, `i` the output of
   * the i-th block, up to `depth`. The numbers are the same as in Hugging Face's `hidden_states`. Negative
   * numbers count from the end: -1 is the output of the last block. Default: none.
   */
  readonly layers?: readonly number[] | undefined;
  /**
   * Blocks whose queries and keys to keep for `features.attention()` and `features.attentionMap()`: 0 to
   * `depth` - 1, as in Hugging Face's `attentions`. Negative numbers count from the end: -1 is the last
   * block. In a model of 12 blocks, `attentions: [11]`, `layers: [12]` and -1 in both mean the same block.
   * Default: none.
   */
  readonly attentions?: readonly number[] | undefined;
  /**
   * Patches to replace by the mask token, as one value for each patch: (batch, rows · cols),
   * `bool_masked_pos` in Python. The checkpoint must have a mask token. All published checkpoints have one.
   * Default: none.
   */
  readonly maskedPatches?: readonly boolean[] | Uint8Array | undefined;
  /** Stops the call. Its promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `features`: how images are prepared, and which intermediate results to keep. */
export interface FeatureOptions extends PixelOptions, ForwardOptions {}

/** The features of those images of a list that have the same size in pixels, as one batch. */
export interface FeatureGroup {
  /** Image `i` of the batch is image `indices[i]` of the list. */
  readonly indices: readonly number[];
  /** The features of the batch. Call their `dispose()` when you no longer need them. */
  readonly features: Features;
}

/** Options of `featuresBySize`. */
export interface BySizeOptions extends Omit<FeatureOptions, 'maskedPatches'> {
  /** Maximum number of images in a forward pass. Default: 8. */
  readonly batchSize?: number | undefined;
}

/** Options of `embed`. */
export interface EmbedOptions extends PixelOptions {
  /** How the tokens of an image are combined into one vector. Default: `cls`. */
  readonly pooling?: Pooling | undefined;
  /**
   * True scales each vector to length 1, so that the dot product of two vectors is their cosine similarity.
   * Default: true.
   */
  readonly normalize?: boolean | undefined;
}

/** Options of `embedAll`. */
export interface EmbedAllOptions extends EmbedOptions {
  /**
   * Maximum number of images in a forward pass. A forward pass may have fewer: it takes the images that are
   * decoded when it begins. Default: 8.
   */
  readonly batchSize?: number | undefined;
  /** True adds the patch tokens of each image to its result. Default: false. */
  readonly patches?: boolean | undefined;
  /**
   * Longer side, in pixels, of a thumbnail that is added to each result. 0 makes no thumbnail. Thumbnails are
   * made only of files (Blob, or bytes), and only in browsers. Default: 0.
   */
  readonly thumbnailPx?: number | undefined;
}

/** Options of `live`: what to do with the features of each frame, and the options of `features`. */
export interface LiveOptions<FrameFeatures = Features> extends FeatureOptions {
  /**
   * Called with the features of each frame, in the order of the frames. If it returns a promise, the next call
   * waits for the promise. Afterwards the features are disposed of, unless `info.keep()` was called. An error
   * ends the live video.
   */
  readonly onFrame: (features: FrameFeatures, info: LiveFrame) => unknown;
  /**
   * Maximum number of frames that are computed or delivered at the same time. With 2, the GPU does not wait
   * for the page between frames. With 1, a picture is shown sooner after its frame. Default: 2.
   */
  readonly maxInFlight?: 1 | 2 | undefined;
}

/**
 * How linear layers of a model with `fp16` weights add products. `f32`: in f32. `f16`: in f16 in runs of 16
 * products, and the runs in f32.
 */
export type Arithmetic = 'f32' | 'f16';

/** Options of `tune`. */
export interface TuneOptions {
  /** Sides of the square images to measure, in pixels. Default: 224 and 518. */
  readonly sizesPx?: readonly number[] | undefined;
  /**
   * The store that keeps the result for the next visit. `false`: the result is not stored. Default:
   * IndexedDB, or in Node a file in the user's cache folder.
   */
  readonly store?: TuningStore | false | undefined;
  /**
   * Whether `tune` may also choose between f32 and f16 arithmetic in linear layers. `false`: results do not
   * change. `true`: results may change, as they do between `fp32` and `fp16`; the smallest cosine between a
   * token before and after is at least 0.99999 on a test image, otherwise f32 is used. Only models whose
   * weights are stored as f16 have the choice. Default: false.
   */
  readonly arithmetic?: boolean | undefined;
  /** Stops the measurement. The promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The result of `DINOv2.tune`. */
export interface TuningReport {
  /** The chosen tuning. Undefined if the adapter has only one kernel for each operation. */
  readonly tuning: Tuning | undefined;
  /**
   * Origin of the tuning. `measured`: this call measured the kernels. `kept`: the result was stored by an
   * earlier visit with the same adapter and kernels. `nothing to choose`: the adapter has only one kernel
   * for each operation.
   */
  readonly source: 'measured' | 'kept' | 'nothing to choose';
  /**
   * The arithmetic that is used now, with the reason as a sentence. Undefined without the option
   * `arithmetic`. `DINOv2.health` also says it.
   */
  readonly arithmetic?: { readonly used: Arithmetic; readonly reason: string } | undefined;
  /** All measurements that this call of `tune` made. */
  readonly samples: readonly TuningSample[];
  /** Kernels that were not measured, each with the reason. */
  readonly leftOut: readonly string[];
  /** The error of the store, if the store failed. The next call may then have to measure again. */
  readonly storeError?: string | undefined;
  /** Duration of the call of `tune`, in milliseconds. */
  readonly ms: number;
}
