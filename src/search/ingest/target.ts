/**
 * What an ingest needs of an index and of a model: `EmbeddingIndex`, and `DINOv2` in the page or in a worker,
 * have all of it.
 */
import type { PixelOptions } from '../../image/preprocess.js';
import type { IdentifiedModel } from '../identity.js';
import type { IndexHeader } from '../journal.js';
import type { Item, ItemUpdate } from '../options.js';

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

export interface IngestModel extends IdentifiedModel {
  featuresBySize(
    images: readonly Blob[],
    options: PixelOptions,
  ): Promise<readonly { readonly indices: readonly number[]; readonly features: IngestFeatures }[]>;
}
