/**
 * The service worker of both demo pages. It serves the pages' files without a network. It caches neither
 * weights, which the library caches itself, nor photographs. The build (vite.config.ts) writes this script to
 * a separate file, and inserts the constants VERSION and FILES at its start.
 */
interface Extendable extends Event {
  waitUntil(task: Promise<unknown>): void;
}
interface Fetching extends Extendable {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}
/** The global variables of a service worker, which TypeScript's DOM types lack. */
interface Scope {
  readonly location: Location;
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: Extendable) => void): void;
  addEventListener(type: 'fetch', listener: (event: Fetching) => void): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

/** A hash of the files of the build. */
declare const VERSION: string;
/** Paths of the files of the build, relative to this script. A page is listed by the path of its folder. */
declare const FILES: readonly string[];

const scope = globalThis as object as Scope;
const PREFIX = 'dinov2-webgpu-demo ';
const cacheName = PREFIX + VERSION;

const urls = new Set(FILES.map((file) => new URL(file, scope.location.href).href));

/** Returns the URL under which the file for a request is cached. */
function fileOf({ url }: Request): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/index\.html$/, '/');
}

/**
 * Caches all files of the build. If one of them cannot be cached, deletes the cache, so that an incomplete
 * version is never used.
 */
async function install(): Promise<void> {
  const cache = await caches.open(cacheName);
  try {
    await Promise.all([...urls].map((url) => keep(cache, url)));
  } catch (error) {
    await caches.delete(cacheName);
    throw error;
  }
}

async function keep(cache: Cache, url: string): Promise<void> {
  const response = await fetch(url, { cache: 'no-cache' });
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status}.`);
  // The browser refuses a redirected response for a navigation, so the body and headers are copied into a new
  // response.
  const { status, headers } = response;
  await cache.put(url, response.redirected ? new Response(response.body, { status, headers }) : response);
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(cacheName);
  // The browser may evict the cache but keep the service worker. A file that is not in the cache is then
  // requested from the network.
  return (await cache.match(fileOf(request), { ignoreVary: true })) ?? fetch(request);
}

async function activate(): Promise<void> {
  for (const old of await caches.keys())
    if (old.startsWith(PREFIX) && old !== cacheName) await caches.delete(old);
  await scope.clients.claim();
}

scope.addEventListener('install', (event) => event.waitUntil(install()));
scope.addEventListener('activate', (event) => event.waitUntil(activate()));
scope.addEventListener('fetch', (event) => {
  if (event.request.method === 'GET' && urls.has(fileOf(event.request)))
    event.respondWith(answer(event.request));
});
// A new version of this service worker waits until the visitor requests it or no page is open, so that a page
// never uses files of two versions.
scope.addEventListener('message', ({ data }) => void (data === 'take over' && scope.skipWaiting()));

export {};
