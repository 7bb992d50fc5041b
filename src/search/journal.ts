/**
 * `Journal`, the interface between `EmbeddingIndex`, which computes, and `store/`, which makes changes
 * durable.
 */

/**
 * The model and the preprocessing that made a vector. Vectors of two models, or of two kinds of
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

/** Properties that are fixed for the life of an index. */
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
  /** The model and preprocessing that made the vectors; undefined if the caller did not say. */
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
 * One change of an index. `put` adds an item or replaces the item with that id. A replaced item keeps its
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

/** Changes, or a function that returns them. The function runs while no other tab can change the index. */
export type Changes = readonly Change[] | (() => readonly Change[] | Promise<readonly Change[]>);

/** Storage that an index occupies. */
export interface IndexUsage {
  /** Number of items. */
  readonly items: number;
  /** Bytes of the files with vectors and patches. Thumbnails and metadata are not counted. */
  readonly bytes: number;
  /**
   * Bytes of replaced and removed items within `bytes`. `compact` frees them; the store also frees them by
   * itself once they add up.
   */
  readonly wastedBytes: number;
}

/** Durable storage of one open index. */
export interface Journal {
  /** Header of the stored index. */
  readonly header: IndexHeader;
  /** Ids of damaged items that `repair: 'drop'` left out. */
  readonly dropped: readonly string[];
  /**
   * True if the browser had lost the database and opening rebuilt it from the files. Thumbnails and states
   * are then lost.
   */
  readonly restored: boolean;
  /**
   * All items in the order in which they were put, without their thumbnails. Called once, when the index is
   * opened.
   */
  items(signal?: AbortSignal): AsyncIterable<StoredItem>;
  /**
   * Commits changes. All of them are durable when the promise resolves; none of them is made when it rejects.
   * Commits run in the order of the calls. Watchers receive every commit of other tabs before the function
   * `changes` is called.
   */
  commit(changes: Changes): Promise<void>;
  /** The thumbnail of an item, or undefined if it has none. */
  thumbnail(id: string): Promise<Blob | undefined>;
  /** Calls `onChanges` with each commit of other tabs. Returns a function that stops this. */
  watch(onChanges: (changes: readonly Change[]) => void): () => void;
  /** Reads a value that `setState` stored. */
  getState(key: string): Promise<unknown>;
  /** Stores a small value beside the items: anything that can be cloned. Undefined deletes the key. */
  setState(key: string, value: unknown): Promise<void>;
  /** Rewrites files to free the space of replaced and removed items. */
  compact(): Promise<void>;
  /** Storage that the index occupies. */
  usage(): Promise<IndexUsage>;
  /** Finishes running commits and closes the database. */
  close(): Promise<void>;
}
