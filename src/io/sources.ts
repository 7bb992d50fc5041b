/**
 * Opens any source of bytes (URL, File, Blob, bytes in memory, stream) as a `ByteStream`, with one way to
 * cancel and one error class.
 */
import { SourceError } from '../errors.js';
import { hasPaths } from '../platform/node.js';
import { loadPart } from '../platform/part.js';
import { concat, type ByteStream } from './chunks.js';
import { openUrl } from './http.js';
import type { ByteSource, OwnSource, SourceOptions } from './sourceTypes.js';
import { resolveUrl } from './url.js';

export { MAX_CHUNK_BYTES, concat, once, type ByteStream } from './chunks.js';
export type { ByteSource, OwnSource, SourceOptions } from './sourceTypes.js';

const isHttp = (source: string | URL): boolean => /^(https?|blob):/i.test(String(source));

/** Returns whether a string or URL is fetched. In Node, any other string is a path. */
export const isUrl = (source: string | URL): boolean => isHttp(source) || !hasPaths();

/**
 * Opens a source. A URL is requested at once. The promise resolves when the first bytes have arrived and the
 * answer has been checked.
 *
 * @param source see ByteSource; a ReadableStream is consumed
 * @throws SourceError SOURCE_URL (the URL may not be fetched), SOURCE_FETCH (no answer, or an error status),
 *   SOURCE_IS_HTML (the answer is a web page), SOURCE_READ (the stream is in use or failed)
 * @throws `signal.reason` after an abort
 * @throws TypeError if `source` is not a ByteSource
 */
export async function openSource(
  source: ByteSource | OwnSource,
  options: SourceOptions = {},
): Promise<ByteStream> {
  const { signal } = options;
  signal?.throwIfAborted();
  if (typeof source === 'object' && source !== null && 'open' in source) return source.open(options);
  if ((typeof source === 'string' || source instanceof URL) && isUrl(source))
    return openUrl(resolveUrl(source), options);
  const { openLocal } = await loadPart(import('./localSources.js'));
  return openLocal(source, signal);
}

/** Returns whether an error proves that a file does not exist: status 404 or 410, or ENOENT on a disk. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof SourceError &&
  ([404, 410].includes(error.status ?? 0) ||
    (error.cause as { readonly code?: unknown } | undefined)?.code === 'ENOENT');

/**
 * Returns whether an error may mean that a file does not exist: besides the errors of `isAbsent`, status 403
 * (storage buckets without permission to list) and a web page (single-page applications send one for every
 * address).
 */
export const isMissing = (error: unknown): boolean =>
  isAbsent(error) ||
  (error instanceof SourceError && (error.status === 403 || error.code === 'SOURCE_IS_HTML'));

/**
 * Reads all bytes of a small file, such as config.json.
 *
 * @param maxBytes the most bytes to read. Default: 1 MiB
 * @throws the errors of `openSource` and of the stream; SourceError SOURCE_TOO_LONG if the file has more than
 *   `maxBytes` bytes
 */
export async function readAll(
  source: ByteSource,
  options: SourceOptions & { readonly maxBytes?: number | undefined } = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { maxBytes = 2 ** 20 } = options;
  const stream = await openSource(source, { ...options, whole: true });
  const tooLong = (found: string): SourceError =>
    new SourceError(
      'SOURCE_TOO_LONG',
      `${stream.name}: expected at most ${maxBytes} bytes, found ${found}. Is this the right file?`,
    );
  if (stream.totalBytes !== undefined && stream.totalBytes > maxBytes) {
    void stream.cancel();
    throw tooLong(`${stream.totalBytes}`);
  }
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream.chunks) {
    parts.push(chunk.slice()); // copied, because the next chunk overwrites it
    length += chunk.length;
    if (length > maxBytes) {
      throw tooLong('more');
    }
  }
  return concat(parts, length);
}
