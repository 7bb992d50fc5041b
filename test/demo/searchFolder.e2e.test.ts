/** The search page with a folder that has moved since its photographs were added. */
import type { Page } from 'playwright';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { added, found, loadTiny, openSearch, shown, showsOriginal, stripes } from './searchSite.js';
import { openSite, PATIENCE_MS, toast, type Site } from './site.js';

let site: Site;
beforeAll(async () => void (site = await openSite()));
afterAll(() => site?.close());

/** Options of waits for a forward, which takes seconds on a software adapter. */
const PATIENCE = { timeout: PATIENCE_MS };
const text = (page: Page, id: string): Promise<string> => page.locator(`#${id}`).innerText();
const open = (page: Page, name: string): Promise<void> =>
  page.locator('#view .tiles button', { hasText: name }).first().click();

describe('a moved folder', () => {
  it('counts as another folder of the same name until the visitor confirms it; then its photographs stay and are read from the new place', async () => {
    // Replaces the browser's folder dialog: it returns folders of the origin's private file system, whose
    // handles work like any other.
    const { page, complaints } = await openSearch(site, (fresh) =>
      fresh.addInitScript(() => {
        const folderIn = async (place: string): Promise<FileSystemDirectoryHandle> =>
          (
            await (await navigator.storage.getDirectory()).getDirectoryHandle(place, { create: true })
          ).getDirectoryHandle('Holiday', { create: true });
        Object.assign(globalThis, { folderIn, showDirectoryPicker: () => folderIn('before') });
      }),
    );
    type Here = { readonly folderIn: (place: string) => Promise<FileSystemDirectoryHandle> };
    const files = (await stripes(page, ['a.png', 'b.png', 'c.png', 'd.png'])).map(({ name, bytes }) => ({
      name,
      base64: Buffer.from(bytes).toString('base64'),
    }));
    const write = (place: string, list: typeof files): Promise<void> =>
      page.evaluate(
        async ([where, given]) => {
          const folder = await (globalThis as unknown as Here).folderIn(where);
          for (const { name, base64 } of given) {
            const writable = await (await folder.getFileHandle(name, { create: true })).createWritable();
            await writable.write(Uint8Array.from(atob(base64), (each) => each.charCodeAt(0)));
            await writable.close();
          }
        },
        [place, list] as const,
      );
    await loadTiny(page);
    await write('before', files.slice(0, 3));
    await page.locator('#first-folder').click();
    expect(await added(page)).toBe('3 photographs added.');

    await page.evaluate(async () => {
      const { folderIn } = globalThis as unknown as Here;
      const now = await folderIn('now');
      for await (const file of (await folderIn('before')).values())
        await (file as unknown as { move(folder: FileSystemDirectoryHandle): Promise<void> }).move(now);
      await (await navigator.storage.getDirectory()).removeEntry('before', { recursive: true });
      Object.assign(globalThis, { showDirectoryPicker: () => folderIn('now') });
    });
    await write('now', files.slice(3));
    await page.locator('#add-folder').click();
    const taken = toast(page, 'adding');
    await taken.waitFor();
    expect(await taken.innerText()).toMatch(/INDEX_DUPLICATE_ID.*another folder of this name/s);
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('3');
    await taken.locator('button', { hasText: 'They are the same, moved or changed' }).click();
    await expect.poll(() => text(page, 'status'), PATIENCE).toBe('1 photograph added, 3 there already.');
    expect(await taken.count()).toBe(0);
    expect((await shown(page)).sort()).toEqual(['a.png', 'b.png', 'c.png', 'd.png']);
    await expect.poll(() => text(page, 'count'), PATIENCE).toBe('4');

    // The opened photograph shows the original file, not its thumbnail.
    await open(page, 'b.png');
    await found(page, 'b.png');
    await expect.poll(() => showsOriginal(page, 'b.png'), PATIENCE).toBe(true);
    await page.locator('#query-close').click();

    // The page now recognizes the folder at its new place.
    await page.locator('#add-folder').click();
    await expect.poll(() => text(page, 'status'), PATIENCE).toBe('0 photographs added, 4 there already.');
    expect(await taken.count()).toBe(0);
    expect(complaints).toEqual([]);
    await page.context().close();
  });
});
