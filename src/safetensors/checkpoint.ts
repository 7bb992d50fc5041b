/** Opens a checkpoint of one safetensors file or several as one stream of tensors. */
import type { ByteSource, OwnSource } from '../io/sources.js';
import { loadPart } from '../platform/part.js';
import type { ShardIndex } from './shards.js';
import { openTensors, type TensorStream, type TensorStreamOptions } from './tensorStream.js';

/** A file to read, and its expected hash. */
export interface CheckpointFile {
  readonly source: ByteSource | OwnSource;
  /** For messages. */
  readonly name: string;
  readonly sha256?: string | undefined;
}

export interface CheckpointOptions extends Omit<TensorStreamOptions, 'sha256'> {
  /** The index of a checkpoint in several files. Default: none. */
  readonly index?: ShardIndex | undefined;
}

/**
 * Opens a checkpoint of one file or several: all headers first, then the tensors of one file after the other.
 * @throws SourceError SOURCE_INDEX if index and files contradict each other; what `openTensors` throws
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
