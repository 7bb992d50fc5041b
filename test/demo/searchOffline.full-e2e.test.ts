/** The search page after a reload, after an update, and offline. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { facebookPreprocessor } from '../loading/preprocessors.ts';
import {
  added,
  cropped,
  found,
  loadTiny,
  make,
  openSearch,
  ready,
  shown,
  showsOriginal,
  stripes,
  whole,
} from './searchSite.js';
import { give, openSite, PATIENCE_MS, tiny, toast, type Site } from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

/** Options of waits for a forward, which takes seconds on a software adapter. */
const PATIENCE = { timeout: PATIENCE_MS };
const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();

const working = (page: Page): Promise<unknown> =>
  page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === 'activated');

/** Runs in the page and limits how many files the model receives. */
interface Gate {
  /** File reads since `holdAfter`: one when a file is looked up, and one when the model takes it. */
  reads: number;
  holdAfter(files: number): void;
  letGo(): void;
}
/**
 * Runs in the page. The number of photographs that the stored ingest record counts as finished; undefined
 * without a record.
 */
const kept = (): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const opening = indexedDB.open('dinov2-webgpu-search/photographs');
    opening.onerror = () => reject(opening.error as Error);
    opening.onsuccess = () => {
      const asking = opening.result.transaction('records').objectStore('records').get('ingest');
      asking.onsuccess = () => (
        opening.result.close(),
        resolve((asking.result as { finished: number } | undefined)?.finished)
      );
    };
  });
const holdAfter = (page: Page, files: number): Promise<void> =>
  page.evaluate((count) => (globalThis as unknown as { gate: Gate }).gate.holdAfter(count), files);
const letGo = (page: Page): Promise<void> =>
  page.evaluate(() => (globalThis as unknown as { gate: Gate }).gate.letGo());
const reads = (page: Page): Promise<number> =>
  page.evaluate(() => (globalThis as unknown as { gate: Gate }).gate.reads);

describe('a folder', () => {
  const names = Array.from({ length: 36 }, (_, i) => `${String(i).padStart(2, '0')}.png`);
  let page: Page;
  beforeAll(async () => {
    // Replaces the browser's folder dialog: it returns a folder of the origin's private file system, whose
    // handles work like any other.
    ({ page } = await openSearch(site, (fresh) =>
      fresh.addInitScript(() => {
        Object.assign(globalThis, {
          showDirectoryPicker: async () =>
            (await navigator.storage.getDirectory()).getDirectoryHandle('Holiday', { create: true }),
        });
        // After this many files, the next read waits. Otherwise a fast machine would add all files before the
        // click on Pause.
        let free = Infinity;
        let held: (() => void)[] = [];
        const readNames = new Set<string>();
        const { getFile } = FileSystemFileHandle.prototype;
        const gate: Gate = {
          reads: 0,
          holdAfter(files) {
            gate.reads = 0;
            readNames.clear();
            free = files;
          },
          letGo() {
            free = Infinity;
            for (const go of held) go();
            held = [];
          },
        };
        FileSystemFileHandle.prototype.getFile = async function () {
          gate.reads++;
          const isTaken = readNames.has(this.name);
          readNames.add(this.name);
          if (isTaken && free-- <= 0) await new Promise<void>((resolve) => held.push(resolve));
          return getFile.call(this);
        };
        Object.assign(globalThis, { gate });
      }),
    ));
    const files = (await stripes(page, names)).map(({ name, bytes }) => ({
      name,
      base64: Buffer.from(bytes).toString('base64'),
    }));
    await page.evaluate(async (list) => {
      const folder = await (
        await navigator.storage.getDirectory()
      ).getDirectoryHandle('Holiday', { create: true });
      for (const { name, base64 } of list) {
        const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
        await writable.write(Uint8Array.from(atob(base64), (each) => each.charCodeAt(0)));
        await writable.close();
      }
    }, files);
    await loadTiny(page);
  });
  afterAll(() => page.context().close());

  it('can be paused, resumes after a reload, and is complete in the end', async () => {
    const [before, images] = [21, names.length];
    await holdAfter(page, before - 1);
    await page.locator('#first-folder').click();
    await expect.poll(() => reads(page), PATIENCE).toBe(images + before); // the last read is waiting
    await page.locator('#pause').click();
    await page.locator('#adding-what', { hasText: 'Paused' }).waitFor();
    await letGo(page);
    const standing = async (): Promise<number> => Number(await text(page, 'count'));
    await expect.poll(standing, PATIENCE).toBe(before);
    await expect.poll(() => page.evaluate(kept), PATIENCE).toBe(before);
    await page.waitForTimeout(700);
    expect(await standing()).toBe(before); // the ingest stays paused

    await page.reload();
    await ready(page);
    await page.locator('#unfinished').waitFor();
    expect(await text(page, 'unfinished-what')).toBe(`Holiday: ${before} of ${images} were done.`);
    await loadTiny(page);
    await page.locator('#unfinished-go').click();
    expect(await added(page)).toBe(`${images - before} photographs added, ${before} there already.`);
    expect((await shown(page)).sort()).toEqual(names);
    await page.reload();
    await ready(page);
    expect(await page.locator('#unfinished').isVisible()).toBe(false);
  });

  it('shows the original photograph instead of the thumbnail if its folder is readable', async () => {
    await page.locator('#view .tiles button', { hasText: '07.png' }).click();
    await found(page, '07.png');
    // Compares blob URLs: the Content-Security-Policy does not allow the page to fetch a blob's bytes.
    await expect.poll(() => showsOriginal(page, '07.png'), PATIENCE).toBe(true);
  });

  it('with the name of an existing folder replaces nothing, and is added beside it if the visitor chooses so', async () => {
    await loadTiny(page);
    await page.evaluate(async () => {
      const files = await navigator.storage.getDirectory();
      const other = await (
        await files.getDirectoryHandle('elsewhere', { create: true })
      ).getDirectoryHandle('Holiday', { create: true });
      for await (const [name, handle] of (await files.getDirectoryHandle('Holiday')).entries()) {
        const writable = await (await other.getFileHandle(name, { create: true })).createWritable();
        await writable.write(await (handle as FileSystemFileHandle).getFile());
        await writable.close();
      }
      Object.assign(globalThis, { showDirectoryPicker: async () => other });
    });
    await page.locator('#add-folder').click();
    const taken = toast(page, 'adding');
    await taken.waitFor();
    expect(await taken.innerText()).toMatch(/INDEX_DUPLICATE_ID.*another folder of this name/s);
    expect(await text(page, 'count')).toBe('36');
    await holdAfter(page, 0);
    await taken.locator('button', { hasText: 'Keep both' }).click();
    await expect.poll(() => reads(page), PATIENCE).toBe(36 + 1);
    await page.locator('#pause').click();
    await page.locator('#adding-what', { hasText: 'Paused' }).waitFor();
    await letGo(page);
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe(String(36 + 1)); // the photograph in progress was added
    expect((await shown(page)).slice(0, 36).sort()).toEqual(names);
  });

  it('with an unfinished ingest can be forgotten without a model', async () => {
    await page.reload();
    await ready(page);
    await page.locator('#unfinished').waitFor();
    const count = await text(page, 'count');
    await page.locator('#unfinished-forget').click();
    expect(await page.locator('#unfinished').isVisible()).toBe(false);
    await expect.poll(() => page.evaluate(kept), PATIENCE).toBeUndefined();
    expect(await page.locator('.toast').allInnerTexts()).toEqual([]);
    await page.reload();
    await ready(page);
    expect(await page.locator('#unfinished').isVisible()).toBe(false);
    expect(await text(page, 'count')).toBe(count);
  });
});

