/**
 * Bytes from anything that holds them: a URL, a File or Blob, bytes in memory, a stream. All of them become
 * one stream of chunks, with one way to stop it and one class of error, so that nothing above has to know
 * where a checkpoint comes from.
 */
import { SourceError } from '../errors.js';
import { hasPaths } from '../platform/node.js';
import { loadPart } from '../platform/part.js';
import { concat, type ByteStream } from './chunks.js';
import { openUrl } from './http.js';
import type { RetryOptions } from './retry.js';
import { resolveUrl } from './url.js';

export { MAX_CHUNK_BYTES, concat, once, type ByteStream } from './chunks.js';

/**
 * What bytes can come from. Strings are URLs: http, https or blob; relative ones count from the page. In
 * Node, where there is no page, other strings and URLs of `file:` are files of the machine.
 */
export type ByteSource =
  string | URL | Blob | FileSystemFileHandle | Uint8Array | ArrayBuffer | ReadableStream<Uint8Array>;

/** Something that opens itself: the cache. */
export interface OwnSource {
  open(options: SourceOptions): Promise<ByteStream>;
}

const isHttp = (source: string | URL): boolean => /^(https?|blob):/i.test(String(source));

/** Whether a string means a URL here, and not a path. */
export const isUrl = (source: string | URL): boolean => isHttp(source) || !hasPaths();

export interface SourceOptions {
  /**
   * Stops everything, at any time: what is awaited rejects with `signal.reason`, and the connection or stream
   * is let go.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * Used in place of the global `fetch`: to add an Authorization header, to count, to serve from elsewhere.
   */
  readonly fetch?: typeof fetch | undefined;
  readonly retry?: RetryOptions | undefined;
  /** The bytes will be checked against a hash. */
  readonly pinned?: boolean | undefined;
  /** Past the browser's HTTP cache. */
  readonly reload?: boolean | undefined;
  /** Begin here, and not at the first byte: for URLs of which `known` was seen before. */
  readonly from?: number | undefined;
  /** End before this byte. Default: the end of the file. */
  readonly to?: number | undefined;
  /** The version of the file that `from` belongs to. Another one is SOURCE_CHANGED. */
  readonly known?: { readonly validator: string | undefined; readonly fileBytes: number } | undefined;
  /** In one answer, not in parts: for small files. */
  readonly whole?: boolean | undefined;
}

/**
 * Opens a source. A URL is asked for at once, and the answer is looked at: this resolves when its first bytes
 * are there.
 *
 * @param source see ByteSource; a ReadableStream is used up
 * @throws SourceError SOURCE_URL (no such URL may be fetched), SOURCE_FETCH (no answer, or an error status),
 * SOURCE_IS_HTML (a page came), SOURCE_READ (the stream is in use or failed)
 * @throws `signal.reason` after an abort
 * @throws TypeError if `source` is none of these things
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

/** Whether an error says for certain that a file is not there: by 404 or 410, on a disk by ENOENT. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof SourceError &&
  ([404, 410].includes(error.status ?? 0) ||
    (error.cause as { readonly code?: unknown } | undefined)?.code === 'ENOENT');

/**
 * Whether an error may say that a file is not there: also by 403, as buckets say that may not be listed, and by
 * a page, as single-page applications send one for every address.
 */
export const isMissing = (error: unknown): boolean =>
  isAbsent(error) ||
  (error instanceof SourceError && (error.status === 403 || error.code === 'SOURCE_IS_HTML'));

/**
 * All bytes of a small file, such as config.json.
 *
 * @param maxBytes the most to read; default 1 MiB
 * @throws what openSource and the stream throw; SourceError SOURCE_TOO_LONG beyond `maxBytes`
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
    parts.push(chunk.slice()); // it is overwritten by the next
    length += chunk.length;
    if (length > maxBytes) {
      throw tooLong('more');
    }
  }
  return concat(parts, length);
}
