// Kills Chromium at least a hundred times while it writes to an index.
import { afterAll, beforeAll, test } from 'vitest';
import { long } from '../../full.ts';
import { openStoreSite, type StoreSite } from './browser.ts';
import { survive } from './kills.ts';

const KILLS = long ? 150 : 50;

let site: StoreSite;
beforeAll(async () => {
  site = await openStoreSite();
});
afterAll(() => site.close());

// Two at a time: Chromium's start uses one core.
test.concurrent.each([1, 2])(`${KILLS} kills, seed %i`, { timeout: 18_000 * KILLS }, (seed) =>
  survive(site, KILLS, seed),
);
