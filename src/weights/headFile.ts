/**
 * Reads a linear classifier from a file of its own. `ImageClassifier.fromFiles` loads this module on demand.
 */
import type { ByteSource } from '../io/sources.js';
import { openTensors } from '../safetensors/tensorStream.js';
import { readHead, type LinearHead } from './head.js';

/**
 * Reads a linear classifier from a file of its own.
 * @throws CheckpointError if the file holds no linear classifier; SourceError, SafetensorsError
 */
export async function readHeadFile(
  weights: ByteSource,
  options: { readonly signal?: AbortSignal | undefined },
): Promise<LinearHead> {
  return readHead(await openTensors(weights, options));
}
