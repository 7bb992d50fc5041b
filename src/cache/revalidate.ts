/**
 * Whether the files of an entry of the cache are still the same on their server. Asks for one byte of each weights
 * file, and for all of the small ones.
 */
import { SourceError } from '../errors.js';
import { announcedBytes, contentRange, statusMessage, validatorOf } from '../io/answer.js';
import type { CachedFile, Manifest } from './entry.js';
import { causeText, release } from '../io/chunks.js';
import { isMissing, readAll } from '../io/sources.js';
import { nameOf, resolveUrl } from '../io/url.js';

/** `unknown`: the server says nothing that tells versions apart. */
export type SourceState = 'current' | 'changed' | 'unknown';

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A server that does not answer for so long counts as out of reach. */
const ANSWER_MS = 10_000;
/** Of an index. */
const MAX_TEXT_BYTES = 2 ** 24;

/**
 * @throws SourceError if the server cannot be asked, or has no such file any more; `signal.reason` after an
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
      `${nameOf(resolveUrl(url))}: expected an answer, found ${causeText(signal?.aborted === true ? signal.reason : cause)}. Check the network.`,
      { cause },
    );
  }
}

/** @param text null: there was no such file */
async function sameText(url: string, text: string | null, options: AskOptions): Promise<SourceState> {
  const optional = text === null || url.endsWith('/preprocessor_config.json'); // that it is gone is a change, and no error
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
 * Asks as the download did: a validator of HEAD may be another one, and signed addresses often allow GET
 * alone.
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
  release(response.body, undefined); // what it says of itself is all that is wanted; a server without ranges would send everything
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
