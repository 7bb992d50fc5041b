// Forces damage that a kill causes about once in several hundred times: a torn record at the end of the log
// of Chromium's file directory.
import type { Page } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { droppedBytes, makeProfile, tear, TORN, type Profile } from '../../loading/browser.ts';
import { launch, openPage, openStoreSite, type Here, type StoreSite } from './browser.ts';

let site: StoreSite;
beforeAll(async () => void (site = await openStoreSite()));
afterAll(() => site.close());

const NAME = 'torn';

/** Starts a browser, runs `use` on a page, and closes the browser. */
async function live<T>(profile: Profile, use: (page: Page) => Promise<T>): Promise<T> {
  const context = await launch(profile);
  try {
    return await use(await openPage(context, site, context.pages()[0]));
  } finally {
    await context.close();
  }
}

/** Stores these items, one per commit. */
const put = (page: Page, ids: readonly string[]): Promise<void> =>
  page.evaluate(
    async ([name, wanted]) => {
      const { store } = globalThis as unknown as Here;
      const journal = await store.openJournal(name, store.header);
      for (const id of wanted) await journal.commit([{ put: store.makeItem(id, 0) }]);
    },
    [NAME, ids] as const,
  );

/** Reads and checks all stored items. */
const look = (
  page: Page,
): Promise<{ ids: string[]; faults: string[]; orphans: string[]; missing: string[] }> =>
  page.evaluate(async (name) => {
    const { store } = globalThis as unknown as Here;
    const { state, ...rest } = await store.inspect(await store.openJournal(name, store.header), name, false);
    return { ids: Object.keys(state).sort(), ...rest };
  }, NAME);

test.each(Object.entries(TORN))(
  'a record torn %s: items written after it survive the next starts',
  async (_, torn) => {
    const profile = makeProfile();
    const first = ['a', 'b', 'c'];
    const second = ['d', 'e', 'f'];
    await live(profile, (page) => put(page, first));
    const wentOn = tear(profile, torn);
    await live(profile, (page) => put(page, second));
    expect(wentOn()).toBe(true); // otherwise the test did not exercise the damage
    for (let start = 0; start < 2; start++) {
      const found = await live(profile, async (page) => ({
        ...(await look(page)),
        dropped: droppedBytes(profile.folder),
      }));
      if (start === 0) expect(found.dropped).toBeGreaterThan(0);
      expect(found).toMatchObject({ ids: [...first, ...second], faults: [], orphans: [], missing: [] });
    }
    profile.remove();
  },
);

test('an index created after the torn record survives too', async () => {
  const profile = makeProfile();
  await live(profile, (page) =>
    page.evaluate(
      async () =>
        void (await (await navigator.storage.getDirectory()).getFileHandle('other', { create: true })),
    ),
  );
  const wentOn = tear(profile, TORN['in its header']);
  await live(profile, (page) => put(page, ['a', 'b', 'c']));
  expect(wentOn()).toBe(true);
  const found = await live(profile, async (page) => ({
    ...(await look(page)),
    dropped: droppedBytes(profile.folder),
  }));
  expect(found.dropped).toBeGreaterThan(0);
  expect(found).toMatchObject({ ids: ['a', 'b', 'c'], faults: [], orphans: [], missing: [] });
  profile.remove();
});
