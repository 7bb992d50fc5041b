/**
 * `Journal`, the interface between `EmbeddingIndex`, which computes, and `store/`, which makes changes
 * durable.
 */

/**
 * The model and the preprocessing that made a vector. Vectors made by different models, or with different
 * preprocessing, cannot be compared.
 */
export interface ModelIdentity {
  /** Name of the model for error messages. Not compared. */
  readonly id: string;
  /** `model.fingerprint()`: SHA-256 as hexadecimal digits. */
  readonly fingerprint: string;
  /** Resizing, size and pooling as one readable string. */
  readonly preprocessing: string;
}

/** How two vectors are compared: by their cosine, or by their dot product. */
export type Metric = 'cosine' | 'dot';
/** Number format of stored vectors. */
export type VectorStorage = 'f32' | 'f16' | 'int8';
/** Number format of stored patch vectors; `none`: patches are not stored. */
export type PatchStorage = 'none' | 'f16' | 'int8';

/** Properties of an index that cannot change after it is made. */
export interface IndexHeader {
  /** Version of the storage format. */
  readonly format: 1;
  /** Length of a vector. */
  readonly dim: number;
  /** How vectors are compared. */
  readonly metric: Metric;
  /** Number format of the stored vectors. */
  readonly storage: VectorStorage;
  /** Number format of the stored patches. */
  readonly patches: PatchStorage;
  /** The model and preprocessing that made the vectors; undefined if the caller named none. */
  readonly model: ModelIdentity | undefined;
}

/** Encoded patch vectors of one image. Each has length 1. */
export interface EncodedPatches {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patches in a row. */
  readonly cols: number;
  /** rows · cols encoded vectors (`codec.ts`), row by row from the top left. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** An item as it is stored. */
export interface StoredItem {
  /** Unique name of the item. */
  readonly id: string;
  /** The encoded vector (`codec.ts`). */
  readonly vector: Uint8Array<ArrayBuffer>;
  /** A JSON value. */
  readonly metadata: unknown;
  /** The encoded patches, if the item has any. */
  readonly patches?: EncodedPatches | undefined;
  /** The thumbnail, if the item has one. */
  readonly thumbnail?: Blob | undefined;
}

/**
 * One change of an index. `put` adds an item or replaces the item with the same id. A replaced item keeps its
 * thumbnail unless the new item has one.
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

/** Changes, or a function that returns changes. The function runs while no other tab can change the index. */
export type Changes = readonly Change[] | (() => readonly Change[] | Promise<readonly Change[]>);

/** Storage that an index occupies. */
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

/** Durable storage of one open index. */
export interface Journal {
  /** Header of the stored index. */
  readonly header: IndexHeader;
  /** Ids of the damaged items that opening with `repair: 'drop'` left out. */
  readonly dropped: readonly string[];
  /**
   * True if the browser had lost the database and opening rebuilt it from the files. Thumbnails and values of
   * `setState` are then lost.
   */
  readonly restored: boolean;
  /**
   * All items in the order in which they were put, without their thumbnails. Called once, when the index is
   * opened.
   */
  items(signal?: AbortSignal): AsyncIterable<StoredItem>;
  /**
   * Commits changes. When the promise resolves, all changes are durable; when it rejects, no change was made.
   * Commits run in the order of the calls. If `changes` is a function, watchers receive all commits made by
   * other tabs before it is called.
   */
  commit(changes: Changes): Promise<void>;
  /** The thumbnail of an item, or undefined if it has none. */
  thumbnail(id: string): Promise<Blob | undefined>;
  /**
   * Calls `onChanges` with the changes of each commit made by another tab. Returns a function that ends these
   * calls.
   */
  watch(onChanges: (changes: readonly Change[]) => void): () => void;
  /** Reads a value that `setState` stored. */
  getState(key: string): Promise<unknown>;
  /**
   * Stores a small value beside the items: any value that `structuredClone` copies. Undefined deletes the
   * key.
   */
  setState(key: string, value: unknown): Promise<void>;
  /** Rewrites files to free the space of replaced and removed items. */
  compact(): Promise<void>;
  /** Storage that the index occupies. */
  usage(): Promise<IndexUsage>;
  /** Finishes running commits and closes the database. */
  close(): Promise<void>;
}
