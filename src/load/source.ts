/** Types of the sources of checkpoints. */
import type { CacheEntry } from '../cache/entry.js';
import type { CacheIdentity, Manifest } from '../cache/format.js';
import type { CacheKind } from '../storage/store.js';
import type { SourceState } from '../cache/revalidate.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import type { Preprocessing } from '../image/preprocessing.js';
import type { LoadProgress } from '../options.js';
import type { Described } from './described.js';

/**
 * A checkpoint before its tensors are read. If `config` is undefined, the configuration is derived from the
 * tensors' shapes.
 */
export interface Checkpoint extends Described {
  /** Why the checkpoint must not be cached; undefined if it may be cached. */
  readonly uncachedReason?: string | undefined;
  readonly stream: TensorStream;
}

export type ByteProgress = (progress: Pick<LoadProgress, 'loadedBytes' | 'totalBytes'>) => void;

export interface OpenOptions {
  /** Stops the load. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress: ByteProgress;
  /**
   * Whether to bypass the browser's HTTP cache, because an earlier attempt got parts of two versions of a
   * file from it.
   */
  readonly reload: boolean;
  /** Whether to read each file in one answer, because an earlier attempt got parts of several versions. */
  readonly whole: boolean;
  /** The cache entry to read through. Default: none. */
  readonly entry?: CacheEntry | undefined;
}

/** The origin of a checkpoint. */
export interface CheckpointSource {
  /** The caller's preprocessing, which replaces the checkpoint's preprocessing. */
  readonly preprocessing?: Preprocessing | undefined;
  open(options: OpenOptions): Promise<Checkpoint>;
  /** Whether the files are local, so that nothing is fetched. */
  readonly local?: boolean | undefined;
  /** Whether the source can be read only once, because a file of it is a stream. */
  readonly once?: boolean | undefined;
  /** How to cache the checkpoint; undefined if it is not cached. */
  readonly cache?: CacheRequest | undefined;
}

/** How to cache a checkpoint, and the identity of its cache entry. */
export interface CacheRequest extends CacheIdentity {
  readonly kind: CacheKind;
  /** Whether to ask the browser not to evict the origin's storage. */
  readonly persist: boolean;
  /**
   * Asks the server whether the files of a cached entry have changed. Undefined: the entry is used without
   * asking.
   */
  readonly ask?: ((manifest: Manifest, signal: AbortSignal) => Promise<SourceState>) | undefined;
}
