/** Opens a checkpoint, made of one or several safetensors files, as one stream of tensors. */
import type { ByteSource, OwnSource } from '../io/sources.js';
import { loadPart } from '../platform/part.js';
import type { ShardIndex } from './shards.js';
import { openTensors, type TensorStream, type TensorStreamOptions } from './tensorStream.js';

/** A file to read, with its expected hash. */
export interface CheckpointFile {
  readonly source: ByteSource | OwnSource;
  /** Name of the file in error messages. */
  readonly name: string;
  readonly sha256?: string | undefined;
}

export interface CheckpointOptions extends Omit<TensorStreamOptions, 'sha256'> {
  /** The shard index of a checkpoint in several files. Default: none. */
  readonly index?: ShardIndex | undefined;
}

/**
 * Opens a checkpoint of one or several files. All headers are read first, then the tensors of one file after
 * the other.
 * @throws SourceError SOURCE_INDEX if the shard index and the files contradict each other; the errors of
 *   `openTensors`
 */
export async function openCheckpoint(
  files: readonly CheckpointFile[],
  options: CheckpointOptions = {},
): Promise<TensorStream> {
  const [file, ...others] = files;
  if (file && others.length === 0 && !options.index)
    return openTensors(file.source, { ...options, sha256: file.sha256 });
  const { openShards } = await loadPart(import('./shards.js'));
  return openShards(files, options);
}
