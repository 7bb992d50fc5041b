/** Where a checkpoint comes from, as the loader sees it. */
import type { CacheEntry, CacheIdentity, Manifest } from '../cache/entry.js';
import type { CacheKind } from '../storage/store.js';
import type { SourceState } from '../cache/revalidate.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import type { Preprocessing } from '../image/preprocessing.js';
import type { LoadProgress } from '../options.js';
import type { Described } from './configFile.js';

/** A checkpoint about to be read. Where it brings no configuration, its tensors' shapes give it. */
export interface Checkpoint extends Described {
  /** In a sentence why it is not to be kept, where there is a reason. */
  readonly unkept?: string | undefined;
  readonly stream: TensorStream;
}

export type ByteProgress = (progress: Pick<LoadProgress, 'loadedBytes' | 'totalBytes'>) => void;

export interface OpenOptions {
  readonly onProgress: ByteProgress;
  /** Past the browser's HTTP cache: what came before was of two versions. */
  readonly reload: boolean;
  /** In one answer: what came in parts was of several versions. */
  readonly whole: boolean;
  /** Read through this. */
  readonly entry?: CacheEntry | undefined;
}

/** Where a checkpoint comes from. */
export interface CheckpointSource {
  /** What the caller gives in place of what the checkpoint says of images. */
  readonly preprocessing?: Preprocessing | undefined;
  open(options: OpenOptions): Promise<Checkpoint>;
  /** At hand already: nothing is fetched. */
  readonly local?: boolean | undefined;
  /** How it is kept in the browser; undefined: it is not. */
  readonly cache?: CacheRequest | undefined;
}

/** What to keep, and under which name. */
export interface CacheRequest extends CacheIdentity {
  readonly kind: CacheKind;
  /** Ask the browser to spare the origin's storage when it runs out of room. */
  readonly persist: boolean;
  /** Asks whether what is kept has changed at its source; undefined: it is used without a question. */
  readonly ask?: ((manifest: Manifest) => Promise<SourceState>) | undefined;
}
