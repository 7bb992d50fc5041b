/** Resolves and checks URLs, and makes names for error messages from them. */
import { SourceError } from '../errors.js';
import { baseUrl } from '../platform/baseUrl.js';

/** Resolves a URL against the page and checks it. @throws SourceError SOURCE_URL */
export function resolveUrl(source: string | URL): URL {
  const base = baseUrl();
  let url: URL;
  try {
    url = new URL(source, base);
  } catch (cause) {
    const advice =
      base === undefined
        ? 'Outside a page there is no base for a relative URL: pass an absolute URL, or the bytes.'
        : 'Check the address.';
    const found = JSON.stringify(withoutSecrets(source).slice(0, 200));
    throw new SourceError('SOURCE_URL', `source: expected a URL, found ${found}. ${advice}`, { cause });
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:' && url.protocol !== 'blob:') {
    throw new SourceError(
      'SOURCE_URL',
      `source: expected an http, https or blob URL, found ${url.protocol}. Read the file yourself, and pass a Blob or the bytes.`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    // The message must not repeat the user name or the password.
    throw new SourceError(
      'SOURCE_URL',
      `${nameOf(url)}: the URL has a user name or password, which fetch refuses. Pass a fetch that sends an Authorization header.`,
    );
  }
  return url;
}

/**
 * Shortens an address for error messages, also if it is no valid URL. The query, the fragment, the user name
 * and the password are left out, because they may be secrets.
 */
export const withoutSecrets = (address: string | URL): string =>
  String(address)
    .replace(/[?#].*/s, '')
    .replace(/^([\w+.-]+:)?\/\/[^/]*@/, '$1//');

/** Shortens an address for error messages to 120 characters, without secrets. Keeps the data of a data URL. */
export function shortName(address: string): string {
  const plain = address.startsWith('data:') ? address : withoutSecrets(address);
  return plain.length > 120 ? `${plain.slice(0, 117)}…` : plain;
}

/**
 * Returns a URL for error messages, which may end up in logs. The query is left out, because the query of a
 * signed URL contains secrets.
 */
export function nameOf(url: URL): string {
  return url.protocol === 'blob:' ? url.href : `${url.origin}${url.pathname}`;
}
