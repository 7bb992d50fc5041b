/** Loads a part of the library: a module in a file of its own, which is imported when it is first needed. */
import { SourceError } from '../errors.js';

/**
 * Waits for `import('./part.js')`. If the import fails, the error advises to reload the page, because
 * Chromium never retries a failed import.
 * @throws SourceError SOURCE_FETCH if the file cannot be fetched or run
 */
export async function loadPart<T>(loading: Promise<T>): Promise<T> {
  try {
    return await loading;
  } catch (cause) {
    throw new SourceError(
      'SOURCE_FETCH',
      `A file of the library could not be loaded (${String(cause)}). Check the network and reload the page. The server must have all files of one version of dinov2-webgpu in one folder.`,
      { cause },
    );
  }
}
