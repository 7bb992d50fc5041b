/**
 * The interfaces of an index and of a model that `ingest` requires. `EmbeddingIndex` implements the first;
 * `DINOv2`, in the page or in a worker, implements the second.
 */
import type { PixelOptions } from '../../image/preprocess.js';
import type { Thumbnail } from '../../image/thumbnail.js';
import type { Pooling } from '../../tasks/pooling.js';
import type { IdentifiedModel } from '../identity.js';
import type { IndexHeader } from '../journal.js';
import type { Item, ItemUpdate, PatchTokens } from '../options.js';

/** The methods of an index that `ingest` calls. `EmbeddingIndex` has them all. */
export interface IngestIndex {
  /** Model and patch storage of the index. */
  readonly header: IndexHeader;
  /** True if the index has an item with this id. */
  has(id: string): boolean;
  /** All ids in the index. */
  ids(): Iterable<string>;
  /** Returns the metadata of an item. */
  metadata(id: string): unknown;
  /** Reads the thumbnail of an item; undefined if the item has none. */
  thumbnail(id: string): Promise<Blob | undefined>;
  /** Adds items: all of them, or none if one is refused. */
  addMany(items: Iterable<Item>): Promise<void>;
  /** Replaces those fields of an item that `changes` contains. */
  update(id: string, changes: ItemUpdate): Promise<void>;
  /** Removes items. Returns the number of items removed: unknown ids are ignored. */
  remove(ids: readonly string[]): Promise<number>;
  /** Reads a value that `setState` stored. */
  getState(key: string): Promise<unknown>;
  /** Stores a small value beside the items. */
  setState(key: string, value: unknown): Promise<void>;
}

/** Features of a batch of images of one size. The library's class `Features` has all of these members. */
export interface IngestFeatures {
  /** Number of images in the batch. */
  readonly batch: number;
  /** Number of patch rows in an image. */
  readonly rows: number;
  /** Number of patches in a row. */
  readonly cols: number;
  /** Number of components of a token. */
  readonly embedDim: number;
  /** Number of tokens of an image: class token, register tokens and patch tokens. */
  readonly numTokens: number;
  /** Number of register tokens of an image. */
  readonly numRegisterTokens: number;
  /** Reads the class tokens, (batch, embedDim). */
  clsToken(): Promise<Float32Array>;
  /** Reads all tokens, (batch, numTokens, embedDim). */
  lastHiddenState(): Promise<Float32Array>;
  /** Frees the GPU memory of the features. */
  dispose(): void;
}

/** The result of `embedAll` for one image. */
export interface IngestResult {
  /** Position of the image in the input, from 0. */
  readonly index: number;
  /** The reason why the image could not be embedded; undefined if it was embedded. */
  readonly error?: Error | undefined;
  /** The vector, (dim); undefined if there is an error. */
  readonly embedding?: Float32Array<ArrayBuffer> | undefined;
  /** Patch tokens, if requested. */
  readonly patches?: PatchTokens | undefined;
  /** Thumbnail, if requested. */
  readonly thumbnail?: Thumbnail | undefined;
}

/** Options that `ingest` passes to `embedAll`. */
export interface EmbedFilesOptions extends PixelOptions {
  /** How tokens become the vector. */
  readonly pooling?: Pooling | undefined;
  /** Always false: the index normalizes vectors itself. */
  readonly normalize: false;
  /** True to return patch tokens. */
  readonly patches: boolean;
  /** Longer side of the thumbnails in pixels; 0 for none. */
  readonly thumbnailPx: number;
  /** Maximum number of images that are computed together. */
  readonly batchSize?: number | undefined;
}

/**
 * The methods of a model that `ingest` and `describeImage` call. The library's class `DINOv2` has all of
 * them.
 */
export interface IngestModel extends IdentifiedModel {
  /**
   * Embeds a stream of images and decodes each once. Optional: for a model without it, images are embedded in
   * batches and decoded a second time for their thumbnails.
   */
  embedAll?(images: AsyncIterable<Blob>, options: EmbedFilesOptions): AsyncIterable<IngestResult>;
  /**
   * Computes the features of images, one batch for each image size. `indices` are the positions of the
   * batch's images in `images`.
   */
  featuresBySize(
    images: readonly Blob[],
    options: PixelOptions,
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: IngestFeatures }[]>;
}
