// A stored index in several tabs of Firefox, and with real quotas. The other tests of the store run in Firefox
// in the project firefox-pages (scripts/vite/tests.ts). Run with `npm run test:firefox`.
import type { Browser, Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStoreSite, type Here, type StoreSite } from '../search/store/browser.ts';
import { addAtOnce, closeDuringCommit, type Tab } from '../search/store/tabs.ts';
import { newPage } from './browser.ts';
import { launchFirefox } from './launch.ts';

/** The quota of all origins together. An origin gets a fifth of it, but at least 10 MiB. */
const QUOTA_KIB = 51_200;

let site: StoreSite;
let browser: Browser;
beforeAll(async () => {
  [site, browser] = await Promise.all([
    openStoreSite(),
    launchFirefox({ 'dom.quotaManager.temporaryStorage.fixedLimit': QUOTA_KIB }),
  ]);
});
afterAll(async () => {
  await browser?.close();
  await site?.close();
});

async function open(): Promise<Page> {
  const page = await newPage(browser);
  await page.goto(site.url);
  await page.waitForFunction(() => 'store' in globalThis);
  return page;
}
const openTab = open as unknown as () => Promise<Tab>;

test('three tabs add at once: nothing is lost, and every tab has all items', () => addAtOnce(openTab, 3, 10));

test('a tab closed during a commit blocks no other tab, and leaves no partial commit', () =>
  closeDuringCommit(openTab));

test.each(['vector', 'thumbnail'] as const)(
  'quota exceeded by a large %s: INDEX_QUOTA, nothing is lost, and items can be removed',
  async (large) => {
    const page = await open();
    const found = await page.evaluate(async (which) => {
      const { store } = globalThis as unknown as Here;
      const journal = await store.openJournal('quota', store.header);
      for (let i = 0; i < 3; i++) await journal.commit([{ put: store.makeItem(`kept ${i}`) }]);
      const big = new Uint8Array(4_000_000);
      // Random, because Firefox compresses what is in the database.
      for (let at = 0; at < big.length; at += 50_000) crypto.getRandomValues(big.subarray(at, at + 50_000));
      const added: string[] = [];
      let refused: { code: string; message: string; need: number; have: number } | undefined;
      for (let i = 0; i < 30 && !refused; i++) {
        const item = store.makeItem(`big ${i}`);
        await journal
          .commit([
            { put: { ...item, ...(which === 'vector' ? { vector: big } : { thumbnail: new Blob([big]) }) } },
          ])
          .then(
            () => added.push(item.id),
            ({ code, message, need, have }: typeof refused & object) =>
              (refused = { code, message, need, have }),
          );
      }
      await journal.close();
      const again = await store.openJournal('quota', store.header);
      const kept = Object.keys(store.versionsOf(await store.readAll(again.items())));
      const removing = await again.commit([...added, 'kept 1'].map((remove) => ({ remove }))).then(
        () => 'done',
        (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
      );
      await again.commit([{ put: store.makeItem('after') }]);
      await again.close();
      const whole = await store.inspect(await store.openJournal('quota', store.header), 'quota', false);
      await store.deleteIndex('quota');
      return { added, refused, kept, removing, whole };
    }, large);
    expect(found.refused).toMatchObject({ code: 'INDEX_QUOTA' });
    expect(found.refused!.need).toBeGreaterThan(4_000_000);
    expect(found.added.length).toBeGreaterThan(0);
    expect(found.kept.sort()).toEqual(['kept 0', 'kept 1', 'kept 2', ...found.added].sort());
    expect(found.removing).toBe('done');
    expect(found.whole).toEqual({
      state: { 'kept 0': 0, 'kept 2': 0, after: 0 },
      faults: [],
      orphans: [],
      missing: [],
    });
    await page.close();
  },
);
