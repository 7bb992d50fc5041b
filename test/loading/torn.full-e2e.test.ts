// A download that a kill has ended, which tore the browser's directory as well
// (test/search/store/torn.full-e2e.test.ts): what comes of it after that may be gone at the next start, and is fetched
// again. The model is right in any case.
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  cached,
  droppedBytes,
  interrupt,
  load,
  openLives,
  removeCached,
  tear,
  TORN,
  visit,
  type Lives,
  type Profile,
  type Site,
} from './browser.ts';
import { largeFile } from './server.ts';

let lives: Lives;
let site: Site;
let profile: Profile;
beforeAll(async () => {
  lives = await openLives();
  ({ site, profile } = lives);
});
afterAll(() => lives.close());

/**
 * What is written drops out at every start while its record lies in the torn block of the log, which has 32 KiB: so
 * this may last some starts. Each fetches what is missing, and is right.
 */
async function expectRight(hash: number): Promise<void> {
  let dropped = 0;
  for (let start = 1; start <= 2; start++) {
    const { context, page } = await visit(profile, site);
    const again = await load(page, { cache: 'opfs' });
    expect(again.hash).toBe(hash);
    expect(again.loaded.cache).toBe('opfs');
    expect(again.loaded.fetchedBytes + again.loaded.cachedBytes).toBe(largeFile.length);
    expect(await cached(page)).toMatchObject([{ complete: true }]);
    dropped += droppedBytes(profile.folder);
    await context.close();
  }
  expect(dropped).toBeGreaterThan(0); // else this is about nothing
}

test('the rest of a download', async () => {
  let { context, page } = await visit(profile, site);
  await interrupt(page, site, [6_000_000], { cache: 'opfs' });
  await context.close();

  const wentOn = tear(profile, TORN['in what it holds']);
  ({ context, page } = await visit(profile, site));
  const { hash, loaded } = await load(page, { cache: 'opfs' });
  expect(loaded.cachedBytes).toBeGreaterThan(0);
  expect(loaded.fetchedBytes).toBeGreaterThan(0);
  await context.close();
  expect(wentOn()).toBe(true);
  await expectRight(hash);
});

test('a first download, whose folder is new', async () => {
  let { context, page } = await visit(profile, site);
  await removeCached(page);
  await context.close();

  const wentOn = tear(profile, TORN['in its head']);
  ({ context, page } = await visit(profile, site));
  const { hash, loaded } = await load(page, { cache: 'opfs' });
  expect(loaded).toMatchObject({ cache: 'opfs', cachedBytes: 0 });
  await context.close();
  expect(wentOn()).toBe(true);
  await expectRight(hash);
});
