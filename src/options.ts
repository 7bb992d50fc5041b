/** What callers hand to a model: how to load it, what to compute. Types, and nothing else. */
import type { CacheKind } from './storage/store.js';
import type { Dialect } from './weights/huggingFace.js';
import type { HubOptions } from './io/hub.js';
import type { Dtype } from './weights/precision.js';
import type { RetryOptions } from './io/retry.js';
import type { ByteSource } from './io/sources.js';
import type { Tuning, TuningSample } from './gpu/measure/tuner.js';
import type { TuningStore } from './gpu/measure/tuningStore.js';
import type { PixelOptions } from './image/preprocess.js';
import type { Features } from './model/features.js';
import type { PosEmbedConvention } from './model/config.js';
import type { Pooling } from './tasks/pooling.js';

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
   * How matrices are stored on the GPU: `fp32`; `fp16`, half the memory; `int8`, a quarter; `auto`, fp16
   * where the self-test holds on this adapter, else fp32. Sums and everything between layers are f32 in all
   * of them. Default: `fp32`, Python's numbers.
   */
  readonly dtype?: 'auto' | Dtype | undefined;
  /**
   * Tests every kernel of the model against numbers computed here before it is trusted, each once a device, in
   * tenths of a second. Default: true.
   */
  readonly selfTest?: boolean | undefined;
  /**
   * How position embeddings are brought to another grid. Default: as the checkpoint's dialect has it, Hugging
   * Face's or facebookresearch's own. For facebookresearch's numbers from Hugging Face's files without
   * registers: `offset`.
   */
  readonly posEmbed?: PosEmbedConvention | undefined;
  /**
   * What stands before the names of the model's tensors in the file, such as `teacher.backbone.`: chooses one
   * of several models in one file. Default: the prefix behind which the whole model is found; several such
   * models are an error that names their prefixes.
   */
  readonly prefix?: string | undefined;
  /**
   * A device of the caller's; it is neither lost track of nor destroyed here. Default: one that all models of
   * the page share.
   */
  readonly device?: GPUDevice | undefined;
  /** Stops the load; the promise rejects with the signal's reason, and nothing stays behind on the GPU. */
  readonly signal?: AbortSignal | undefined;
  /** What it throws ends the load, as the signal does: the promise rejects with it. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** How a model's weights came. */
export interface LoadReport {
  /** From the network, without what was fetched twice; of files and of weights by formula, 0. */
  readonly fetchedBytes: number;
  /** Packed bytes that were read from the cache. */
  readonly cachedBytes: number;
  /** Where they are kept for the next time. */
  readonly cache: 'opfs' | 'cache-api' | 'none';
  /** Why, in words. */
  readonly cacheReason: string;
  /** Whose names the checkpoint's tensors have. */
  readonly dialect: Dialect;
  /** What stands before those names, such as `module.`; empty where nothing does. */
  readonly prefix: string;
  /**
   * Names of tensors in the file that are no part of the model and were not loaded: heads other than
   * `classifier`, decoders, a second model, buffers. PyTorch calls them unexpected keys.
   */
  readonly setAside: readonly string[];
  /**
   * What no file says and was assumed, in sentences, such as how wide the heads are. Empty where config.json
   * says everything.
   */
  readonly assumed: readonly string[];
}

export interface PretrainedOptions extends LoadOptions, HubOptions {
  /**
   * Where the packed weights are kept, so that the next load reads no byte from the network: `opfs`, the
   * browser's file system for the origin; `cache-api`; `none`; or `auto`, the first of the two that is there.
   * In Node nothing is kept. Default: `auto`.
   */
  readonly cache?: CacheKind | undefined;
  /**
   * Asks the server first whether what is kept is still what it has (see `checkForUpdate`), and fetches it
   * again where it is not. Where there is no answer, what is kept is used. A `revision` that is a full commit
   * is not asked for, nor a model.safetensors that `integrity` was given for: it cannot change. Default:
   * false, so that a second start reads no byte from the network.
   */
  readonly revalidate?: boolean | undefined;
  /**
   * Asks the browser not to evict what is kept (`navigator.storage.persist()`, which workers lack); some ask
   * the visitor. Default: false.
   */
  readonly persist?: boolean | undefined;
  /**
   * SHA-256 of model.safetensors, in hexadecimal digits or as `sha256-` and base64; or by file name, of the
   * files of a checkpoint in several, of its index, of config.json and preprocessor_config.json. One that belongs
   * to no file that is read is an error.
   */
  readonly integrity?: string | Readonly<Record<string, string>> | undefined;
  /**
   * Stands in for the checkpoint's preprocessor_config.json: an object of its form, or null for the preprocessing
   * of facebook/dinov2 (`image_mean` and `image_std` of ImageNet, the shorter edge to 256, the central 224 × 224,
   * bicubic). For checkpoints whose file names an image processor that is not understood, or whose server fails
   * when it is asked for the file. Default: what the file says; where there is none, what timm's `pretrained_cfg`
   * in config.json says; where that is missing too, the preprocessing of facebook/dinov2.
   */
  readonly preprocessor?: object | null | undefined;
  /** How often and how patiently a request is tried again. */
  readonly retry?: RetryOptions | undefined;
}

