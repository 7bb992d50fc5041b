/**
 * The interfaces that `ingest` requires of an index and of a model. `EmbeddingIndex` implements the first;
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
  /** All ids. */
  ids(): Iterable<string>;
  /** Metadata of an item. */
  metadata(id: string): unknown;
  /** Thumbnail of an item, or undefined if it has none. */
  thumbnail(id: string): Promise<Blob | undefined>;
  /** Adds items, all or none. */
  addMany(items: Iterable<Item>): Promise<void>;
  /** Replaces fields of an item. */
  update(id: string, changes: ItemUpdate): Promise<void>;
  /** Removes items and returns how many existed. */
  remove(ids: readonly string[]): Promise<number>;
  /** Reads a value that `setState` stored. */
  getState(key: string): Promise<unknown>;
  /** Stores a value beside the items. */
  setState(key: string, value: unknown): Promise<void>;
}

/** Features of a batch of images of one size. `Features` has all members. */
export interface IngestFeatures {
  /** Number of images. */
  readonly batch: number;
  /** Patch rows of an image. */
  readonly rows: number;
  /** Patches in a row. */
  readonly cols: number;
  /** Length of a token. */
  readonly embedDim: number;
  /** Tokens of an image: class token, register tokens, patch tokens. */
  readonly numTokens: number;
  /** Register tokens of an image. */
  readonly numRegisterTokens: number;
  /** Class tokens, (batch, embedDim). */
  clsToken(): Promise<Float32Array>;
  /** All tokens, (batch, numTokens, embedDim). */
  lastHiddenState(): Promise<Float32Array>;
  /** Frees the GPU memory. */
  dispose(): void;
}

/** The result of `embedAll` for one image. */
export interface IngestResult {
  /** Position of the image in the input. */
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
  /** The index normalizes vectors itself. */
  readonly normalize: false;
  /** True to return patch tokens. */
  readonly patches: boolean;
  /** Longer side of the thumbnails in pixels; 0 for none. */
  readonly thumbnailPx: number;
  /** Maximum number of images that are computed together. */
  readonly batchSize?: number | undefined;
}

/** The methods of a model that `ingest` and `describeImage` call. `DINOv2` has them all. */
export interface IngestModel extends IdentifiedModel {
  /**
   * Embeds a stream of images and decodes each once. Optional: for a model without it, images are embedded in
   * batches and decoded a second time for their thumbnails.
   */
  embedAll?(images: AsyncIterable<Blob>, options: EmbedFilesOptions): AsyncIterable<IngestResult>;
  /** Computes the features of images, one batch for each image size. `indices` are positions in `images`. */
  featuresBySize(
    images: readonly Blob[],
    options: PixelOptions,
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: IngestFeatures }[]>;
}
