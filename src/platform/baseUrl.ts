/** Provides the base URL against which relative URLs are resolved. */

let baseOfPage: string | undefined;

/**
 * Sets the base URL. The library's worker sets it to the page's base URL, because the worker's own location
 * is its script file.
 */
export function setBaseUrl(url: string | undefined): void {
  baseOfPage = url;
}

/**
 * Returns the base URL that was set, else the page's base URL, else the worker's location; undefined in Node.
 * The location of a worker made from a Blob cannot be a base URL.
 */
export const baseUrl = (): string | undefined =>
  baseOfPage ?? globalThis.document?.baseURI ?? globalThis.location?.href;