/**
 * A JSON file: its object, its text, or what holds the file. A string that begins with a brace is the text;
 * another one is a URL, in Node a path.
 */
export type JsonSource = object | string | URL | Blob | FileSystemFileHandle | Uint8Array | ArrayBuffer;

/** A checkpoint that is at hand already. */
export interface ModelFiles {
  /**
   * config.json: its object, its text, or a file of it (a URL, in Node a path). Without it the configuration
   * is read from the tensors' names and shapes.
   */
  readonly config?: JsonSource | undefined;
  /**
   * preprocessor_config.json, in the same forms: how images become pixels. Without it, what timm's
   * `pretrained_cfg` in config.json says, else the preprocessing of facebook/dinov2; with null, that in any case.
   */
  readonly preprocessor?: JsonSource | null | undefined;
  /** The safetensors file; or all files of a checkpoint in several, in any order. */
  readonly weights: ByteSource | readonly ByteSource[];
}

export interface ForwardOptions {
  /**
   * Hidden states to keep: 0 is what enters the first block, `i` what leaves the i-th, up to `depth`.
   * Default: none.
   */
  readonly layers?: readonly number[] | undefined;
  /**
   * Blocks whose attention can be asked for: 0 to `depth` - 1, as in Hugging Face's `attentions`. Default:
   * none.
   */
  readonly attentions?: readonly number[] | undefined;
  /**
   * `bool_masked_pos`: for every patch of every image, (batch, rows · cols), whether the mask token stands in
   * for it. Needs a checkpoint with a mask token, which all published ones are.
   */
  readonly maskedPatches?: readonly boolean[] | Uint8Array | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How an image becomes pixels, and what to keep of the forward. */
export interface FeatureOptions extends PixelOptions, ForwardOptions {}

/**
 * Features of those images of a list that have one size: the `i`-th of the batch is image `indices[i]` of the
 * list.
 */
export interface FeatureGroup {
  readonly indices: readonly number[];
  readonly features: Features;
}

export interface BySizeOptions extends Omit<FeatureOptions, 'maskedPatches'> {
  /** Images of a group at most. Default: 8. */
  readonly batchSize?: number | undefined;
}

export interface EmbedOptions extends PixelOptions {
  /** Default: `cls`. */
  readonly pooling?: Pooling | undefined;
  /** Scale to length 1, so that a dot product is a cosine. Default: true. */
  readonly normalize?: boolean | undefined;
}

export interface EmbedAllOptions extends EmbedOptions {
  /**
   * Images in a forward at most, where they have one size: a forward takes what is decoded when its turn comes.
   * Default: 8.
   */
  readonly batchSize?: number | undefined;
  /** Whether to give each image's patch tokens too. Default: false. */
  readonly patches?: boolean | undefined;
  /**
   * Longer side of a small picture of each image, in pixels, upright and with its colour profile; 0 for none.
   * Of files (Blob) only, in browsers. Default: 0.
   */
  readonly thumbnailPx?: number | undefined;
}

/** Normalised pixels: float32 (batch, 3, height, width). */
export interface PixelSize {
  readonly height: number;
  readonly width: number;
  /** Default: 1. */
  readonly batch?: number | undefined;
}

export interface TuneOptions {
  /** Sides of the square images to be fast for, in pixels. Default: 224 and 518. */
  readonly sizesPx?: readonly number[] | undefined;
  /**
   * Where the result is kept. Default: IndexedDB, or in Node a file in the user's cache folder. `false`:
   * nowhere.
   */
  readonly store?: TuningStore | false | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What `DINOv2.tune` found. */
export interface TuningReport {
  /** Undefined where there was nothing to choose. */
  readonly tuning: Tuning | undefined;
  /**
   * `kept`: measured on an earlier visit, with this adapter and these kernels. `nothing to choose`: each
   * layer has one kernel on this adapter.
   */
  readonly source: 'measured' | 'kept' | 'nothing to choose';
  readonly samples: readonly TuningSample[];
  /** Kernels that were left out, and why. */
  readonly leftOut: readonly string[];
  /** Why the result could not be read or kept, where that is so: the next call measures again. */
  readonly storeError?: string | undefined;
  /** What the call took, in milliseconds. */
  readonly ms: number;
}
