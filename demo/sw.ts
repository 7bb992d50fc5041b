/**
 * The service worker of both pages. It serves the files of one build when the network is off. It does not
 * cache weights, which the library caches itself, nor photographs. The build (vite.config.ts) emits this
 * script as a file of its own, and inserts VERSION and FILES at its start.
 */
interface Extendable extends Event {
  waitUntil(task: Promise<unknown>): void;
}
interface Fetching extends Extendable {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}
/** A service worker's globals, which TypeScript's types for pages lack. */
interface Scope {
  readonly location: Location;
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: Extendable) => void): void;
  addEventListener(type: 'fetch', listener: (event: Fetching) => void): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

/** A hash of the build's files. */
declare const VERSION: string;
/** Paths of the build's files, relative to this file. A page is listed as its folder. */
declare const FILES: readonly string[];

const scope = globalThis as object as Scope;
const PREFIX = 'dinov2-webgpu-demo ';
const cacheName = PREFIX + VERSION;

const urls = new Set(FILES.map((file) => new URL(file, scope.location.href).href));

/** The URL under which the build's file for a request is cached. */
function fileOf({ url }: Request): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/index\.html$/, '/');
}

/** Caches all files. If a file fails, deletes the cache, so that an incomplete version is never used. */
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
  // A navigation fails if its response was redirected, so the body and headers are copied into a new
  // response.
  const { status, headers } = response;
  await cache.put(url, response.redirected ? new Response(response.body, { status, headers }) : response);
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(cacheName);
  // The browser may evict the cache but keep the service worker. If a file is not in the cache, the network
  // is used.
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
// A new version waits until the visitor requests it or no page is open, so that a page never mixes files of
// two versions.
scope.addEventListener('message', ({ data }) => void (data === 'take over' && scope.skipWaiting()));

export {};
