// A download that a kill has ended, which tore the browser's directory as well
// (test/search/store/torn.full-e2e.test.ts): what comes of it after that is kept.
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

let lives: Lives;
let site: Site;
let profile: Profile;
beforeAll(async () => {
  lives = await openLives();
  ({ site, profile } = lives);
});
afterAll(() => lives.close());

test('the rest of a download, and the next start reads all of it from where it is kept', async () => {
  let { context, page } = await visit(profile, site);
  await interrupt(page, site, [1_600_000], { cache: 'opfs' });
  await context.close();

  const wentOn = tear(profile, TORN['in what it holds']);
  ({ context, page } = await visit(profile, site));
  const { hash, loaded } = await load(page, { cache: 'opfs' });
  expect(loaded.cachedBytes).toBeGreaterThan(0);
  expect(loaded.fetchedBytes).toBeGreaterThan(0);
  await context.close();
  expect(wentOn()).toBe(true);

  ({ context, page } = await visit(profile, site));
  expect(await cached(page)).toMatchObject([{ complete: true }]);
  expect(droppedBytes(profile.folder)).toBeGreaterThan(0); // of what was written before the download went on
  const again = await load(page, { cache: 'opfs' });
  expect(again.hash).toBe(hash);
  expect(again.loaded).toMatchObject({ fetchedBytes: 0, cache: 'opfs' });
  await context.close();
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

  ({ context, page } = await visit(profile, site));
  const again = await load(page, { cache: 'opfs' });
  expect(droppedBytes(profile.folder)).toBeGreaterThan(0);
  expect(again.hash).toBe(hash);
  expect(again.loaded).toMatchObject({ fetchedBytes: 0, cache: 'opfs' });
  await context.close();
});
