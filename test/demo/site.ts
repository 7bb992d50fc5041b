/** Serves the built demo locally, and opens its pages in Chromium. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Download, Page } from 'playwright';
import { preview } from 'vite';
import { putBuild } from '../builds.ts';
import { openChromium } from '../chromium.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const tiny = join(root, 'test/fixtures/reference/tiny-plain');
/**
 * Timeout of a wait for a model. A forward of ViT-S takes 3 to 10 s on a software adapter, and other tests
 * may run in parallel.
 */
export const PATIENCE_MS = 120_000;

export interface Site {
  readonly origin: string;
  readonly browser: Browser;
  /** Folder of the built demo. */
  readonly folder: string;
  /** Stops the server. Afterwards only files that the browser has cached are available. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

/** Builds the demo for publication, serves it, and connects to the browser. */
export async function openSite(): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'demo-'));
  const outDir = join(folder, 'site');
  const common = { root, mode: 'demo', configFile: join(root, 'vite.config.ts'), logLevel: 'error' } as const;
  await putBuild('demo', outDir);
  const server = await preview({ ...common, build: { outDir }, preview: { host: '127.0.0.1', port: 0 } });
  const { port } = server.httpServer.address() as AddressInfo;
  const browser = await openChromium();
  const stop = (): Promise<void> => server.close();
  const close = async (): Promise<void> => {
    await browser.close();
    await stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { origin: `http://127.0.0.1:${port}`, browser, folder: outDir, stop, close };
}

/** A page with its logged errors and warnings, and the URLs that it requested. */
export interface Watched {
  readonly page: Page;
  readonly complaints: string[];
  readonly requests: string[];
}

export async function openPage(
  { browser, origin }: Site,
  prepare?: (page: Page) => Promise<unknown>,
  path = 'demo/',
): Promise<Watched> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  const page = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  page.on(
    'console',
    (message) => void (['error', 'warning'].includes(message.type()) && complaints.push(message.text())),
  );
  page.on('pageerror', (error) => void complaints.push(String(error)));
  page.on('request', (request) => void requests.push(request.url()));
  page.setDefaultTimeout(PATIENCE_MS);
  await prepare?.(page);
  await page.goto(`${origin}/${path}`);
  return { page, complaints, requests };
}

/** Waits until the front page shows a map. `about`: a part of the map's description. */
export async function done(page: Page, about = ''): Promise<void> {
  const waiting = page.waitForFunction((text) => {
    const map = document.querySelector<HTMLElement>('#map')!;
    const busy = document.querySelector('#map-frame')!.getAttribute('aria-busy');
    return !map.hidden && busy === 'false' && map.getAttribute('aria-label')!.includes(text);
  }, about);
  await waiting.catch(async (error: unknown) => {
    const said = await page.locator('#map-status, #map-caption, #model-line, #toasts').allInnerTexts();
    throw new Error(`${String(error)}; the page says: ${said.join(' | ')}`, { cause: error });
  });
}

/** Describes a canvas: a text with its size and a hash of its pixels, and the number of distinct colours. */
export function colours(
  page: Page,
  id: string,
): Promise<{ text: string; distinct: number; width: number; height: number }> {
  return page.evaluate((which) => {
    const canvas = document.querySelector<HTMLCanvasElement>(`#${which}`)!;
    const { width, height } = canvas;
    const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, width, height);
    const pixels = new Uint32Array(data.buffer);
    const hash = pixels.reduce((sum, pixel) => (Math.imul(sum, 31) + pixel) >>> 0, 7);
    return { text: `${width} × ${height}: ${hash}`, distinct: new Set(pixels).size, width, height };
  }, id);
}

export interface Dropped {
  readonly name: string;
  readonly type?: string;
  readonly bytes: Uint8Array;
}

export const fileOf = (path: string, type = ''): Dropped => ({
  name: basename(path),
  type,
  bytes: readFileSync(path),
});

/** Bytes of a download. Its file belongs to the shared browser, so its path is not available here. */
export const downloaded = async (download: Download): Promise<Buffer> =>
  Buffer.concat(await (await download.createReadStream()).toArray());

/** Drops files on the page, or pastes them. */
export async function give(page: Page, how: 'drop' | 'paste', ...files: Dropped[]): Promise<void> {
  const plain = files.map(({ name, type = '', bytes }) => ({
    name,
    type,
    base64: Buffer.from(bytes).toString('base64'),
  }));
  await page.evaluate(
    ([event, given]) => {
      const data = new DataTransfer();
      for (const { name, type, base64 } of given)
        data.items.add(
          new File([Uint8Array.from(atob(base64), (each) => each.charCodeAt(0))], name, { type }),
        );
      const init = { bubbles: true, cancelable: true };
      document.body.dispatchEvent(
        event === 'drop'
          ? new DragEvent('drop', { ...init, dataTransfer: data })
          : new ClipboardEvent('paste', { ...init, clipboardData: data }),
      );
    },
    [how, plain] as const,
  );
}

/** Loads the tiny model, whose forward takes a fraction of a second on any adapter. */
export async function loadTiny(page: Page): Promise<void> {
  await page.locator('#model-line:not([data-state="starting"], [data-state="loading"])').waitFor();
  await give(page, 'drop', fileOf(join(tiny, 'model.safetensors')));
  await page.locator('#model-name', { hasText: 'model.safetensors' }).waitFor();
  await done(page);
}

/**
 * Opens a page with only the tiny model. The page's first device request fails, so it does not load its
 * default ViT-S, which would take 25 s on a software adapter to compile, test and run.
 */
export async function openTiny(
  site: Site,
  prepare?: (page: Page) => Promise<unknown>,
  path?: string,
): Promise<Watched> {
  const watched = await openPage(
    site,
    async (page) => {
      await page.addInitScript(() => {
        const { requestDevice } = GPUAdapter.prototype;
        GPUAdapter.prototype.requestDevice = async function (descriptor) {
          if (sessionStorage.getItem('refused')) return requestDevice.call(this, descriptor);
          sessionStorage.setItem('refused', 'yes'); // not again after a reload
          throw new DOMException('not this time', 'OperationError');
        };
      });
      await prepare?.(page);
    },
    path,
  );
  await loadTiny(watched.page);
  return watched;
}

/** The message about an action. */
export const toast = (page: Page, topic: string) => page.locator(`.toast[data-topic="${topic}"]`);

/** Makes a page record how much its layout shifts without an action of the visitor. */
export const watchShifts = (page: Page): Promise<unknown> =>
  page.addInitScript(() => {
    const shifts: { value: number; moved: string }[] = [];
    Object.assign(globalThis, { shifts });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries() as unknown as LayoutShift[])
        if (!entry.hadRecentInput)
          shifts.push({
            value: entry.value,
            moved: entry.sources.map(({ node }) => (node as Element | null)?.id ?? '').join(),
          });
    }).observe({ type: 'layout-shift', buffered: true });
    interface LayoutShift {
      readonly value: number;
      readonly hadRecentInput: boolean;
      readonly sources: readonly { readonly node: Node | null }[];
    }
  });

/** Returns the sum of the page's layout shifts, and what moved. */
export const shiftsOf = (page: Page): Promise<{ sum: number; moved: string }> =>
  page.evaluate(() => {
    const { shifts } = globalThis as unknown as { shifts: { value: number; moved: string }[] };
    return {
      sum: shifts.reduce((sum, { value }) => sum + value, 0),
      moved: shifts.map(({ value, moved }) => `${value.toFixed(4)} ${moved}`).join('; '),
    };
  });
