/**
 * Loads checkpoints of the Hugging Face hub in Node: from Python's cache if it has them, otherwise from the
 * hub, through this library's own cache. The environment variables are those of `huggingface_hub`.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { SourceError } from '../errors.js';
import { locate } from '../io/hub.js';
import type { HubRequest, LoadedBytes } from '../platform/host.js';
import { fetchInSteps } from './redirects.js';
import { findSnapshot, hubCacheFolder, weightsIn, type Snapshot } from './hubCache.js';

type Environment = Readonly<Record<string, string | undefined>>;

const HUB = 'https://huggingface.co';

const isOn = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? '');

/** Returns a URL as `fetch` writes it (lower case, no default port), without slashes at the end. */
const normalized = (url: string | URL): string => new URL(url).href.replace(/\/+$/, '');

/** The settings in the environment variables. */
function settings(environment: Environment): {
  endpoint: string;
  token: string | undefined;
  offline: boolean;
} {
  const { HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE } = environment;
  const endpoint = (HF_ENDPOINT ?? '').replace(/\/+$/, '') || HUB;
  if (!/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : ''))
    throw new SourceError(
      'SOURCE_URL',
      `HF_ENDPOINT: expected an http or https URL, found ${JSON.stringify(endpoint.slice(0, 100))}. Correct the variable, or unset it.`,
    );
  const token = HF_TOKEN?.trim();
  if (token && /[^\x21-\x7e]/.test(token))
    throw new SourceError(
      'SOURCE_URL',
      'HF_TOKEN: expected a token without spaces and line breaks. Correct the variable.',
    );
  return {
    endpoint: normalized(endpoint),
    token: token || undefined,
    offline: isOn(HF_HUB_OFFLINE) || isOn(TRANSFORMERS_OFFLINE),
  };
}

/**
 * Implements `host.pretrained`: `fromPretrained` with the hub's variables and Python's cache.
 *
 * @throws SourceError SOURCE_URL, SOURCE_FETCH; the errors of `load`
 */
export async function loadFromHub<Options extends HubRequest, Model extends Reloadable>(
  id: string | URL,
  asked: Options,
  load: (id: string | URL, options: Options) => Promise<Model>,
  environment: Environment = process.env,
): Promise<Model> {
  const { endpoint, token, offline } = settings(environment);
  const given = { ...asked, fetch: asked.fetch ?? fetchInSteps };
  const options = { ...given, baseUrl: given.baseUrl ?? endpoint };
  const located = await locate(id, options); // throws for an id that is wrong
  // A path of a folder is no URL, and a base URL may be wrong: `load` then throws the error.
  if (!URL.canParse(located) || !URL.canParse(String(options.baseUrl))) return load(id, given);
  const folder = new URL(located).href;
  if (!folder.startsWith(`${normalized(options.baseUrl)}/`)) return load(id, given);
  const found = await inPythonsCache(id, given, environment);
  const network: Network = {
    fetch: given.fetch,
    // A caller's fetch sends its own headers; a caller's base URL is not the hub that the token is for.
    token: asked.fetch || asked.baseUrl ? undefined : token,
    origin: new URL(endpoint).origin,
    offline,
  };
  if (!found) return explained(load(id, { ...options, fetch: throughNetwork(network) }), network);
  const fetch = fromSnapshot(found, folder, throughNetwork(network));
  const cacheReason = `read from Python's hub cache (${hubCacheFolder(environment)})`;
  return asCached(explained(load(id, { ...options, fetch, cache: 'none' }), network), cacheReason);
}

/** Replaces, in the message of a request without an answer, the advice for pages by advice for Node. */
function withoutBrowserAdvice(error: SourceError): SourceError {
  const { code, message, cause } = error;
  if (!message.includes('(CORS)')) return error;
  const { cause: reason } = cause as { readonly cause?: unknown }; // `fetch failed` has the reason as its cause
  const text = message
    .replace(
      'TypeError: fetch failed',
      reason instanceof Error && reason.message ? reason.message : 'fetch failed',
    )
    .replace(
      / If the address opens[^]*?\(CORS\)\./,
      ' The variable HF_ENDPOINT sets a mirror of the hub. Behind a proxy, set HTTPS_PROXY and NODE_USE_ENV_PROXY=1 (Node 24 or newer).',
    );
  return new SourceError(code, text, { cause });
}

/** A loaded model that can be loaded again. */
interface Reloadable {
  readonly report: LoadedBytes;
  readonly reload?: ((changes: never) => Promise<Reloadable>) | undefined;
}

/** Reports the bytes of a model, and of every later load of it, as read from a cache. */
async function asCached<Model extends Reloadable>(
  loading: Promise<Model>,
  cacheReason: string,
): Promise<Model> {
  const model = await loading;
  const { report, reload } = model;
  return {
    ...model,
    report: { ...report, fetchedBytes: 0, cachedBytes: report.fetchedBytes, cacheReason },
    ...(reload && { reload: (changes: never) => asCached(reload(changes), cacheReason) }),
  };
}

