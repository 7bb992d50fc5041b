/**
 * The service worker of both pages: it serves the files of one build when the network is off. It caches no
 * weights, which the library caches itself, and no photographs. The build (vite.config.ts) emits it as a file
 * of its own, and puts VERSION and FILES in front.
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
/** Paths relative to this file. A page is listed as its folder. */
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

/** Caches all files. If one fails, deletes the cache, so that an incomplete version is never used. */
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
  // A navigation rejects a redirected response, so its body and headers go into a new one.
  const { status, headers } = response;
  await cache.put(url, response.redirected ? new Response(response.body, { status, headers }) : response);
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(cacheName);
  // The browser may evict the cache and keep the worker. Then use the network.
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
// A new version waits until the visitor requests it or no page is open: a page never mixes two versions.
scope.addEventListener('message', ({ data }) => void (data === 'take over' && scope.skipWaiting()));

export {};
