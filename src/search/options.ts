/** Option and result types of `EmbeddingIndex`. */
import type { Metric, ModelIdentity, PatchStorage, VectorStorage } from './journal.js';

/** Options of a new `EmbeddingIndex`. All options but `device` are fixed once the index is made. */
export interface IndexOptions {
  /** Length of a vector, 1 to 16,384: the model's `embedDim` (twice that for the pooling `cls+mean`). */
  readonly dim: number;
  /**
   * How a query and a vector are compared. `cosine` (default) scales both to length 1 before it computes
   * their dot product; `dot` does not scale them.
   */
  readonly metric?: Metric;
  /**
   * Number format of the stored vectors. `f16` (default) takes half the bytes of `f32`. `int8` takes a
   * quarter, plus 4 bytes per vector for a scale.
   */
  readonly storage?: VectorStorage;
  /**
   * Number format of the patch vectors, which `searchByPart` needs. `none` (default): no patches are stored.
   */
  readonly patches?: PatchStorage;
  /**
   * The model and preprocessing with which the vectors are made, as `modelIdentity` returns them. A stored
   * index or an imported file that was made with a different model is refused.
   */
  readonly model?: ModelIdentity | undefined;
  /**
   * Where searches run: `cpu`, or a `GPUDevice` of the caller (such as `model.device`). Default: a device
   * that the library requests at the first search, or the CPU if no GPU is available.
   */
  readonly device?: GPUDevice | 'cpu' | undefined;
}

/** An index on disk, in Node with `dinov2-webgpu/node`. */
export interface IndexFolder {
  /** Path or `file:` URL of the folder. It is created if it is missing, and holds nothing but the index. */
  readonly folder: string | URL;
}

/** Options of `EmbeddingIndex.open`. */
export interface OpenOptions extends IndexOptions {
  /** Asks the browser not to evict the index (`navigator.storage.persist()`). Default false. */
  readonly persist?: boolean;
  /** Signal that aborts `open`, even while `open` waits for another tab. */
  readonly signal?: AbortSignal | undefined;
  /**
   * `drop` opens a damaged index with its intact items and lists the ids of the damaged items in `dropped`.
   * Default: opening a damaged index throws INDEX_DAMAGED with these ids.
   */
  readonly repair?: 'drop' | undefined;
}

/** Patch tokens of one image, as `Features.patchTokens()` returns them. */
export interface PatchTokens {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patches in a row. */
  readonly cols: number;
  /** Patch tokens, (rows · cols, dim), row by row from the top left. */
  readonly tokens: Float32Array;
}

/** Optional parts of an item besides its vector and metadata. */
export interface ItemExtras {
  /** Patch tokens for `searchByPart`. Refused unless the option `patches` of the index is `f16` or `int8`. */
  readonly patches?: PatchTokens | undefined;
  /** A small picture of the image. `thumbnail(id)` returns it. */
  readonly thumbnail?: Blob | undefined;
}

/** An item to add to an index. */
export interface Item extends ItemExtras {
  /** Id of the item, unique in its index: 1 to 1,024 characters. */
  readonly id: string;
  /** The embedding, `dim` numbers. */
  readonly vector: ArrayLike<number>;
  /** Any JSON value, stored as `JSON.stringify` writes it. Default null. */
  readonly metadata?: unknown;
}

/** New values for the fields of an existing item. Fields that are absent here keep their old values. */
export type ItemUpdate = Partial<Omit<Item, 'id'>>;

/**
 * Function that returns true for items that a search may return. It is called once per item and search; the
 * order of the items is not defined.
 */
export type ItemFilter = (id: string, metadata: unknown) => boolean;

/** Options of `search`, `searchByPart` and `neighbours`. */
export interface SearchOptions {
  /** Maximum number of results. Default 10. */
  readonly topK?: number;
  /** Restricts the results to items for which this function returns true. Default: no restriction. */
  readonly filter?: ItemFilter | undefined;
  /** Minimum score of a result. Default: no minimum. */
  readonly threshold?: number | undefined;
  /** Aborts the search. */
  readonly signal?: AbortSignal | undefined;
}

/** A search result. */
export interface Hit {
  /** Id of the item. */
  readonly id: string;
  /**
   * Dot product of the query and the stored vector, in float64. For the metric `cosine` this is their cosine,
   * from -1 to 1.
   */
  readonly score: number;
  /** Metadata of the item; null if it has none. */
  readonly metadata: unknown;
}

/** A rectangle of patches in an image. All members count patches, not pixels. */
export interface PatchBox {
  /** Index of the topmost row of patches, from 0. */
  readonly row: number;
  /** Index of the leftmost column of patches, from 0. */
  readonly col: number;
  /** Height in patches. */
  readonly rows: number;
  /** Width in patches. */
  readonly cols: number;
}

/** The query of `searchByPart`: the patch tokens of an image, and the region to look for. */
export interface PartQuery extends PatchTokens {
  /** The region to look for. Default: the whole image. */
  readonly region?: PatchBox | undefined;
}

/** A result of `searchByPart`. */
export interface PartHit extends Hit {
  /** The window of patches in this image that is most similar to the region of the query. */
  readonly box: PatchBox;
  /** Size of the whole image in patches. */
  readonly grid: { readonly rows: number; readonly cols: number };
}

/** Options of `duplicates`. */
export interface DuplicateOptions {
  /** Minimum score of a pair of near-duplicates. Default 0.95. */
  readonly threshold?: number;
  /** Aborts the comparison. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `clusters`. */
export interface ClusterOptions {
  /**
   * Seed of the random numbers that choose the initial centres, 0 to 2³² - 1. The same seed and the same
   * items give the same clusters. Default 0.
   */
  readonly seed?: number;
  /** Maximum number of k-means iterations. Default 50. */
  readonly maxIterations?: number;
  /** Aborts the clustering. */
  readonly signal?: AbortSignal | undefined;
}

/** The result of `clusters`: the largest cluster comes first. Clusters without items are left out. */
export interface Clusters {
  /** Item ids of each cluster, nearest to its centre first. */
  readonly ids: readonly (readonly string[])[];
  /** Centre of each cluster, a vector (dim) of length 1, in the order of `ids`. */
  readonly centroids: readonly Float32Array<ArrayBuffer>[];
}

/** Options of `export`. */
export interface ExportOptions {
  /** True to export the thumbnails too. Default true. A file without thumbnails is smaller. */
  readonly thumbnails?: boolean | undefined;
  /** Ids of the items to export, in the order of the file. Default: all items. */
  readonly ids?: Iterable<string> | undefined;
}

/** Position of an item on the map. */
export interface MapPoint {
  /** Id of the item. */
  readonly id: string;
  /** Coordinate along the first principal component. */
  readonly x: number;
  /** Coordinate along the second principal component. */
  readonly y: number;
}

/** A change of an index, as passed to the listeners of `on('change')`. */
export interface IndexChange {
  /** Ids of items that were added or updated. */
  readonly put: readonly string[];
  /** Ids of items that were removed. */
  readonly removed: readonly string[];
  /** True if another tab made the change. */
  readonly elsewhere: boolean;
}

/** Where searches run (GPU or CPU), and why. */
export interface SearchBackend {
  /** The processor that computes searches. */
  readonly kind: 'gpu' | 'cpu';
  /** A sentence for the user: names the GPU, or says why the GPU is not used. */
  readonly reason: string;
}
