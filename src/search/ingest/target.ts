/**
 * What an ingest needs of an index and of a model: `EmbeddingIndex`, and `DINOv2` in the page or in a worker,
 * have all of it.
 */
import type { PixelOptions } from '../../image/preprocess.js';
import type { Thumbnail } from '../../image/thumbnail.js';
import type { Pooling } from '../../tasks/pooling.js';
import type { IdentifiedModel } from '../identity.js';
import type { IndexHeader } from '../journal.js';
import type { Item, ItemUpdate, PatchTokens } from '../options.js';

export interface IngestIndex {
  readonly header: IndexHeader;
  has(id: string): boolean;
  ids(): Iterable<string>;
  metadata(id: string): unknown;
  thumbnail(id: string): Promise<Blob | undefined>;
  addMany(items: Iterable<Item>): Promise<void>;
  update(id: string, changes: ItemUpdate): Promise<void>;
  remove(ids: readonly string[]): Promise<number>;
  getState(key: string): Promise<unknown>;
  setState(key: string, value: unknown): Promise<void>;
}

/** Features of images of one size. */
export interface IngestFeatures {
  readonly batch: number;
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly numTokens: number;
  readonly numRegisterTokens: number;
  clsToken(): Promise<Float32Array>;
  lastHiddenState(): Promise<Float32Array>;
  dispose(): void;
}

/** What `embedAll` gives of an image. */
export interface IngestResult {
  readonly index: number;
  readonly error?: Error | undefined;
  readonly embedding?: Float32Array<ArrayBuffer> | undefined;
  readonly patches?: PatchTokens | undefined;
  readonly thumbnail?: Thumbnail | undefined;
}

export interface EmbedFilesOptions extends PixelOptions {
  readonly pooling?: Pooling | undefined;
  readonly normalize: false;
  readonly patches: boolean;
  readonly thumbnailPx: number;
  readonly batchSize?: number | undefined;
}

export interface IngestModel extends IdentifiedModel {
  /** Decodes each file once. A model without it gets batches of files, and thumbnails are decoded beside it. */
  embedAll?(images: AsyncIterable<Blob>, options: EmbedFilesOptions): AsyncIterable<IngestResult>;
  featuresBySize(
    images: readonly Blob[],
    options: PixelOptions,
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: IngestFeatures }[]>;
}
