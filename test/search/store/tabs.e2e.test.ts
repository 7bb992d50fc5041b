// An index in several tabs, with quotas and kills, in Chromium.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BrowserContext } from 'playwright';
import { full } from '../../full.ts';
import { kill, makeProfile, type Profile } from '../../loading/browser.ts';
import { launch, openPage, openStoreSite, type Here, type StoreSite } from './browser.ts';
import { survive } from './kills.ts';

let site: StoreSite;
let profile: Profile;
let context: BrowserContext;
beforeAll(async () => {
  site = await openStoreSite();
  profile = makeProfile();
  context = await launch(profile);
});
afterAll(async () => {
  await context.close();
  kill(profile);
  await site.close();
  profile.remove();
});

test('three kills (a hundred in the full run)', { timeout: 180_000 }, () => survive(site, 3, 2));

test(
  'many tabs add at once: nothing is lost, and every tab has all items',
  { timeout: 180_000 },
  async () => {
    const TABS = full ? 8 : 3;
    const EACH = full ? 25 : 10;
    const pages = await Promise.all(Array.from({ length: TABS }, () => openPage(context, site)));
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
    type Tab = Here & {
      journal: Awaited<ReturnType<Here['store']['openJournal']>>;
      items: Map<string, number>;
    };
    await Promise.all(
      pages.map((page, tab) =>
        page.evaluate(
          async ([own, each]) => {
            const { store, journal, items } = globalThis as unknown as Tab;
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
          [tab, EACH] as const,
        ),
      ),
    );
    const wanted = Array.from({ length: TABS }, (_, tab) =>
      Array.from({ length: EACH }, (__, i) => `tab ${tab}, ${i}`).filter((___, i) => i % 5 !== 3),
    ).flat();
    const fresh = await (
      await openPage(context, site)
    ).evaluate(async () => {
      const { store } = globalThis as unknown as Here;
      const journal = await store.openJournal('tabs', store.header);
      return store.inspect(journal, 'tabs', false);
    });
    expect(fresh).toMatchObject({ faults: [], orphans: [], missing: [] });
    expect(Object.keys(fresh.state).sort()).toEqual([...wanted, 'shared'].sort());
    for (const page of pages) {
      await expect
        .poll(() => page.evaluate(() => Object.fromEntries((globalThis as unknown as Tab).items)), {
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
  },
);

test(
  'a tab closed during a commit blocks no other tab, and leaves no partial commit',
  { timeout: 120_000 },
  async () => {
    const [first, second] = [await openPage(context, site), await openPage(context, site)];
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
  },
);

test(
  'twenty storage quotas: a commit succeeds or fails with INDEX_QUOTA, nothing is lost, and the index opens',
  { timeout: 180_000 },
  async () => {
    const page = await openPage(context, site);
    const session = await context.newCDPSession(page);
    const setQuota = (quotaSize?: number): Promise<unknown> =>
      session.send('Storage.overrideQuotaForOrigin', {
        origin: new URL(site.url).origin,
        ...(quotaSize !== undefined && { quotaSize }),
      });
    const usage = await page.evaluate(async () => {
      const { store } = globalThis as unknown as Here;
      const journal = await store.openJournal('quota', store.header);
      for (let i = 0; i < 5; i++) await journal.commit([{ put: store.makeItem(`kept ${i}`) }]);
      await journal.close();
      return (await navigator.storage.estimate()).usage!;
    });
    const outcomes: Record<string, number> = {};
    // First large vectors exceed the quota in the files, then large thumbnails exceed it in the transaction.
    for (const large of ['vector', 'thumbnail'] as const) {
      for (const room of [
        -usage,
        -10_000,
        0,
        10_000,
        50_000,
        150_000,
        300_000,
        600_000,
        1_200_000,
        8_000_000,
      ]) {
        await setQuota(Math.max(1, usage + room));
        const outcome = await page.evaluate(async (which) => {
          const { store } = globalThis as unknown as Here;
          const name = 'quota';
          const journal = await store.openJournal(name, store.header);
          const before = store.versionsOf(await store.readAll(journal.items()));
          const big = new Uint8Array(500_000).map((_, i) => i * 7);
          const item =
            which === 'vector'
              ? { ...store.makeItem('big'), vector: big }
              : { ...store.makeItem('big'), thumbnail: new Blob([big]) };
          const result = await journal.commit([{ put: item }, { remove: 'kept 1' }]).then(
            () => ({ code: 'done' }),
            (error: { code: string; message: string; need: number; have: number }) => ({
              code: error.code,
              message: error.message,
              need: error.need,
              have: error.have,
            }),
          );
          await journal.close();
          const again = await store.openJournal(name, store.header);
          const after = store.versionsOf(await store.readAll(again.items()));
          // Removing stored items must always work.
          const removing = await again.commit([{ remove: 'kept 1' }, { remove: 'big' }]).then(
            () => 'done',
            (error: { code: string }) => error.code,
          );
          await again.close();
          return { ...result, before, after, removing };
        }, large);
        outcomes[outcome.code] = (outcomes[outcome.code] ?? 0) + 1;
        if (outcome.code === 'done')
          expect(Object.keys(outcome.after).sort(), `${large}, ${room}`).toEqual([
            'big',
            'kept 0',
            'kept 2',
            'kept 3',
            'kept 4',
          ]);
        else {
          expect(outcome, `${large}, ${room}`).toMatchObject({ code: 'INDEX_QUOTA' });
          expect(outcome.after, `${large}, ${room}`).toEqual(outcome.before);
        }
        outcomes[`removing ${outcome.removing}`] = (outcomes[`removing ${outcome.removing}`] ?? 0) + 1;
        await setQuota();
        const whole = await page.evaluate(async () => {
          const { store } = globalThis as unknown as Here;
          const journal = await store.openJournal('quota', store.header);
          await store.readAll(journal.items());
          await journal.commit([{ put: store.makeItem('kept 1') }, { remove: 'big' }]);
          await journal.close();
          return store.inspect(await store.openJournal('quota', store.header), 'quota', false);
        });
        expect(whole, `${large}, ${room}`).toMatchObject({
          faults: [],
          orphans: [],
          missing: [],
          state: { 'kept 0': 0, 'kept 1': 0, 'kept 2': 0, 'kept 3': 0, 'kept 4': 0 },
        });
      }
    }
    console.log(`twenty quotas: ${JSON.stringify(outcomes)}`);
    expect(outcomes['done']).toBeGreaterThan(1);
    expect(outcomes['INDEX_QUOTA']).toBeGreaterThan(5);
    expect(outcomes['removing done']).toBe(20);
    await setQuota(1);
    const made = await page.evaluate(() => {
      const { store } = globalThis as unknown as Here;
      return store.openJournal('no room at all', store.header).then(
        () => 'made',
        (error: { code: string }) => error.code,
      );
    });
    await setQuota();
    expect(made).toBe('INDEX_QUOTA');
    await page.close();
  },
);
