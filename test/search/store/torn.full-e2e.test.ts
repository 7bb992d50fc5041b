// What a kill leaves in Chromium's directory of an origin's files once in a few hundred times, made for
// certain: a torn record at the end of its log.
import type { Page } from 'playwright';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { droppedBytes, makeProfile, tear, TORN, type Profile } from '../../loading/browser.ts';
import { launch, openPage, openStoreSite, type Here, type StoreSite } from './browser.ts';

let site: StoreSite;
beforeAll(async () => void (site = await openStoreSite()));
afterAll(() => site.close());

const NAME = 'torn';

/** From the start of a browser to its end. */
async function live<T>(profile: Profile, use: (page: Page) => Promise<T>): Promise<T> {
  const context = await launch(profile);
  try {
    return await use(await openPage(context, site, context.pages()[0]));
  } finally {
    await context.close();
  }
}

/** Puts these items, one in a commit. */
const put = (page: Page, ids: readonly string[]): Promise<void> =>
  page.evaluate(
    async ([name, wanted]) => {
      const { store } = globalThis as unknown as Here;
      const journal = await store.openJournal(name, store.header);
      for (const id of wanted) await journal.commit([{ put: store.makeItem(id, 0) }]);
    },
    [NAME, ids] as const,
  );

/** All that is there, checked. */
const look = (
  page: Page,
): Promise<{ ids: string[]; faults: string[]; orphans: string[]; missing: string[] }> =>
  page.evaluate(async (name) => {
    const { store } = globalThis as unknown as Here;
    const { state, ...rest } = await store.inspect(await store.openJournal(name, store.header), name, false);
    return { ids: Object.keys(state).sort(), ...rest };
  }, NAME);

test.each(Object.entries(TORN))(
  'a record torn %s: what is written after it is there at the next start, and at all that follow',
  async (_, torn) => {
    const profile = makeProfile();
    const first = ['a', 'b', 'c'];
    const second = ['d', 'e', 'f'];
    await live(profile, (page) => put(page, first));
    const wentOn = tear(profile, torn);
    await live(profile, (page) => put(page, second));
    expect(wentOn()).toBe(true); // else this is about nothing
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

test('an index that is made after it is there too', async () => {
  const profile = makeProfile();
  await live(profile, (page) =>
    page.evaluate(
      async () =>
        void (await (await navigator.storage.getDirectory()).getFileHandle('other', { create: true })),
    ),
  );
  const wentOn = tear(profile, TORN['in its head']);
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
