/** Reads an HTTP answer: whether the answer is the requested file, the file's length and its version. */
import { SourceError } from '../errors.js';
import { untilAborted } from '../platform/abort.js';
import { concat, release, type Reader } from './chunks.js';
import { nameOf } from './url.js';

export function statusMessage(name: string, { status, statusText, headers }: Response): string {
  const found = `${name}: expected the file (status 200), found status ${status}${statusText === '' ? '' : ` ${statusText}`}`;
  switch (status) {
    case 401:
    case 403:
      return (
        `${found}: the server refuses access to the file. The repository may be private, gated or misspelt: pass a fetch that sends an ` +
        'Authorization header, or download the file and pass it as a File.'
      );
    case 404:
    case 410:
      return `${found}: there is no such file. Check the address, the name of the repository and the revision.`;
    case 206:
      return `${found}: the server sent a part of the file, although the whole file was requested. Check your service worker or your own fetch.`;
    case 429: {
      const wait = headers.get('retry-after');
      return `${found}: too many requests. Try again ${wait !== null && /^\d{1,6}$/.test(wait) ? `in ${wait} seconds` : 'later'}.`;
    }
    default:
      return `${found}. ${status >= 500 ? 'The server failed: try again later.' : 'Check the address.'}`;
  }
}

export function isHtml(name: string, found: string): SourceError {
  return new SourceError(
    'SOURCE_IS_HTML',
    `${name}: expected a file, found ${found}. The address leads to a login form, an error page or another web page: use the address of the file.`,
  );
}

/** Returns the length of the body in bytes; undefined if the headers do not state the length reliably. */
export function announcedBytes(response: Response): number | undefined {
  const { headers, type } = response;
  const length = headers.get('content-length') ?? '';
  if (!/^\d{1,15}$/.test(length)) return undefined;
  // Content-Length counts compressed bytes, but fetch delivers decompressed ones.
  if (isCompressed(headers)) return undefined;
  // Across origins a browser exposes Content-Length but not Content-Encoding, so the length may count
  // compressed bytes.
  if (type === 'cors' && !headers.has('content-encoding')) return undefined;
  return Number(length);
}

/** Returns whether the answer has a Content-Encoding, as far as the browser exposes it. */
export const isCompressed = (headers: Headers): boolean =>
  !/^\s*(identity)?\s*$/i.test(headers.get('content-encoding') ?? '');

/**
 * Returns the validator of an answer: two answers with equal validators have equal bytes. It is a strong
 * ETag, or else Last-Modified followed by the weak ETag. Equal weak ETags do not prove equal bytes, but
 * different weak ETags prove different files. Last-Modified has a resolution of one second. A file that was
 * written in the same second as the answer may change again without changing its date. So an answer whose
 * Last-Modified is less than a second before its Date has no validator.
 */
export function validatorOf(headers: Headers): string | undefined {
  const etag = headers.get('etag')?.trim() ?? '';
  if (etag.startsWith('"')) return etag;
  const date = headers.get('last-modified')?.trim();
  if (date === undefined || Date.parse(headers.get('date') ?? '') - Date.parse(date) < 1000) return undefined;
  return `${date} ${etag}`.trim();
}

/** Returns the part of a validator that the If-Range header accepts: the strong ETag, or the date. */
export const conditionOf = (validator: string): string => validator.replace(/ W\/.*/, '');

/** Parses Content-Range (`bytes 0-99/1234`). `totalBytes` is undefined if the server does not know it. */
export function contentRange(
  headers: Headers,
): { begin: number; end: number; totalBytes: number | undefined } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(
    headers.get('content-range')?.trim() ?? '',
  );
  return match
    ? {
        begin: Number(match[1]),
        end: Number(match[2]) + 1,
        totalBytes: match[3] === '*' ? undefined : Number(match[3]),
      }
    : undefined;
}

/** Returns whether a request that failed with this status may succeed if it is repeated later. */
export const isPassing = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || (status >= 500 && status !== 501 && status !== 505);

/**
 * Refuses an answer that was redirected from https to http, or whose type is a web page.
 * @throws SourceError SOURCE_URL, SOURCE_IS_HTML
 */
export function checkKind(name: string, url: URL, response: Response): void {
  if (url.protocol === 'https:' && response.url.startsWith('http:')) {
    const target = nameOf(new URL(response.url));
    throw new SourceError(
      'SOURCE_URL',
      `${name}: the server redirected from https to ${target}. Use an address that is not redirected to http.`,
    );
  }
  const type = response.headers.get('content-type') ?? '';
  if (/^\s*(text\/html|application\/xhtml\+xml)\b/i.test(type))
    throw isHtml(name, `a page (content-type ${type})`);
}

/**
 * Number of bytes at the beginning of a file that are enough to distinguish a web page from a safetensors
 * file.
 */
const PEEK_BYTES = 16;

/** Reads the first `PEEK_BYTES` bytes. Returns these bytes, and a reader that delivers them again. */
export async function peek(reader: Reader, signal: AbortSignal | undefined): Promise<[Reader, Uint8Array]> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const lookAhead = async (): Promise<void> => {
    while (length < PEEK_BYTES) {
      const bytes = await reader.read();
      if (bytes === undefined) {
        return;
      }
      length += bytes.length;
      parts.push(length < PEEK_BYTES ? bytes.slice() : bytes); // copied, because the next read may overwrite the bytes
    }
  };
  try {
    await untilAborted(lookAhead, signal);
  } catch (error) {
    release(reader, error);
    throw error;
  }
  const last = parts.at(-1) ?? new Uint8Array(0); // only the last part can be long: all earlier parts together are shorter than PEEK_BYTES
  const head = parts.slice(0, -1);
  const headBytes = length - last.length;
  const start = concat([...head, last.subarray(0, PEEK_BYTES - headBytes)], Math.min(length, PEEK_BYTES));
  return [
    { read: async () => parts.shift() ?? reader.read(), cancel: (reason) => reader.cancel(reason) },
    start,
  ];
}

/**
 * Returns whether the bytes begin with an HTML tag. `<` (code 60) alone proves nothing: a safetensors file
 * with a header of 60 bytes also begins with this byte. But a safetensors file has zeros among its first 8
 * bytes, and a web page has none.
 */
export function beginsWithTag(start: Uint8Array): boolean {
  const text = String.fromCharCode(...start).replace(/^\xef\xbb\xbf/, '');
  return !start.subarray(0, 8).includes(0) && /^\s*<[a-z!?/]/i.test(text);
}
