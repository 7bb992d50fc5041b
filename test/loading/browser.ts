/**
 * A real Chromium that loads models from a local server. Its profile is on disk, so stored data outlives the
 * browser process.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type BrowserContext, type Page } from 'playwright';
import { expect } from 'vitest';
import { chromiumArgs } from '../../scripts/software-gpu.mjs';
import { putBuild } from '../builds.ts';
import { openChromium } from '../chromium.ts';
import { correctEvaluate } from '../evaluate.ts';
import { answer, largeFiles } from './server.ts';

/**
 * Response headers that keep files out of Chromium's HTTP cache, so that the server sees every request of the
 * library.
 */
export const noStore = (): Record<string, string> => ({ 'cache-control': 'no-store' });

export interface Site {
  readonly url: string;
  files: Map<string, Uint8Array>;
  /** Body bytes passed to the network so far. */
  sentBytes: number;
  asked: string[];
  etag: string;
  /** Extra headers for each response that carries a file. */
  headers: (name: string) => Record<string, string>;
  /** Bytes per second of each response. 0 means unlimited. */
  bytesPerSecond: number;
  /**
   * The server sends no byte of a file from this offset on until the test raises the limit. This keeps a load
   * in progress for as long as the test needs.
   */
  limit: number;
  /** While true, the server answers only the page and the library's files. */
  down: boolean;
  /** While true, the server answers every request for a file with a web page. */
  page: boolean;
  close(): Promise<void>;
}

/** Serves the built library, an empty page, and a checkpoint under /weights/. */
export async function openSite(): Promise<Site> {
  const outDir = mkdtempSync(join(tmpdir(), 'dist-'));
  await putBuild('library', outDir);
  const site: Site = {
    url: '',
    files: largeFiles(),
    sentBytes: 0,
    asked: [],
    etag: '"one"',
    headers: noStore,
    bytesPerSecond: 0,
    limit: Infinity,
    down: false,
    page: false,
    close: async () => undefined,
  };
  const server = createServer((request, response) => {
    const path = request.url!;
    if (path.startsWith('/dist/'))
      return void response
        .writeHead(200, {
          'content-type': 'text/javascript',
          'cross-origin-embedder-policy': 'require-corp', // the worker script needs the same policy as the page
        })
        .end(readFileSync(join(outDir, path.slice(6))));
    if (!path.startsWith('/weights/')) {
      const script =
        "import * as library from '/dist/index.js'; globalThis.library = library; globalThis.progress = 0;";
      return void response
        .writeHead(200, {
          'content-type': 'text/html',
          'cross-origin-opener-policy': 'same-origin',
          'cross-origin-embedder-policy': 'require-corp',
        })
        .end(`<!doctype html><title>test</title><script type="module">${script}</script>`);
    }
    if (site.down) return void response.destroy();
    if (site.page)
      return void response
        .writeHead(200, { 'content-type': 'text/html' })
        .end('<!doctype html><title>Log in</title>');
    const name = path.slice('/weights/'.length);
    const bytes = site.files.get(name);
    site.asked.push(`${name} ${request.headers.range ?? 'whole'}`);
    if (!bytes) return void response.writeHead(404).end();
    const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const range = match
      ? ([Number(match[1]), Math.min(match[2] ? Number(match[2]) + 1 : Infinity, bytes.length)] as const)
      : undefined;
    const end = response.end.bind(response);
    Object.assign(response, {
      end: (body?: Uint8Array) => {
        if (!body) return end();
        const step = site.bytesPerSecond > 0 ? Math.max(1, Math.floor(site.bytesPerSecond / 50)) : 2 ** 20;
        const drip = (at: number): void => {
          if (response.destroyed) return;
          if (at >= body.length) return void end();
          const room = site.limit - (body.byteOffset - bytes.byteOffset) - at;
          if (room <= 0) return void setTimeout(drip, 5, at);
          const part = body.subarray(at, at + Math.min(step, room));
          site.sentBytes += part.length;
          response.write(part, () =>
            site.bytesPerSecond > 0
              ? setTimeout(drip, 20, at + part.length)
              : setImmediate(drip, at + part.length),
          );
        };
        drip(0);
        return response;
      },
    });
    answer({ name, bytes, count: 0, range, request, response }, { etag: site.etag, ...site.headers(name) });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return Object.assign(site, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(outDir, { recursive: true, force: true });
    },
  });
}

export interface Profile {
  readonly folder: string;
  remove(): void;
}

export function makeProfile(): Profile {
  const folder = mkdtempSync(join(tmpdir(), 'profile-'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) };
}

/**
 * Starts Chromium with this profile. After a kill, Chromium occasionally crashes at startup (SIGSEGV before
 * any page, about once in 2,000 starts). A user would start it again, so this function logs the crash and
 * tries up to three times.
 */
