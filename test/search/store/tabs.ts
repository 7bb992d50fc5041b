/** Tests of an index in several tabs, for pages of `openStoreSite` in any browser. */
import { expect } from 'vitest';
import type { Here } from './browser.ts';

/** The methods of a page that the tests use. Playwright's and Puppeteer's pages have them. */
export interface Tab {
  evaluate<Result>(run: () => Result | Promise<Result>): Promise<Result>;
  evaluate<Argument, Result>(
    run: (argument: Argument) => Result | Promise<Result>,
    argument: Argument,
  ): Promise<Result>;
  close(): Promise<unknown>;
}

type Globals = Here & {
  journal: Awaited<ReturnType<Here['store']['openJournal']>>;
  items: Map<string, number>;
};

/** Many tabs add at once: nothing is lost, and every tab has all items. */
export async function addAtOnce(open: () => Promise<Tab>, tabs: number, each: number): Promise<void> {
  const pages = await Promise.all(Array.from({ length: tabs }, () => open()));
  await Promise.all(
    pages.map((page) =>
      page.evaluate(async () => {
        const { store } = globalThis as unknown as Here;
        const journal = await store.openJournal('tabs', store.header);
        const items = new Map<string, number>();
        for await (const { id, metadata } of journal.items())
          items.set(id, (metadata as { version: number }).version);
        journal.watch((changes) => {
          for (const change of changes) {
            if ('remove' in change) items.delete(change.remove);
            else if (store.faultOf(change.put)) throw new Error(store.faultOf(change.put));
            else items.set(change.put.id, (change.put.metadata as { version: number }).version);
          }
        });
        Object.assign(globalThis, { journal, items });
      }),
    ),
  );
  await Promise.all(
    pages.map((page, tab) =>
      page.evaluate(
        async ([own, each]) => {
          const { store, journal, items } = globalThis as unknown as Globals;
          for (let i = 0; i < each; i++) {
            const id = `tab ${own}, ${i}`;
            await journal.commit([
              { put: store.makeItem(id) },
              { put: store.makeItem('shared', 100 * own + i) },
            ]);
            items.set(id, 0).set('shared', 100 * own + i);
            if (i % 5 === 4) {
              await journal.commit([{ remove: `tab ${own}, ${i - 1}` }]);
              items.delete(`tab ${own}, ${i - 1}`);
            }
          }
        },
        [tab, each] as const,
      ),
    ),
  );
  const wanted = Array.from({ length: tabs }, (_, tab) =>
    Array.from({ length: each }, (__, i) => `tab ${tab}, ${i}`).filter((___, i) => i % 5 !== 3),
  ).flat();
  const fresh = await (
    await open()
  ).evaluate(async () => {
    const { store } = globalThis as unknown as Here;
    const journal = await store.openJournal('tabs', store.header);
    return store.inspect(journal, 'tabs', false);
  });
  expect(fresh).toMatchObject({ faults: [], orphans: [], missing: [] });
  expect(Object.keys(fresh.state).sort()).toEqual([...wanted, 'shared'].sort());
  for (const page of pages) {
    await expect
      .poll(() => page.evaluate(() => Object.fromEntries((globalThis as unknown as Globals).items)), {
        timeout: 20_000,
      })
      .toEqual(fresh.state);
  }
  const refused = await pages[0]!.evaluate(() => {
    const { store } = globalThis as unknown as Here;
    const model = { ...store.header.model!, fingerprint: 'f'.repeat(64) };
    return store.openJournal('tabs', { ...store.header, model }).then(
      () => 'opened',
      (error: { code: string }) => error.code,
    );
  });
  expect(refused).toBe('INDEX_MODEL');
  await Promise.all(pages.map((page) => page.close()));
}

/** A tab closed during a commit blocks no other tab, and leaves no partial commit. */
export async function closeDuringCommit(open: () => Promise<Tab>): Promise<void> {
  const [first, second] = [await open(), await open()];
  await first.evaluate(async () => {
    const { store } = globalThis as unknown as Here;
    const journal = await store.openJournal('closed', store.header);
    const commit = (i: number): Promise<void> =>
      journal.commit(Array.from({ length: 50 }, (_, k) => ({ put: store.makeItem(`${i}, ${k}`) })));
    for (let i = 0; i < 3; i++) await commit(i);
    void (async () => {
      for (let i = 3; ; i++) await commit(i);
    })();
  });
  await first.close();
  const found = await second.evaluate(async () => {
    const { store } = globalThis as unknown as Here;
    const journal = await store.openJournal('closed', store.header);
    await journal.commit([{ put: store.makeItem('mine') }]);
    await journal.close();
    return store.inspect(await store.openJournal('closed', store.header), 'closed', false);
  });
  expect(found).toMatchObject({ faults: [], orphans: [], missing: [] });
  expect(Object.keys(found.state).length % 50).toBe(1);
  expect(Object.keys(found.state).length).toBeGreaterThan(150);
  await second.close();
}