describe('a new version of the page', () => {
  it('is offered, takes over on request, and leaves no cache of the old version', async () => {
    const { page } = await openSearch(site);
    await working(page);
    await page.reload(); // the service worker does not control the first visit
    await ready(page);
    expect(await toast(page, 'version').count()).toBe(0);
    const [before] = await page.evaluate(() => caches.keys());
    const script = join(site.folder, 'demo/sw.js');
    const old = readFileSync(script, 'utf8');
    writeFileSync(script, old.replace(/VERSION = "[^"]+"/, 'VERSION = "of the test"'));
    try {
      await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
      await toast(page, 'version').waitFor();
      await Promise.all([
        page.waitForEvent('load'),
        toast(page, 'version').getByRole('button', { name: 'Load it' }).click(),
      ]);
      await ready(page);
      await expect
        .poll(() => page.evaluate(() => caches.keys()), PATIENCE)
        .toEqual(['dinov2-webgpu-demo of the test']);
      expect(before).toMatch(/^dinov2-webgpu-demo [0-9a-f]{16}$/);
    } finally {
      writeFileSync(script, old);
    }
    await page.context().close();
  });
});

// This test must run last, because it stops the server.
describe('offline, after the first visit', () => {
  it('the page and its model load; dropped photographs are added, and found by a crop', async () => {
    const { page } = await openSearch(site);
    const context = page.context();
    const asked: string[] = [];
    await context.route(/^https:/, (route) => {
      const url = route.request().url();
      asked.push(url);
      const file = url.split('/').at(-1)!;
      return route.fulfill({
        status: 200,
        headers: { 'access-control-allow-origin': '*' },
        contentType: file.endsWith('json') ? 'application/json' : 'application/octet-stream',
        body: file === 'preprocessor_config.json' ? facebookPreprocessor : readFileSync(join(tiny, file)),
      });
    });
    await page.locator('#first-load').click(); // the tiny model is served in place of ViT-S
    await page.locator('#model-line[data-state="loaded"]', { hasText: 'ViT-S' }).waitFor();
    expect(asked.sort()).toEqual(
      ['config.json', 'model.safetensors', 'preprocessor_config.json'].map(
        (file) => `https://huggingface.co/facebook/dinov2-small/resolve/main/${file}`,
      ),
    );
    await working(page);
    const kept = await page.evaluate(async () => {
      const all = await Promise.all(
        (await caches.keys()).map(async (name) =>
          (await (await caches.open(name)).keys()).map(({ url }) => url),
        ),
      );
      return all.flat();
    });
    expect(kept.length).toBeGreaterThan(8);
    expect(kept.filter((url) => !url.startsWith(site.origin) || /safetensors|bench/.test(url))).toEqual([]); // no weights

    const [photographs, queries] = [await make(page, whole), await make(page, cropped)];
    await context.unroute(/^https:/);
    await site.stop();
    await context.setOffline(true);
    asked.length = 0;
    await page.reload();
    await ready(page);
    await page.locator('#model-line[data-state="loaded"]', { hasText: 'ViT-S' }).waitFor();
    await give(page, 'drop', ...photographs);
    expect(await added(page)).toBe('4 photographs added.');
    for (const query of queries) {
      await give(page, 'paste', query);
      expect((await found(page, query.name))[0]).toBe(query.name.replace('-cropped', ''));
    }
    await page.goto(`${site.origin}/demo/`); // the front page works offline too
    expect(await page.locator('h1').innerText()).toBe('See what DINOv2 sees');
    expect(asked).toEqual([]);
    await context.close();
  });
});
