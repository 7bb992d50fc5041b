/** The search page in eight tabs at once, and with missing or damaged storage. */
import type { BrowserContext, Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { added, found, loadTiny, openSearch, ready, stripes } from './searchSite.js';
import { give, openSite, PATIENCE_MS, toast, type Site } from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

/** Options of waits for a forward, which takes seconds on a software adapter. */
const PATIENCE = { timeout: PATIENCE_MS };
const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();

/** Opens the search page in another tab of the same browser. */
async function openTab(context: BrowserContext, prepare?: (page: Page) => Promise<unknown>): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await prepare?.(page);
  await page.goto(`${site.origin}/demo/search/`);
  await ready(page);
  return page;
}

describe('eight tabs at once', () => {
  it('share one collection: additions and removals appear in every tab', async () => {
    const { page: first } = await openSearch(site);
    const context = first.context();
    const others = await Promise.all(Array.from({ length: 7 }, () => openTab(context)));
    const photographs = await stripes(first, ['a.png', 'b.png', 'c.png', 'd.png', 'e.png']);
    await loadTiny(first);
    await give(first, 'drop', ...photographs);
    await added(first);
    await Promise.all(
      others.map(async (other) => expect.poll(() => text(other, 'count'), PATIENCE).toBe('5')),
    );
    const last = others.at(-1)!;
    await last.locator('#view .tiles button', { hasText: 'c.png' }).click();
    await found(last, 'c.png');
    await last.locator('#query-remove').click();
    await Promise.all(
      [first, ...others].map(async (tab) => expect.poll(() => text(tab, 'count'), PATIENCE).toBe('4')),
    );

    // A ninth tab without WebGPU can still search the collection.
    const without = await openTab(context, (fresh) =>
      fresh.addInitScript(() => void Reflect.deleteProperty(Navigator.prototype, 'gpu')),
    );
    await without.locator('#unsupported').waitFor();
    expect(await text(without, 'unsupported')).toMatch(/WEBGPU_MISSING/);
    await without.locator('#view .tiles button').first().click();
    expect(await found(without, 'a.png')).toHaveLength(3);
    expect(await text(without, 'backend')).toBe('the processor');
    expect(await without.locator('#add-files').isDisabled()).toBe(true);

    await without.locator('#about-open').click();
    await without.locator('#delete').click();
    await without.locator('#sure-yes').click();
    await Promise.all([first, ...others].map(async (tab) => tab.locator('#empty').waitFor()));
    await without.locator('#empty').waitFor();
    expect(await without.locator('#first-load, #first-untrained').filter({ visible: true }).count()).toBe(0);
    expect(await without.locator('#first-samples').isDisabled()).toBe(true);
    expect(await text(without, 'first-model')).toMatch(/cannot run a model/);
    await context.close();
  });
});

describe('storage problems', () => {
  it('no storage: the page reports it, and works until it is closed', async () => {
    const { page } = await openSearch(site, (fresh) =>
      fresh.addInitScript(() => Object.defineProperty(globalThis, 'indexedDB', { value: undefined })),
    );
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['a.png', 'b.png'])));
    await added(page);
    expect(await text(page, 'forgetful')).toMatch(/cannot store.*IndexedDB/s);
    await page.locator('#view .tiles button').first().click();
    expect(await found(page, 'a.png')).toEqual(['b.png']);
    await page.context().close();
  });

  it('damage: the page reports it, deletes nothing without confirmation, then keeps the intact items or starts over', async () => {
    const { page } = await openSearch(site);
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['a.png', 'b.png'])));
    await added(page);
    const damage = (): Promise<void> =>
      page.evaluate(async () => {
        const folder = await (
          await navigator.storage.getDirectory()
        ).getDirectoryHandle('dinov2-webgpu-search');
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
    const told = async (): Promise<void> => {
      await page.reload();
      await ready(page);
      await toast(page, 'collection').waitFor();
      expect(await toast(page, 'collection').innerText()).toMatch(/INDEX_DAMAGED/);
    };
    await damage();
    await told();
    await toast(page, 'collection').getByRole('button', { name: 'Continue' }).click();
    await toast(page, 'damaged').waitFor();
    const lostIn = await toast(page, 'damaged').innerText();
    const lost = ['a.png', 'b.png'].filter((name) => lostIn.includes(name));
    expect(lost.length).toBeGreaterThan(0);
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe(String(2 - lost.length));
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['a.png', 'b.png'])));
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('2');

    await damage();
    await told();
    await loadTiny(page);
    await give(page, 'drop', ...(await stripes(page, ['c.png'])));
    await toast(page, 'adding').waitFor(); // the damaged collection is not overwritten
    await toast(page, 'collection').getByRole('button', { name: 'Delete' }).click();
    await page.locator('#empty').waitFor();
    await give(page, 'drop', ...(await stripes(page, ['c.png'])));
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('1');
    await page.context().close();
  });
});
