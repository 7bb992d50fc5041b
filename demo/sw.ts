/**
 * The service worker of both pages: with the network off they are there as they were built. It keeps the
 * files of one build, and nothing else: weights are kept by the library, photographs by nobody. The build
 * (vite.config.ts) makes a file of its own of it, and puts the version and the list of files in front.
 */
interface Extendable extends Event {
  waitUntil(task: Promise<unknown>): void;
}
interface Fetching extends Extendable {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
}
/** What TypeScript's types of a page leave out. */
interface Scope {
  readonly location: Location;
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: 'install' | 'activate', listener: (event: Extendable) => void): void;
  addEventListener(type: 'fetch', listener: (event: Fetching) => void): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
}

/** Of the files of a build: another build, another version. */
declare const VERSION: string;
/** Relative to this file; a page is the folder that it lies in. */
declare const FILES: readonly string[];

const scope = globalThis as object as Scope;
const PREFIX = 'dinov2-webgpu-demo ';
const cacheName = PREFIX + VERSION;

const urls = new Set(FILES.map((file) => new URL(file, scope.location.href).href));

/** What a request asks for, among the files of the build. */
function fileOf({ url }: Request): string {
  const { origin, pathname } = new URL(url);
  return origin + pathname.replace(/\/index\.html$/, '/');
}

/** All files or none: a version that is not whole never takes over. */
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
  // A redirected answer may not be given to a navigation: its body and type in one of its own.
  const { status, headers } = response;
  await cache.put(url, response.redirected ? new Response(response.body, { status, headers }) : response);
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(cacheName);
  // A browser that evicts the cache may leave the worker: then the network has it, if there is one.
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
// A new version waits until the visitor asks for it, or until no page is open: two versions never share a
// page.
scope.addEventListener('message', ({ data }) => void (data === 'take over' && scope.skipWaiting()));

export {};