export async function launch({ folder }: Profile, args: readonly string[]): Promise<BrowserContext> {
  for (let attempt = 1; ; attempt++) {
    try {
      const context = await chromium.launchPersistentContext(folder, {
        executablePath: process.env['CHROMIUM_PATH']!,
        args: [...args],
      });
      correctEvaluate(context);
      return context;
    } catch (error) {
      if (attempt === 3 || !/signal=SIGSEGV/.test(String(error))) throw error;
      console.log(`Chromium crashed at its start: ${String(error).split('\n')[0]}`);
    }
  }
}

export interface Visitor {
  readonly context: BrowserContext;
  readonly page: Page;
}

export async function visit(profile: Profile, site: Site): Promise<Visitor> {
  const context = await launch(profile, [...chromiumArgs, '--enable-precise-memory-info']);
  const page = context.pages()[0] ?? (await context.newPage());
  await open(page, site);
  return { context, page };
}

/**
 * A site, and a profile for several successive browsers: for tests of the data that one browser leaves to the
 * next.
 */
export interface Lives {
  readonly site: Site;
  readonly profile: Profile;
  close(): Promise<void>;
}

export async function openLives(): Promise<Lives> {
  const site = await openSite();
  const profile = makeProfile();
  const close = async (): Promise<void> => {
    kill(profile); // a browser that a failed test left running
    await site.close();
    profile.remove();
  };
  return { site, profile, close };
}

/** A site with one browser and page, shared by all tests of a file. */
export interface Visit extends Visitor {
  readonly site: Site;
  close(): Promise<void>;
}

/**
 * In a Chromium with a profile on disk or, for files whose subject is not what the browser keeps, in a context of
 * the one that all files share, which stores in memory.
 */
export async function openVisit(where: 'profile' | 'shared' = 'profile'): Promise<Visit> {
  if (where === 'shared') {
    const [site, browser] = await Promise.all([openSite(), openChromium()]);
    const context = await browser.newContext();
    const page = await context.newPage();
    await open(page, site);
    const close = async (): Promise<void> => {
      await browser.close();
      await site.close();
    };
    return { context, page, site, close };
  }
  const { site, profile, close: end } = await openLives();
  const visitor = await visit(profile, site);
  const close = async (): Promise<void> => {
    await visitor.context.close();
    await end();
  };
  return { ...visitor, site, close };
}

/** Resets the state before each test: empties the cache and restores the server's default behaviour. */
export async function renew({ page, site }: Visit): Promise<void> {
  await removeCached(page);
  Object.assign(site, {
    files: largeFiles(),
    asked: [],
    down: false,
    page: false,
    bytesPerSecond: 0,
    limit: Infinity,
    etag: '"one"',
    headers: noStore,
  });
}

export async function open(page: Page, site: Site): Promise<void> {
  page.setDefaultTimeout(120_000);
  await page.goto(site.url);
  await page.waitForFunction(() => 'library' in globalThis);
}

/**
 * Kills all processes of a browser, as in a crash. The processes are found by the profile folder in their
 * arguments.
 */
export function kill({ folder }: Profile): void {
  const pids = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8', maxBuffer: 2 ** 26 })
    .split('\n')
    .filter((line) => line.includes(`--user-data-dir=${folder}`))
    .map((line) => Number(line.trim().split(' ')[0]));
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error; // already gone
    }
  }
}

/**
 * Bytes that Chromium dropped from its file directory at this start, read from its own log. Files recorded in
 * those bytes are lost. The directory is a LevelDB: after a record torn by a kill, Chromium appends to the
 * same log; at the next start it drops everything after the torn record within its 32 KiB block. Seen once in
 * 150 to 500 kills.
 */
export function droppedBytes(folder: string): number {
  const root = join(folder, 'Default', 'File System');
  const logs = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith(join('t', 'Paths', 'LOG')),
  );
  const counts = logs.flatMap((path) =>
    [...readFileSync(join(root, path), 'utf8').matchAll(/dropping (\d+) bytes/g)].map(([, count]) =>
      Number(count),
    ),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Log records cut off by a kill: checksum (4 bytes), length (2), type (1), and a part of the payload. */
export const TORN = {
  'in its header': [0x12, 0x34, 0x56],
  'in its payload': [0x12, 0x34, 0x56, 0x78, 200, 0, 1, ...Array.from({ length: 50 }, () => 0x61)],
  'late in a long payload': [
    0x12,
    0x34,
    0x56,
    0x78,
    0x80,
    0x3e,
    1,
    ...Array.from({ length: 15_000 }, () => 0x61),
  ],
} as const;

/**
 * Appends a torn record to the log while the browser is closed, which forces the data loss that
 * `droppedBytes` counts. The returned function reports whether Chromium has appended to the log since.
 */
export function tear({ folder }: Profile, record: readonly number[]): () => boolean {
  const root = join(folder, 'Default', 'File System');
  const logs = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => /[\\/]t[\\/]Paths[\\/]\d+\.log$/.test(path))
    .sort();
  const log = join(root, logs.at(-1)!);
  appendFileSync(log, Uint8Array.from(record));
  const { size } = statSync(log);
  return () => statSync(log).size > size;
}

