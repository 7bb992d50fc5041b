/**
 * A fetch that follows redirects itself. Node's own fetch shows only where a chain of redirects ends, so a step over
 * http within the chain would go unnoticed. A browser refuses such a step on an https page.
 */

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** The most redirects of one request, as in browsers. */
const MOST_REDIRECTS = 20;
/** Headers that may hold a secret. They do not follow a redirect to another origin. */
const SECRET = ['authorization', 'cookie', 'proxy-authorization'] as const;

/**
 * Fetches a URL. A request that begins with https follows no redirect to http: the answer is then an empty one with
 * the address of that redirect as its `url`, which `checkKind` and `fetchImage` refuse. Nothing is sent over http.
 *
 * Calls the global `fetch` once for each step.
 * @throws TypeError as `fetch` does: no answer, more than 20 redirects, or a redirect to an address that is no http URL
 */
export const fetchInSteps: typeof globalThis.fetch = async (input, init) => {
  if (input instanceof Request || !/^https?:/i.test(String(input))) return fetch(input, init);
  const headers = new Headers(init?.headers);
  let url = new URL(input);
  const secure = url.protocol === 'https:';
  for (let step = 0; step <= MOST_REDIRECTS; step++) {
    const response = await fetch(url.href, { ...init, headers, redirect: 'manual' });
    const location = response.headers.get('location');
    if (!REDIRECTS.includes(response.status) || location === null) return response;
    await response.body?.cancel();
    const next = new URL(location, url);
    if (secure && next.protocol === 'http:')
      return Object.defineProperty(new Response(null), 'url', { value: next.href });
    if (next.protocol !== 'https:' && next.protocol !== 'http:')
      throw new TypeError(`the server redirected to an address that is no http URL (${next.protocol})`);
    if (next.origin !== url.origin) for (const name of SECRET) headers.delete(name);
    url = next;
  }
  throw new TypeError(`more than ${MOST_REDIRECTS} redirects`);
};
