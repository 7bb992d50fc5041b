/** Where a checkpoint comes from, as the loader sees it. */
import type { CachePlan } from '../cache/cacheEntry.js';
import type { CacheKind } from '../storage/store.js';
import type { SourceState } from '../cache/revalidate.js';
import type { CheckpointOptions } from '../safetensors/shards.js';
import type { TensorStream } from '../safetensors/tensorStream.js';
import type { Preprocessing } from '../image/preprocessing.js';
import type { LoadProgress } from '../options.js';
import type { Described } from './configFile.js';

/** The texts of a checkpoint's small files, as they are kept for the next time. */
export interface SmallFiles {
  /** config.json; null: the checkpoint has none. */
  readonly config: string | null;
  /** preprocessor_config.json; null: the checkpoint has none. */
  readonly preprocessor: string | null;
}

/** A checkpoint about to be read. Where it brings no configuration, its tensors' shapes give it. */
export interface Checkpoint extends Described {
  /** What is kept beside the weights; undefined, or in a sentence why there is nothing: then no weights are kept. */
  readonly texts?: SmallFiles | string | undefined;
  readonly stream: TensorStream;
}

export type ByteProgress = (progress: Pick<LoadProgress, 'loadedBytes' | 'totalBytes'>) => void;

export interface OpenOptions {
  readonly onProgress: ByteProgress;
  /** Past the browser's HTTP cache: what came before was of two versions. */
  readonly reload: boolean;
  /** In one answer: what came in parts was of several versions. */
  readonly whole: boolean;
  /** Go on from here; what config.json says is known then. */
  readonly resume?: (NonNullable<CheckpointOptions['resume']> & Pick<CachePlan, 'integrity'>) | undefined;
}

/** Where a checkpoint comes from. */
export interface CheckpointSource {
  /** What the caller gives in place of what the checkpoint says of images. */
  readonly preprocessing?: Preprocessing | undefined;
  open(options: OpenOptions): Promise<Checkpoint>;
  /** At hand already: nothing is fetched. */
  readonly local?: boolean | undefined;
  /** How its packed weights are kept in the browser; undefined: they are not. */
  readonly cache?: CacheRequest | undefined;
}

/** What to keep, and under which name. */
export interface CacheRequest {
  readonly kind: CacheKind;
  /** Ask the browser to spare the origin's storage when it runs out of room. */
  readonly persist: boolean;
  /** Asks whether what is kept has changed at its source; undefined: it is used without a question. */
  readonly ask?: ((plan: CachePlan) => Promise<SourceState>) | undefined;
  /** As the caller wrote it. */
  readonly id: string;
  /** The URL of the folder. */
  readonly folder: string;
  /** SHA-256 that were asked for, by file name. */
  readonly integrity: Readonly<Record<string, string>>;
}
