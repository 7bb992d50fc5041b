/**
 * Whether the files that an entry of the cache came from are still the same on their server: one byte of
 * each, and all of config.json and preprocessor_config.json.
 */
import { SourceError } from '../errors.js';
import { announcedBytes, contentRange, statusMessage, validatorOf } from '../io/answer.js';
import type { CachePlan } from './cacheEntry.js';
import { causeText, release } from '../io/chunks.js';
import { isMissing, readAll } from '../io/sources.js';
import type { RemoteVersion } from '../safetensors/tensorStream.js';
import { nameOf, resolveUrl } from '../io/url.js';

/** `unknown`: the server says nothing that tells versions apart. */
export type SourceState = 'current' | 'changed' | 'unknown';

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** A server that does not answer for so long counts as out of reach. */
const ANSWER_MS = 10_000;

/**
 * @throws SourceError if the server cannot be asked, or has no such file any more; `signal.reason` after an
 *   abort
 */
export async function askSource(
  { files, folder, config, preprocessor }: CachePlan,
  { signal, fetch }: AskOptions,
): Promise<SourceState> {
  const patience = AbortSignal.timeout(ANSWER_MS);
  const options = { fetch, signal: signal ? AbortSignal.any([signal, patience]) : patience };
  const asking = [
    askFile(`${folder}config.json`, options, () =>
      sameText(`${folder}config.json`, config, options, config === null),
    ),
    askFile(`${folder}preprocessor_config.json`, options, () =>
      sameText(`${folder}preprocessor_config.json`, preprocessor, options, true),
    ),
    ...files.map((file) => {
      const url = folder + file.url.slice(file.url.lastIndexOf('/') + 1); // it may have been written as seen from another page
      return askFile(url, options, () => sameVersion(url, file, options));
    }),
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

/**
 * @param text null: there was no such file
 * @param optional whether a file that is gone is a change, and no error
 */
async function sameText(
  url: string,
  text: string | null,
  options: AskOptions,
  optional = false,
): Promise<SourceState> {
  const reading = readAll(url, { ...options, reload: true, retry: { attempts: 1 } });
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
  { fileBytes, validator }: RemoteVersion,
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
