/** Which URLs may be fetched, and what messages call them. */
import { SourceError } from '../errors.js';
import { baseUrl } from '../platform/baseUrl.js';

/** @throws SourceError SOURCE_URL */
export function resolveUrl(source: string | URL): URL {
  const base = baseUrl();
  let url: URL;
  try {
    url = new URL(source, base);
  } catch (cause) {
    const advice =
      base === undefined
        ? 'There is no page here to count from: pass an absolute URL, or the bytes.'
        : 'Check the address.';
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

/**
 * A URL for messages, which end up in logs: without the query, where signed addresses carry their secrets.
 */
export function nameOf(url: URL): string {
  return url.protocol === 'blob:' ? url.href : `${url.origin}${url.pathname}`;
}
