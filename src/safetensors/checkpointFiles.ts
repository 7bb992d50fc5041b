/** The files of a checkpoint, their index, and the options of reading them. */
import type { ByteSource, OwnSource } from '../io/sources.js';
import type { TensorStreamOptions } from './tensorStream.js';

/** The parsed `model.safetensors.index.json` of a checkpoint in several files. */
export interface ShardIndex {
  /** File names, each once, in the order of their first tensors. */
  readonly files: readonly string[];
  /** Name of a tensor → name of its file. */
  readonly weightMap: ReadonlyMap<string, string>;
  /** The size of all tensors in bytes; undefined if the index does not state the size. */
  readonly totalBytes: number | undefined;
}

/** A file to read, and its expected hash. */
export interface CheckpointFile {
  readonly source: ByteSource | OwnSource;
  /** Name of the file for error messages. */
  readonly name: string;
  readonly sha256?: string | undefined;
}

export interface CheckpointOptions extends Omit<TensorStreamOptions, 'sha256'> {
  /** The index of a checkpoint in several files. Default: none. */
  readonly index?: ShardIndex | undefined;
}
