/** What relative URLs are resolved against. */

let given: string | undefined;

/** Sets the base URL. For a worker of the library, which resolves as its page does, not as its own file. */
export function setBaseUrl(url: string | undefined): void {
  given = url;
}

/**
 * The base URL: the one that was set, else the page's, else that of the worker's file. Undefined in Node. A worker
 * that was made from a Blob has a location that no relative URL can be resolved against.
 */
export const baseUrl = (): string | undefined =>
  given ?? globalThis.document?.baseURI ?? globalThis.location?.href;
