/** The search page with the network off, and on several screens at once: what is kept, and what happens to what was under way. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BrowserContext, Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { added, cropped, found, loadTiny, make, openSearch, ready, shown, stripes, whole } from './searchSite.js';
import { give, notice, openSite, PATIENCE_MS, tiny, type Site } from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

/** What takes a forward takes seconds where a processor plays the GPU. */
const PATIENCE = { timeout: PATIENCE_MS };
const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();

/** Another tab of the same browser. */
async function openTab(context: BrowserContext, prepare?: (page: Page) => Promise<unknown>): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await prepare?.(page);
  await page.goto(`${site.origin}/demo/search/`);
  await ready(page);
  return page;
}

const working = (page: Page): Promise<unknown> => page.waitForFunction(async () => (await navigator.serviceWorker.ready).active?.state === 'activated');

describe('a folder', () => {
  const names = Array.from({ length: 36 }, (_, i) => `${String(i).padStart(2, '0')}.png`);
  let page: Page;
  beforeAll(async () => {
    // The browser's dialog is played: what it gives is a folder of the origin's own file system, which has handles as any other.
    ({ page } = await openSearch(site, (fresh) =>
      fresh.addInitScript(() => {
        Object.assign(globalThis, { showDirectoryPicker: async () => (await navigator.storage.getDirectory()).getDirectoryHandle('Holiday', { create: true }) });
      }),
    ));
    const files = (await stripes(page, names)).map(({ name, bytes }) => ({ name, base64: Buffer.from(bytes).toString('base64') }));
    await page.evaluate(async (list) => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('Holiday', { create: true });
      for (const { name, base64 } of list) {
        const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
        await writable.write(Uint8Array.from(atob(base64), (each) => each.charCodeAt(0)));
        await writable.close();
      }
    }, files);
    await loadTiny(page);
  });
  afterAll(() => page.context().close());

  it('can be paused, goes on after a reload where it was, and is whole in the end', async () => {
    await page.locator('#add-folder').click();
    await page.waitForFunction(() => document.querySelectorAll('#view li').length >= 8);
    await page.locator('#pause').click();
    await page.locator('#adding-what', { hasText: 'Paused' }).waitFor();
    const standing = async (): Promise<number> => Number(await text(page, 'count'));
    await expect.poll(standing, PATIENCE).toBeGreaterThanOrEqual(8);
    await page.waitForTimeout(700);
    const [before, images] = [await standing(), names.length];
    await page.waitForTimeout(700);
    expect(await standing()).toBe(before); // nothing goes on
    expect(before).toBeLessThan(images);

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

  it('shows the photograph itself, not the small picture, where its folder may be read', async () => {
    await page.locator('#view .tiles button', { hasText: '07.png' }).click();
    await found(page, '07.png');
    await expect.poll(() => page.locator('#query-image').evaluate(async (image: HTMLImageElement) => (await fetch(image.src).then((response) => response.blob(), () => new Blob())).type), PATIENCE).toMatch(/png|^$/);
  });
});

describe('eight tabs at once', () => {
  it('have one collection: what one adds or removes, all have', async () => {
    const { page: first } = await openSearch(site);
    const context = first.context();
    const others = await Promise.all(Array.from({ length: 7 }, () => openTab(context)));
    const photographs = await stripes(first, ['a.png', 'b.png', 'c.png', 'd.png', 'e.png']);
    await loadTiny(first);
    await give(first, 'drop', ...photographs);
    await added(first);
    await Promise.all(others.map(async (other) => expect.poll(() => text(other, 'count'), PATIENCE).toBe('5')));
    const last = others.at(-1)!;
    await last.locator('#view .tiles button', { hasText: 'c.png' }).click();
    await found(last, 'c.png');
    await last.locator('#query-remove').click();
    await Promise.all([first, ...others].map(async (tab) => expect.poll(() => text(tab, 'count'), PATIENCE).toBe('4')));

    // A ninth, in which there is no WebGPU: what is there is searched all the same.
    const without = await openTab(context, (fresh) => fresh.addInitScript(() => void Reflect.deleteProperty(Navigator.prototype, 'gpu')));
    await without.locator('#unsupported').waitFor();
    expect(await text(without, 'unsupported')).toMatch(/WEBGPU_MISSING/);
    await without.locator('#view .tiles button').first().click();
    expect(await found(without, 'a.png')).toHaveLength(3);
    expect(await text(without, 'backend')).toBe('the processor');
    expect(await without.locator('#add-files').isDisabled()).toBe(true);

    await without.locator('#delete').click();
    await without.locator('#sure-yes').click();
    await Promise.all([first, ...others].map(async (tab) => tab.locator('#empty').waitFor()));
    await context.close();
  });
});

describe('what can be wrong', () => {
  it('no storage: it says so, and works until the page is closed', async () => {
    const { page } = await openSearch(site, (fresh) => fresh.addInitScript(() => Object.defineProperty(globalThis, 'indexedDB', { value: undefined })));
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['a.png', 'b.png'])));
    await added(page);
    expect(await text(page, 'forgetful')).toMatch(/keeps nothing.*IndexedDB/s);
    await page.locator('#view .tiles button').first().click();
    expect(await found(page, 'a.png')).toEqual(['b.png']);
    await page.context().close();
  });

  it('damage: it is told, nothing is deleted without being asked, and then it begins anew', async () => {
    const { page } = await openSearch(site);
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['a.png', 'b.png'])));
    await added(page);
    await page.evaluate(async () => {
      const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu-search');
      const spoil = async (within: FileSystemDirectoryHandle): Promise<void> => {
        for await (const handle of within.values()) {
          if (handle.kind === 'directory') await spoil(handle as FileSystemDirectoryHandle);
          else {
            const file = handle as FileSystemFileHandle;
            const bytes = new Uint8Array(await (await file.getFile()).arrayBuffer());
            bytes[bytes.length >> 1]! ^= 4;
            const writable = await file.createWritable();
            await writable.write(bytes);
            await writable.close();
          }
        }
      };
      await spoil(folder);
    });
    await page.reload();
    await ready(page);
    await notice(page, 'collection').waitFor();
    expect(await notice(page, 'collection').innerText()).toMatch(/INDEX_DAMAGED/);
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['c.png'])));
    await notice(page, 'adding').waitFor(); // not written over
    await notice(page, 'collection').getByRole('button', { name: 'Delete' }).click();
    await page.locator('#empty').waitFor();
    await give(page, 'drop', ...(await stripes(page, ['c.png'])));
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('1');
    await page.context().close();
  });
});

