/**
 * The built library on a local address: pages that hold both of its sides, the worker's and the page's own,
 * and checkpoints and photographs for them.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright';
import { putBuild } from '../builds.ts';
import { openChromium } from '../chromium.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export type PageModel = import('../../src/index.ts').DINOv2;
export type WorkerModel = import('../../src/worker.ts').DINOv2;
export type PageLibrary = typeof import('../../src/index.ts');
export type WorkerLibrary = typeof import('../../src/worker.ts');

/** What a page of this site has. */
export interface Globals {
  readonly library: PageLibrary;
  readonly worker: WorkerLibrary;
}

export interface WorkerSite {
  readonly url: string;
  readonly browser: Browser;
  /** Paths that were asked for. */
  readonly asked: string[];
  /** Weights are sent when this resolves. */
  held: Promise<void>;
  /** A page with both libraries. */
  open(path?: string): Promise<Page>;
  close(): Promise<void>;
}

/** Files that the site makes up: scripts for workers that fail. */
const SCRIPTS: Record<string, string> = {
  // The real one, whose device and end can be had: before its messages are looked at by the library. Once it
  // is told what to do, nothing comes back from the GPU any more, and it is done when three calls have
  // arrived: so all of them wait, on any machine.
  '/sabotage.js': `
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...given) { return (globalThis.device = await request.apply(this, given)); };
    let done = Promise.resolve();
    const { mapAsync } = GPUBuffer.prototype;
    GPUBuffer.prototype.mapAsync = async function (...given) { await done; return mapAsync.apply(this, given); };
    const channel = new BroadcastChannel('sabotage');
    channel.onmessage = ({ data }) => {
      let go;
      done = new Promise((resolve) => (go = resolve));
      let calls = 0;
      addEventListener('message', ({ data: { kind } }) => {
        if (kind !== 'call' || ++calls !== 3) return;
        if (data === 'lose the device') globalThis.device.destroy();
        if (data === 'end') close();
        if (data === 'throw') setTimeout(() => { throw new Error('sabotaged'); });
        go();
      });
      channel.postMessage('ready');
    };
    await import('/dist/worker-thread.js');`,
  '/ending.js':
    "new BroadcastChannel('ending').onmessage = () => close(); await import('/dist/worker-thread.js');",
  '/other-version.js': "postMessage({ kind: 'ready', protocol: 0 });",
  '/never-ready.js': '',
  '/another.js': "postMessage('Hello'); export const answer = 42;",
  // The real one, in which the next buffer cannot be freed once it is told so.
  '/failing-dispose.js': `
    const { destroy } = GPUBuffer.prototype;
    const channel = new BroadcastChannel('failing');
    channel.onmessage = () => {
      channel.postMessage(typeof document);
      GPUBuffer.prototype.destroy = () => { GPUBuffer.prototype.destroy = destroy; throw new Error('sabotaged'); };
    };
    await import('/dist/worker-thread.js');`,
  '/no-locks.js':
    "LockManager.prototype.request = async () => { throw new DOMException('denied', 'SecurityError'); }; await import('/dist/worker-thread.js');",
  // The real one, which tells how many of the bitmaps that were sent to it are open still, and how many
  // classifiers it holds.
  '/counting.js': `
    const arrived = [];
    addEventListener('message', ({ data }) => { if (data?.value?.image instanceof ImageBitmap) arrived.push(data.value.image); });
    const holders = new Set();
    const set = Map.prototype.set;
    Map.prototype.set = function (key, value) { if (value && typeof value === 'object' && 'numClasses' in value) holders.add(this); return set.call(this, key, value); };
    new BroadcastChannel('count').onmessage = ({ data }) => {
      if (data !== 'count') return;
      const classifiers = [...holders].reduce((sum, map) => sum + [...map.values()].filter((value) => value && typeof value === 'object' && 'numClasses' in value).length, 0);
      new BroadcastChannel('counted').postMessage({ arrived: arrived.length, open: arrived.filter(({ width }) => width > 0).length, classifiers });
    };
    await import('/dist/worker-thread.js');`,
};

/** Content-Security-Policies of pages beneath a folder. */
const STRICT =
  "default-src 'none'; worker-src 'self'; connect-src 'self'; img-src 'self' blob:; script-src 'self'";
const POLICIES: Readonly<Record<string, string>> = {
  strict: STRICT,
  'strict-but-wasm': `${STRICT} 'wasm-unsafe-eval'`,
  'no-workers': "script-src 'self' 'unsafe-inline'; worker-src 'none'",
};

export async function openWorkerSite(): Promise<WorkerSite> {
  const outDir = mkdtempSync(join(tmpdir(), 'dist-'));
  await putBuild('library', outDir);
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url!, 'http://localhost').pathname;
    asked.push(path);
    const policy = POLICIES[path.split('/')[1]!];
    const csp = policy === undefined ? {} : { 'content-security-policy': policy };
    const send = (type: string, body: string | Uint8Array): void =>
      void response.writeHead(200, { 'content-type': type, ...csp }).end(body);
    try {
      const script = SCRIPTS[path];
      if (script !== undefined) send('text/javascript', script);
      else if (path.endsWith('/page.js'))
        send(
          'text/javascript',
          "import * as library from '/dist/index.js'; import * as worker from '/dist/worker.js'; Object.assign(globalThis, { library, worker });",
        );
      else if (path.endsWith('/'))
        send('text/html', '<!doctype html><title>test</title><script type="module" src="page.js"></script>');
      else if (path.startsWith('/dist/') || path.startsWith('/copy/'))
        send('text/javascript', readFileSync(join(outDir, path.slice(6))));
      else if (/^\/(weights|photos|fixtures)\//.test(path)) {
        const folder = {
          weights: 'test/fixtures/reference/tiny-plain',
          photos: 'demo/photos',
          fixtures: 'test/fixtures',
        }[path.split('/')[1]!]!;
        const bytes = readFileSync(join(root, folder, path.split('/').slice(2).join('/')));
        void (path.endsWith('.safetensors') ? site.held : Promise.resolve()).then(() =>
          send('application/octet-stream', bytes),
        );
      } else response.writeHead(404).end();
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const browser = await openChromium();
  const site: WorkerSite = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    browser,
    asked,
    held: Promise.resolve(),
    async open(path = '/') {
      const page = await (await browser.newContext()).newPage();
      page.setDefaultTimeout(120_000);
      await page.goto(site.url + path);
      await page.waitForFunction(() => 'worker' in globalThis);
      return page;
    },
    async close() {
      await browser.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(outDir, { recursive: true, force: true });
    },
  };
  return site;
}
