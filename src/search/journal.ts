/**
 * `Journal`: the interface between `EmbeddingIndex`, which searches in memory, and the storage in `store/`,
 * which makes changes durable.
 */

/**
 * The model and the preprocessing with which a vector was made. Vectors cannot be compared if they were made
 * by different models or with different preprocessing.
 */
export interface ModelIdentity {
  /** Name of the model for error messages. It does not count when identities are compared. */
  readonly id: string;
  /** `model.fingerprint()`: SHA-256 as hexadecimal digits. */
  readonly fingerprint: string;
  /** Resizing, size and pooling as one readable string. */
  readonly preprocessing: string;
}

/** How a query and a vector are compared: by their cosine, or by their dot product. */
export type Metric = 'cosine' | 'dot';
/** Number format of stored vectors. */
export type VectorStorage = 'f32' | 'f16' | 'int8';
/** Number format of stored patch vectors. `none`: the index stores no patches. */
export type PatchStorage = 'none' | 'f16' | 'int8';

/** Properties of an index that are fixed once the index is made. */
export interface IndexHeader {
  /** Version of the storage format. */
  readonly format: 1;
  /** Length of a vector. */
  readonly dim: number;
  /** How a query and a vector are compared. */
  readonly metric: Metric;
  /** Number format of the stored vectors. */
  readonly storage: VectorStorage;
  /** Number format of the stored patches. */
  readonly patches: PatchStorage;
  /** The model and preprocessing with which the vectors were made; undefined if the caller named no model. */
  readonly model: ModelIdentity | undefined;
}

/** Encoded patch vectors of one image. Each vector has length 1. */
export interface EncodedPatches {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patches in a row. */
  readonly cols: number;
  /** rows · cols encoded vectors (`codec.ts`), row by row from the top left. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** An item in the form in which it is stored. */
export interface StoredItem {
  /** Id of the item, unique in its index. */
  readonly id: string;
  /** The encoded vector (`codec.ts`). */
  readonly vector: Uint8Array<ArrayBuffer>;
  /** Metadata of the item: any JSON value. */
  readonly metadata: unknown;
  /** The encoded patches, if the item has any. */
  readonly patches?: EncodedPatches | undefined;
  /** The thumbnail, if the item has one. */
  readonly thumbnail?: Blob | undefined;
}

/**
 * One change of an index. `put` adds an item, or replaces the item with the same id. If the new item has no
 * thumbnail, the thumbnail of the replaced item is kept.
 */
export type Change =
  | {
      /** The item to add, or to replace the item with the same id. */
      readonly put: StoredItem;
    }
  | {
      /** The id of the item to remove. */
      readonly remove: string;
    };

/**
 * A list of changes, or a function that returns it. The function runs while no other tab can change the
 * index.
 */
export type Changes = readonly Change[] | (() => readonly Change[] | Promise<readonly Change[]>);

/** How much storage an index occupies. */
export interface IndexUsage {
  /** Number of items. */
  readonly items: number;
  /** Total size, in bytes, of the files with vectors and patches. Thumbnails and metadata are not counted. */
  readonly bytes: number;
  /**
   * The part of `bytes` that replaced and removed items still occupy. `compact` frees this space; the store
   * also frees it by itself once less than half of a file is in use.
   */
  readonly wastedBytes: number;
}

/** The storage of one open index: it makes changes durable. */
export interface Journal {
  /** Header of the stored index. */
  readonly header: IndexHeader;
  /** Ids of the damaged items that opening with `repair: 'drop'` left out. */
  readonly dropped: readonly string[];
  /**
   * True if the browser had lost the database of the index and opening rebuilt it from the files. Thumbnails
   * and the values of `setState` are then lost.
   */
  readonly restored: boolean;
  /** True if opening created the index: nothing was stored under its name, or the browser had evicted it. */
  readonly created: boolean;
  /**
   * Yields all items without their thumbnails, in the order in which they were last put (added or replaced).
   * Called once, when the index is opened.
   */
  items(signal?: AbortSignal): AsyncIterable<StoredItem>;
  /**
   * Commits changes. When the promise resolves, all changes are durable; when it rejects, no change was made.
   * Commits run in the order of the calls. If `changes` is a function, it is called after the callbacks of
   * `watch` have received all commits made by other tabs.
   */
  commit(changes: Changes): Promise<void>;
  /** Reads the thumbnail of an item; undefined if the item has none. */
  thumbnail(id: string): Promise<Blob | undefined>;
  /**
   * Calls `onChanges` with the changes of each commit made by another tab. Returns a function that ends these
   * calls.
   */
  watch(onChanges: (changes: readonly Change[]) => void): () => void;
  /** Reads a value that `setState` stored. */
  getState(key: string): Promise<unknown>;
  /**
   * Stores a small value beside the items: any value that `structuredClone` can copy. The value undefined
   * deletes the key.
   */
  setState(key: string, value: unknown): Promise<void>;
  /** Rewrites files to free the space that replaced and removed items still occupy. */
  compact(): Promise<void>;
  /** Returns how much storage the index occupies. */
  usage(): Promise<IndexUsage>;
  /** Waits until running commits have ended, then closes the database. */
  close(): Promise<void>;
}
