// An index in several tabs, with quotas and kills, in Chromium.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BrowserContext } from 'playwright';
import { full } from '../../full.ts';
import { kill, makeProfile, type Profile } from '../../loading/browser.ts';
import { launch, openPage, openStoreSite, type Here, type StoreSite } from './browser.ts';
import { survive } from './kills.ts';
import { addAtOnce, closeDuringCommit } from './tabs.ts';

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

test('many tabs add at once: nothing is lost, and every tab has all items', { timeout: 180_000 }, () =>
  addAtOnce(() => openPage(context, site), full ? 8 : 3, full ? 25 : 10),
);

test(
  'a tab closed during a commit blocks no other tab, and leaves no partial commit',
  { timeout: 120_000 },
  () => closeDuringCommit(() => openPage(context, site)),
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
