/** The base of relative URLs. */

let baseOfPage: string | undefined;

/** Sets the base URL. The library's worker sets its page's, because its own location is that of its file. */
export function setBaseUrl(url: string | undefined): void {
  baseOfPage = url;
}

/**
 * The URL that was set, else the page's base URL, else the worker's location; undefined in Node. The location
 * of a worker made from a Blob cannot be a base.
 */
export const baseUrl = (): string | undefined =>
  baseOfPage ?? globalThis.document?.baseURI ?? globalThis.location?.href;
