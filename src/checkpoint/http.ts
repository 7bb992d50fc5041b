/** Bytes from a URL. */
import { SourceError } from '../errors.js';
import { Chunks, causeText, concat, release, truncated, untilAborted, type ByteStream, type Reader } from './chunks.js';
import { memoryReader, streamReader } from './readers.js';
import type { SourceOptions } from './sources.js';

export function resolveUrl(source: string | URL): URL {
  // A page has a document; a worker only a location, which for a worker made from a Blob is no base.
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  let url: URL;
  try {
    url = new URL(source, base);
  } catch (cause) {
    const advice = base === undefined ? 'There is no page here to count from: pass an absolute URL, or the bytes.' : 'Check the address.';
    const found = JSON.stringify(
      String(source)
        .replace(/[?#].*/s, '')
        .slice(0, 200),
    );
    throw new SourceError('SOURCE_URL', `source: expected a URL, found ${found}. ${advice}`, { cause });
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:' && url.protocol !== 'blob:') {
    throw new SourceError(
      'SOURCE_URL',
      `source: expected a URL of http, https or blob, found ${url.protocol}. Read the file yourself, and pass a Blob or the bytes.`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    // fetch refuses these; and the message must not repeat them.
    throw new SourceError(
      'SOURCE_URL',
      `${nameOf(url)}: expected a URL without a user name or password, found one. Pass a fetch that sends an Authorization header.`,
    );
  }
  return url;
}

/** A URL for messages, which end up in logs: without the query, where signed addresses carry their secrets. */
function nameOf(url: URL): string {
  return url.protocol === 'blob:' ? url.href : `${url.origin}${url.pathname}`;
}

export async function openUrl(url: URL, { signal, fetch = globalThis.fetch }: SourceOptions): Promise<ByteStream> {
  const name = nameOf(url);
  const response = await untilAborted(() => request(url, name, fetch, signal), signal);
  const refuse = (error: SourceError): never => {
    release(response.body, error);
    throw error;
  };
  if (!response.ok || response.status === 206) {
    refuse(new SourceError('SOURCE_FETCH', statusMessage(name, response)));
  }
  if (url.protocol === 'https:' && response.url.startsWith('http:')) {
    const target = nameOf(new URL(response.url));
    refuse(
      new SourceError('SOURCE_URL', `${name}: expected to stay on https, found a redirect to ${target}. Use an address that stays there.`),
    );
  }
  const type = response.headers.get('content-type') ?? '';
  if (/^\s*(text\/html|application\/xhtml\+xml)\b/i.test(type)) {
    refuse(isHtml(name, `a page (content-type ${type})`));
  }
  const totalBytes = announcedBytes(response);
  if (response.body === null) {
    return new Chunks(name, totalBytes, memoryReader(new Uint8Array(0)), signal);
  }
  const reader = bodyReader(response.body, name, totalBytes);
  const [peeked, start] = await peek(reader, signal);
  if (beginsWithTag(start)) {
    const error = isHtml(name, `a page (it begins with ${JSON.stringify(String.fromCharCode(...start).trim())})`);
    release(reader, error);
    throw error;
  }
  return new Chunks(name, totalBytes, peeked, signal);
}

/** fetch, with our errors. */
async function request(url: URL, name: string, fetch: typeof globalThis.fetch, signal: AbortSignal | undefined): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url.href, { signal: signal ?? null });
  } catch (cause) {
    throw new SourceError(
      'SOURCE_FETCH',
      `${name}: expected an answer, found ${causeText(cause)}. Check the network; if the address opens in a tab of its own, its server does ` +
        'not allow other pages to read it (CORS).',
      { cause },
    );
  }
  if (signal?.aborted === true) {
    release(response.body, signal.reason); // it came too late: nobody will
  }
  return response;
}

