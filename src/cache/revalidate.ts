/**
 * Compares a cache entry with the files on its server. Requests one byte of each weights file, and all of
 * each small file.
 */
import { SourceError } from '../errors.js';
import { announcedBytes, contentRange, statusMessage, validatorOf } from '../io/answer.js';
import type { CachedFile, Manifest } from './format.js';
import { causeText, release } from '../io/chunks.js';
import { isMissing, readAll } from '../io/sources.js';
import { nameOf, resolveUrl } from '../io/url.js';

/**
 * Result of comparing the server's files with the cached files. `unknown`: the server sends neither ETag nor
 * Last-Modified.
 */
export type SourceState = 'current' | 'changed' | 'unknown';

/** Options of `checkForUpdate`. */
export interface AskOptions {
  /** Aborts the requests. */
  readonly signal?: AbortSignal | undefined;
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** Time in ms after which a server that does not answer counts as unreachable. */
const ANSWER_MS = 10_000;
/** Size limit in bytes for a small file. The largest small file is a shard index. */
const MAX_TEXT_BYTES = 2 ** 24;

/**
 * Asks the server whether the files of a cache entry have changed.
 * @throws SourceError if the server does not answer or a file no longer exists; `signal.reason` after an
 *   abort
 */
export async function askSource(
  { files, folder, texts }: Manifest,
  { signal, fetch }: AskOptions,
): Promise<SourceState> {
  const patience = AbortSignal.timeout(ANSWER_MS);
  const options = { fetch, signal: signal ? AbortSignal.any([signal, patience]) : patience };
  const asking = [
    ...Object.entries(texts).map(([name, text]) =>
      askFile(folder + name, options, () => sameText(folder + name, text, options)),
    ),
    ...files.map((file) =>
      askFile(folder + file.name, options, () => sameVersion(folder + file.name, file, options)),
    ),
  ];
  const states = await Promise.all(asking).catch((error: unknown) => {
    signal?.throwIfAborted();
    throw error;
  });
  return (
    states.find((state) => state === 'changed') ?? states.find((state) => state === 'unknown') ?? 'current'
  );
}

async function askFile(
  url: string,
  { signal }: AskOptions,
  ask: () => Promise<SourceState>,
): Promise<SourceState> {
  try {
    return await ask();
  } catch (cause) {
    if (cause instanceof SourceError) throw cause;
    throw new SourceError(
      'SOURCE_FETCH',
      `${nameOf(resolveUrl(url))}: the request failed (${causeText(signal?.aborted === true ? signal.reason : cause)}). Check the network.`,
      { cause },
    );
  }
}

/**
 * Compares a small file on the server with its cached text.
 * @param text the cached text; null if the file did not exist when the model was cached
 */
async function sameText(url: string, text: string | null, options: AskOptions): Promise<SourceState> {
  const optional = text === null || url.endsWith('/preprocessor_config.json'); // if the server has removed the file, that is a change and not an error
  const reading = readAll(url, {
    ...options,
    reload: true,
    retry: { attempts: 1 },
    maxBytes: MAX_TEXT_BYTES,
  });
  const found = await reading.then(
    (bytes) => new TextDecoder().decode(bytes),
    (error: unknown) => {
      if (optional && isMissing(error)) return null;
      throw error;
    },
  );
  return found === text ? 'current' : 'changed';
}

/**
 * Compares the version of a weights file. Requests one byte with GET, as the download does: a HEAD request
 * may give a different validator, and signed URLs often allow GET only.
 */
async function sameVersion(
  url: string,
  { fileBytes, validator }: CachedFile,
  { signal, fetch = globalThis.fetch }: AskOptions,
): Promise<SourceState> {
  const address = resolveUrl(url);
  const response = await fetch(address.href, {
    headers: { range: 'bytes=0-0' },
    cache: 'no-store',
    ...(signal && { signal }),
  });
  release(response.body, undefined); // only the headers are needed; a server without ranges would send the whole file
  if (!response.ok)
    throw new SourceError('SOURCE_FETCH', statusMessage(nameOf(address), response), {
      status: response.status,
    });
  const found = validatorOf(response.headers);
  const foundBytes =
    response.status === 206 ? contentRange(response.headers)?.totalBytes : announcedBytes(response);
  if (foundBytes !== undefined && foundBytes !== fileBytes) return 'changed';
  if (found === undefined || validator === undefined) return 'unknown';
  return found === validator ? 'current' : 'changed';
}