/** Finds a hub id in Python's cache. Undefined if the cache lacks weights, or the caller does not want it. */
async function inPythonsCache(
  id: string | URL,
  { baseUrl, revision = 'main', cache, revalidate }: HubRequest,
  environment: Environment,
): Promise<Snapshot | undefined> {
  if (typeof id !== 'string' || !/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id)) return undefined;
  if (baseUrl !== undefined || cache === 'none' || revalidate === true) return undefined;
  const snapshot = await findSnapshot(hubCacheFolder(environment), id, revision);
  return snapshot && (await weightsIn(snapshot)) ? snapshot : undefined;
}

interface Network {
  readonly fetch: typeof globalThis.fetch;
  /** The token for requests to `origin`; undefined for none. */
  readonly token: string | undefined;
  readonly origin: string;
  readonly offline: boolean;
}

/**
 * Returns a fetch that adds the token to requests to the hub. `fetchInSteps` removes the header when it follows a
 * redirect to another origin, such as the hub's storage. So does the `fetch` of a browser.
 */
function throughNetwork({ fetch, token, origin, offline }: Network): typeof globalThis.fetch {
  return async (url, init) => {
    const address = new URL(url instanceof Request ? url.url : url);
    if (offline) return new Response(null, { status: OFFLINE_STATUS, statusText: 'HF_HUB_OFFLINE is set' });
    if (token === undefined || address.origin !== origin) return fetch(url, init);
    const headers = new Headers(init?.headers);
    headers.set('authorization', `Bearer ${token}`);
    return fetch(url, { ...init, headers });
  };
}

/**
 * The status of a request that is not made because the hub is switched off. The library neither repeats such a
 * request nor takes the file for missing.
 */
const OFFLINE_STATUS = 451;

/** Adds to an error what the environment variables can do about it. */
async function explained<Model>(loading: Promise<Model>, { offline, token }: Network): Promise<Model> {
  try {
    return await loading;
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    const { code, message, status } = error;
    if (offline && status === OFFLINE_STATUS) {
      const text = message.replace(
        /expected the file .*? Check the address\./,
        'the file is in no cache, and the variable HF_HUB_OFFLINE forbids to download it. Unset the variable, or download the checkpoint first.',
      );
      throw new SourceError(code, text, { status, cause: error });
    }
    if (status === undefined) throw withoutBrowserAdvice(error);
    if (status !== 401 && status !== 403) throw error;
    const hint = token
      ? 'The variable HF_TOKEN is set: check that its account has access to the repository.'
      : 'In Node, the variable HF_TOKEN holds the token for private and gated repositories.';
    throw new SourceError(code, `${message} ${hint}`, { status, cause: error });
  }
}

/**
 * Returns a fetch that answers requests for files of a folder from a snapshot. Files that the snapshot does not
 * know are requested from the hub, of the same commit: files of two commits may not belong together.
 */
function fromSnapshot(
  snapshot: Snapshot,
  folder: string,
  network: typeof globalThis.fetch,
): typeof globalThis.fetch {
  return async (url, init) => {
    const { href } = new URL(url instanceof Request ? url.url : url);
    const file = href.startsWith(folder) ? decodeURIComponent(href.slice(folder.length)) : '';
    const path = /^[\w.-]+$/.test(file) ? await snapshot.find(file) : undefined;
    if (path === undefined && file !== '' && !(url instanceof Request))
      return network(folder.replace(/\/resolve\/[^/]+\/$/, `/resolve/${snapshot.commit}/`) + file, init);
    if (path === undefined) return network(url, init);
    if (path === null) return new Response(null, { status: 404 });
    return answer(path, `"${snapshot.commit}"`, init);
  };
}

/** Answers a request for a file, or for a range of it, as a server would. */
async function answer(path: string, etag: string, init: RequestInit | undefined): Promise<Response> {
  const { size } = await stat(path);
  const range = /^bytes=(\d+)-(\d*)$/.exec(new Headers(init?.headers).get('range') ?? '');
  const start = range ? Number(range[1]) : 0;
  const end = Math.min(range?.[2] ? Number(range[2]) : Infinity, size - 1);
  if (range && start >= size) return new Response(null, { status: 416 });
  const headers = {
    etag,
    'content-length': String(end - start + 1),
    ...(range && { 'content-range': `bytes ${start}-${end}/${size}` }),
  };
  if (init?.method === 'HEAD' || size === 0) return new Response(null, { headers });
  const stream = Readable.toWeb(createReadStream(path, { start, end, highWaterMark: 2 ** 20 }));
  return new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>, {
    status: range ? 206 : 200,
    headers,
  });
}