type Library = typeof import('../../src/index.ts');
interface Page_ {
  readonly library: Library;
  progress: number;
  first?: unknown;
  /** If true, the running load is stopped at its next chunk; `interrupted` holds the outcome. */
  enough: boolean;
  interrupted: Promise<string>;
}

/**
 * Loads the checkpoint of the site. Returns the load report and one hash over the fingerprint and the output
 * of a forward.
 */
export function load(
  page: Page,
  options: Record<string, unknown> = {},
): Promise<{
  hash: number;
  fingerprint: string;
  loaded: Awaited<ReturnType<Library['DINOv2']['fromPretrained']>>['loaded'];
}> {
  return page.evaluate(async (given) => {
    const here = globalThis as unknown as Page_;
    const model = await here.library.DINOv2.fromPretrained('/weights/', {
      selfTest: false,
      retry: { attempts: 2, delayMs: 10 },
      ...given,
      onProgress: ({ loadedBytes }) => (here.progress = loadedBytes),
    });
    const pixels = Float32Array.from({ length: 3 * 28 * 28 }, (_, i) => Math.sin(i));
    const features = await model.forward(pixels, { height: 28, width: 28 });
    const words = new Uint32Array((await features.lastHiddenState()).buffer);
    features.dispose();
    const fingerprint = await model.fingerprint();
    const { loaded } = model;
    if (here.first) model.dispose();
    else here.first = model; // keep one model: disposing of the last one destroys the device and its pipelines
    return {
      hash: [...words, ...new TextEncoder().encode(fingerprint)].reduce(
        (sum, word) => (Math.imul(sum, 31) + word) >>> 0,
        7,
      ),
      fingerprint,
      loaded,
    };
  }, options);
}

/**
 * Starts a load and stops it midway. For each offset in `stops`, the server sends the file up to that offset
 * and waits until one more block is cached. Then the next chunk ends the load, by an abort or by an error
 * thrown in onProgress. The cached blocks therefore depend only on `stops`, not on the machine's speed.
 */
export async function interrupt(
  page: Page,
  site: Site,
  stops: readonly number[],
  options: Record<string, unknown> = {},
  how: 'abort' | 'throw' = 'abort',
): Promise<void> {
  site.limit = 0;
  await page.evaluate(
    ([given, throws]) => {
      const here = globalThis as unknown as Page_;
      const controller = new AbortController();
      const mine = new Error('far enough');
      here.enough = false;
      const onProgress = (): void => {
        if (!here.enough) return;
        if (throws) throw mine;
        controller.abort(mine);
      };
      here.interrupted = here.library.DINOv2.fromPretrained('/weights/', {
        selfTest: false,
        ...given,
        signal: controller.signal,
        onProgress,
      }).then(
        () => 'loaded',
        (thrown: unknown) => (thrown === mine ? 'its own error' : String(thrown)),
      );
    },
    [options, how === 'throw'] as const,
  );
  for (const [i, stop] of stops.entries()) {
    site.limit = stop;
    await expect.poll(() => blocksKept(page)).toBeGreaterThan(i);
  }
  await page.evaluate(() => void ((globalThis as unknown as Page_).enough = true));
  site.limit = Infinity;
  expect(await page.evaluate(() => (globalThis as unknown as Page_).interrupted)).toBe('its own error');
}

/** Number of non-empty cached blocks, in OPFS and the Cache API together. */
async function blocksKept(page: Page): Promise<number> {
  const responses = await page.evaluate(async () =>
    (await (await caches.open('dinov2-webgpu')).keys()).map(({ url }) => url),
  );
  return [
    ...responses,
    ...(await storedFiles(page)).filter(([, bytes]) => bytes > 0).map(([path]) => path),
  ].filter((path) => /\.safetensors-\d+$/.test(path)).length;
}

export const cached = (page: Page): Promise<Awaited<ReturnType<Library['listCached']>>> =>
  page.evaluate(() => (globalThis as unknown as Page_).library.listCached());
export const removeCached = (page: Page, id?: string): Promise<number> =>
  page.evaluate((which) => (globalThis as unknown as Page_).library.removeCached(which), id);
export const progressOf = (page: Page): Promise<number> =>
  page.evaluate(() => (globalThis as unknown as Page_).progress);

/** Paths and sizes of all files in the origin's private file system. */
export function storedFiles(page: Page): Promise<[string, number][]> {
  return page.evaluate(async () => {
    const found: [string, number][] = [];
    const walk = async (folder: FileSystemDirectoryHandle, path: string): Promise<void> => {
      for await (const [name, handle] of folder.entries()) {
        if (handle.kind === 'directory') await walk(handle as FileSystemDirectoryHandle, `${path}${name}/`);
        else found.push([`${path}${name}`, (await (handle as FileSystemFileHandle).getFile()).size]);
      }
    };
    await walk(await navigator.storage.getDirectory(), '');
    return found;
  });
}
