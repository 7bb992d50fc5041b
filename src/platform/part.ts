/** Parts of the library that are files of their own, loaded when they are first used. */
import { SourceError } from '../errors.js';

/**
 * Waits for `import('./part.js')`. Chromium keeps a failed import for the life of the page, so the advice is to reload.
 * @throws SourceError SOURCE_FETCH if the file does not come, or cannot be run
 */
export async function loadPart<T>(loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (cause) {
    throw new SourceError(
      'SOURCE_FETCH',
      `A file of the library did not arrive (${String(cause)}). Check the network and reload the page; whoever serves it, serve all files of one version of dinov2-webgpu side by side.`,
      { cause },
    );
  }
}
