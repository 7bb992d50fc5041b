/** What callers of an index hand in and get back: types only. */
import type { Metric, ModelIdentity, PatchStorage, VectorStorage } from './journal.js';

export interface IndexOptions {
  /** Numbers in a vector: the model's `embedDim` (twice that for the pooling `cls+mean`). */
  readonly dim: number;
  /**
   * `cosine` (default): vectors are scaled to length 1 when they come in, and queries too. `dot`: they are
   * taken as they are.
   */
  readonly metric?: Metric;
  /** How vectors are stored. Default `f16`: half of f32; `int8`: a quarter, with a scale for each vector. */
  readonly storage?: VectorStorage;
  /** Whether patch vectors are kept beside each vector, for `searchByPart`, and how. Default `none`. */
  readonly patches?: PatchStorage;
  /**
   * What made the vectors (`modelIdentity`). An index that is kept, or a file, that names another model is
   * refused.
   */
  readonly model?: ModelIdentity | undefined;
  /**
   * Where to search: a device of the caller's (`model.device`), or `cpu`. Default: the library's own device,
   * at the first search; the CPU where there is none.
   */
  readonly device?: GPUDevice | 'cpu' | undefined;
}

export interface OpenOptions extends IndexOptions {
  /** Asks the browser not to evict what is kept. */
  readonly persist?: boolean;
  readonly signal?: AbortSignal | undefined;
  /**
   * `drop`: where something that is kept is damaged, goes on with the items that are whole; `dropped` has the
   * ids of the others. Default: an error that names them.
   */
  readonly repair?: 'drop' | undefined;
}

/**
 * Patch tokens of an image as `Features.patchTokens()` gives them: (rows · cols, dim), row by row from the
 * top left.
 */
export interface PatchTokens {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: Float32Array;
}

/** What stands beside a vector. */
export interface ItemExtras {
  readonly patches?: PatchTokens | undefined;
  readonly thumbnail?: Blob | undefined;
}

export interface Item extends ItemExtras {
  /** 1 to 1,024 characters. */
  readonly id: string;
  /** (dim) */
  readonly vector: ArrayLike<number>;
  /** A JSON value; kept as JSON keeps it. Default null. */
  readonly metadata?: unknown;
}

/** What is given replaces what was kept; what is absent stays. */
export type ItemUpdate = Partial<Omit<Item, 'id'>>;

/**
 * Which items may be found. Called once an item and search; an index with other items calls it in another
 * order.
 */
export type ItemFilter = (id: string, metadata: unknown) => boolean;

export interface SearchOptions {
  /** How many items to find. Default 10. */
  readonly topK?: number;
  readonly filter?: ItemFilter | undefined;
  /** Only items with this score or a higher one. */
  readonly threshold?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An item that was found. */
export interface Hit {
  readonly id: string;
  /**
   * Dot product of the query and the vector as it is stored, in float64; for `cosine` their cosine, -1 to 1.
   */
  readonly score: number;
  readonly metadata: unknown;
}

/** A rectangle of patches. */
export interface PatchBox {
  readonly row: number;
  readonly col: number;
  readonly rows: number;
  readonly cols: number;
}

export interface PartQuery extends PatchTokens {
  /** The part that is looked for. Default: all of it. */
  readonly region?: PatchBox | undefined;
}

/** An image that was found by a part of it. */
export interface PartHit extends Hit {
  /** Where in it, in patches. */
  readonly box: PatchBox;
  /** How many patches the image has. */
  readonly grid: { readonly rows: number; readonly cols: number };
}

export interface DuplicateOptions {
  /** Items of a pair have at least this score. Default 0.95. */
  readonly threshold?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface ClusterOptions {
  /** The same seed gives the same clusters. Default 0. */
  readonly seed?: number;
  /** Default 50. */
  readonly maxIterations?: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Clusters {
  /** Ids of each cluster, those nearest to its centre first; the largest cluster first. */
  readonly ids: readonly (readonly string[])[];
  /** Unit vectors, in the same order. */
  readonly centroids: readonly Float32Array<ArrayBuffer>[];
}

/** An item's place on the map. */
export interface MapPoint {
  readonly id: string;
  readonly x: number;
  readonly y: number;
}

/** What an index tells its listeners: items that came, changed or went, here or in another tab. */
export interface IndexChange {
  readonly put: readonly string[];
  readonly removed: readonly string[];
  /** Another tab made the change. */
  readonly elsewhere: boolean;
}

/** Where searches run, and why there. */
export interface SearchBackend {
  readonly kind: 'gpu' | 'cpu';
  readonly reason: string;
}
