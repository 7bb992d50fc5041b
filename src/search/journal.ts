/**
 * What keeps an index: the interface between `EmbeddingIndex`, which computes, and `store/`, which makes
 * durable.
 */

/**
 * Which model made the vectors, and of what. Vectors of two models, or of one model with two kinds of
 * preprocessing, cannot be compared.
 */
export interface ModelIdentity {
  /** As on the hub, or whatever the caller calls it: for messages. */
  readonly id: string;
  /** `model.fingerprint()`, SHA-256 in hexadecimal digits. */
  readonly fingerprint: string;
  /** What was done to an image: resizing, size, pooling, as one readable string. */
  readonly preprocessing: string;
}

export type Metric = 'cosine' | 'dot';
export type VectorStorage = 'f32' | 'f16' | 'int8';
export type PatchStorage = 'none' | 'f16' | 'int8';

/** What is fixed for the life of an index. */
export interface IndexHeader {
  readonly format: 1;
  readonly dim: number;
  readonly metric: Metric;
  readonly storage: VectorStorage;
  readonly patches: PatchStorage;
  readonly model: ModelIdentity | undefined;
}

/**
 * Patch vectors of one image, each of length 1: rows · cols encoded vectors, row by row from the top left
 * (`codec.ts` says how).
 */
export interface EncodedPatches {
  readonly rows: number;
  readonly cols: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

/** What is kept of an item. */
export interface StoredItem {
  readonly id: string;
  /** Encoded (`codec.ts`). */
  readonly vector: Uint8Array<ArrayBuffer>;
  /** A JSON value. */
  readonly metadata: unknown;
  readonly patches?: EncodedPatches | undefined;
  readonly thumbnail?: Blob | undefined;
}

/**
 * An item that is put where its id is kept already replaces what was kept, its thumbnail too unless it brings
 * none.
 */
export type Change = { readonly put: StoredItem } | { readonly remove: string };

/** Changes, or what makes them of the index as it is when nobody else can change it. */
export type Changes = readonly Change[] | (() => readonly Change[] | Promise<readonly Change[]>);

/** What an index takes in the browser's storage. */
export interface IndexUsage {
  readonly items: number;
  /** Of the files with vectors and patches. Thumbnails and metadata come on top. */
  readonly bytes: number;
  /** Of these: of items that were replaced or removed. `compact` frees them; much of them goes by itself. */
  readonly wastedBytes: number;
}

/** Keeps an index. One instance for each open index. */
export interface Journal {
  readonly header: IndexHeader;
  /**
   * Ids of damaged items that were dropped when the index was opened, where the caller has asked for that.
   */
  readonly dropped: readonly string[];
  /**
   * Whether the browser had lost the database when the index was opened, so that it was made anew: without
   * thumbnails and states.
   */
  readonly restored: boolean;
  /**
   * Everything that is kept, without thumbnails, in the order in which it was put; called once, when the
   * index is opened.
   */
  items(signal?: AbortSignal): AsyncIterable<StoredItem>;
  /**
   * All of the changes are durable when it resolves; none of them was made when it rejects. In the order of
   * the calls. Watchers have heard of all that other tabs have committed before `changes` is called.
   */
  commit(changes: Changes): Promise<void>;
  thumbnail(id: string): Promise<Blob | undefined>;
  /** Calls back with what other tabs have committed; returns how to stop. */
  watch(onChanges: (changes: readonly Change[]) => void): () => void;
  /** Small records beside the items (where an ingest stands): whatever can be cloned. */
  getState(key: string): Promise<unknown>;
  setState(key: string, value: unknown): Promise<void>;
  compact(): Promise<void>;
  usage(): Promise<IndexUsage>;
  close(): Promise<void>;
}