describe('a new version', () => {
  it('is offered, takes over when asked, and leaves nothing of the one before', async () => {
    const { page } = await openSearch(site);
    await working(page);
    await page.reload(); // the first visit is not served by the worker
    await ready(page);
    expect(await page.locator('#fresh').isVisible()).toBe(false);
    const [before] = await page.evaluate(() => caches.keys());
    const script = join(site.folder, 'demo/sw.js');
    const old = readFileSync(script, 'utf8');
    writeFileSync(script, old.replace(/VERSION = "[^"]+"/, 'VERSION = "of the test"'));
    try {
      await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
      await page.locator('#fresh').waitFor();
      await Promise.all([page.waitForEvent('load'), page.locator('#fresh-load').click()]);
      await ready(page);
      await expect.poll(() => page.evaluate(() => caches.keys()), PATIENCE).toEqual(['dinov2-webgpu-demo of the test']);
      expect(before).toMatch(/^dinov2-webgpu-demo [0-9a-f]{16}$/);
    } finally {
      writeFileSync(script, old);
    }
    await page.context().close();
  });
});

// The last one: the server is stopped in it.
describe('the network off, after the first visit', () => {
  it('the page comes, with its model; photographs are dropped, and found by a crop of them', async () => {
    const { page } = await openSearch(site);
    const context = page.context();
    const asked: string[] = [];
    await context.route(/^https:/, (route) => {
      const url = route.request().url();
      asked.push(url);
      const file = url.split('/').at(-1)!;
      return route.fulfill({ status: 200, headers: { 'access-control-allow-origin': '*' }, contentType: file.endsWith('json') ? 'application/json' : 'application/octet-stream', body: readFileSync(join(tiny, file)) });
    });
    await page.locator('#load').click(); // the hub's ViT-S, played by the tiny model
    await page.locator('#running', { hasText: 'facebook/dinov2-small' }).waitFor();
    expect(asked.sort()).toEqual(['config.json', 'model.safetensors'].map((file) => `https://huggingface.co/facebook/dinov2-small/resolve/main/${file}`));
    await working(page);
    const kept = await page.evaluate(async () => {
      const all = await Promise.all((await caches.keys()).map(async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)));
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
    await page.locator('#running', { hasText: 'facebook/dinov2-small' }).waitFor();
    await give(page, 'drop', ...photographs);
    expect(await added(page)).toBe('4 photographs added.');
    for (const query of queries) {
      await give(page, 'paste', query);
      expect((await found(page, query.name))[0]).toBe(query.name.replace('-cropped', ''));
    }
    await page.goto(`${site.origin}/demo/`); // its neighbour is there too
    expect(await page.locator('h1').innerText()).toBe('DINOv2 on WebGPU');
    expect(asked).toEqual([]);
    await context.close();
  });
});
