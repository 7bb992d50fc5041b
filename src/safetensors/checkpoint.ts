/** Opens a checkpoint of one safetensors file or several as one stream of tensors. */
import { loadPart } from '../platform/part.js';
import type { CheckpointFile, CheckpointOptions } from './checkpointFiles.js';
import { openTensors, type TensorStream } from './tensorStream.js';

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
