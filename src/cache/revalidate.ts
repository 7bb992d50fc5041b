/**
 * Compares a cache entry with its server. Requests one byte of each weights file, and all of the small files.
 */
import { SourceError } from '../errors.js';
import { announcedBytes, contentRange, statusMessage, validatorOf } from '../io/answer.js';
import type { CachedFile, Manifest } from './entry.js';
import { causeText, release } from '../io/chunks.js';
import { isMissing, readAll } from '../io/sources.js';
import { nameOf, resolveUrl } from '../io/url.js';

/** The server's files compared with the cached ones. `unknown`: the server sends no validator. */
export type SourceState = 'current' | 'changed' | 'unknown';

/** Options of `checkForUpdate`. */
export interface AskOptions {
  /** Stops the requests. */
  readonly signal?: AbortSignal | undefined;
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** Time after which a silent server counts as unreachable. */
const ANSWER_MS = 10_000;
/** Size limit of a small file; an index of shards is the largest. */
const MAX_TEXT_BYTES = 2 ** 24;

/**
 * @throws SourceError if the server does not answer or a file no longer exists; `signal.reason` after an
 * abort
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

/** @param text the cached text; null: there was no such file */
async function sameText(url: string, text: string | null, options: AskOptions): Promise<SourceState> {
  const optional = text === null || url.endsWith('/preprocessor_config.json'); // a file that was removed is a change, not an error
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
 * Requests one byte as the download does. A HEAD request may give another validator, and signed addresses
 * often allow GET only.
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