function statusMessage(name: string, { status, statusText, headers }: Response): string {
  const found = `${name}: expected the file (status 200), found status ${status}${statusText === '' ? '' : ` ${statusText}`}`;
  switch (status) {
    case 401:
    case 403:
      return (
        `${found}: the server does not give it to you. The repository may be private, gated or misspelt: pass a fetch that sends an ` +
        'Authorization header, or download the file and pass it as a File.'
      );
    case 404:
    case 410:
      return `${found}: there is no such file. Check the address, the name of the repository and the revision.`;
    case 206:
      return `${found}: a part of the file, though all of it was asked for. Check what stands between: a service worker or a fetch of your own.`;
    case 429: {
      const wait = headers.get('retry-after');
      return `${found}: too many requests. Try again ${wait !== null && /^\d{1,6}$/.test(wait) ? `in ${wait} seconds` : 'later'}.`;
    }
    default:
      return `${found}. ${status >= 500 ? 'The server failed: try again later.' : 'Check the address.'}`;
  }
}

function isHtml(name: string, found: string): SourceError {
  return new SourceError(
    'SOURCE_IS_HTML',
    `${name}: expected a file, found ${found}. The address leads to a login, an error page or the page of a website: use the address of the file itself.`,
  );
}

/** The length of the body, if the headers say it and can be believed. */
function announcedBytes(response: Response): number | undefined {
  const length = response.headers.get('content-length');
  const encoding = response.headers.get('content-encoding');
  if (length === null || !/^\d{1,15}$/.test(length)) {
    return undefined;
  }
  // Content-Length counts compressed bytes, and we are given decompressed ones.
  if (encoding !== null && encoding.trim().toLowerCase() !== 'identity') {
    return undefined;
  }
  // From another origin a browser shows us Content-Length, but not Content-Encoding: the length may be that of compressed bytes.
  if (response.type === 'cors' && encoding === null) {
    return undefined;
  }
  return Number(length);
}

function bodyReader(body: ReadableStream<Uint8Array>, name: string, totalBytes: number | undefined): Reader {
  return streamReader(body, name, (cause, receivedBytes) =>
    // A body that ends before its Content-Length is an error of the network to browsers and to Node. We can say more.
    totalBytes !== undefined && receivedBytes < totalBytes
      ? truncated(name, totalBytes, receivedBytes, cause)
      : new SourceError(
          'SOURCE_FETCH',
          `${name}: expected more after ${receivedBytes} bytes, found ${causeText(cause)}. Check the network and try again.`,
          { cause },
        ),
  );
}

/** Enough to tell a page from a safetensors file. */
const PEEK_BYTES = 16;

/** Reads the first bytes, and returns them with a reader that gives them again. */
async function peek(reader: Reader, signal: AbortSignal | undefined): Promise<[Reader, Uint8Array]> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const lookAhead = async (): Promise<void> => {
    while (length < PEEK_BYTES) {
      const bytes = await reader.read();
      if (bytes === undefined) {
        return;
      }
      parts.push(bytes);
      length += bytes.length;
    }
  };
  try {
    await untilAborted(lookAhead, signal);
  } catch (error) {
    release(reader, error);
    throw error;
  }
  const last = parts.at(-1) ?? new Uint8Array(0); // alone may be long: what stands before it is shorter than PEEK_BYTES
  const head = parts.slice(0, -1);
  const headBytes = length - last.length;
  const start = concat([...head, last.subarray(0, PEEK_BYTES - headBytes)], Math.min(length, PEEK_BYTES));
  return [{ read: async () => parts.shift() ?? reader.read(), cancel: (reason) => reader.cancel(reason) }, start];
}

/**
 * Does it begin with a tag? `<` alone proves nothing: a safetensors file whose header has 60 bytes begins with it. But a safetensors file
 * has zeros among its first 8 bytes, and a page has none.
 */
function beginsWithTag(start: Uint8Array): boolean {
  const text = String.fromCharCode(...start).replace(/^\xef\xbb\xbf/, '');
  return !start.subarray(0, 8).includes(0) && /^\s*<[a-z!?/]/i.test(text);
}
