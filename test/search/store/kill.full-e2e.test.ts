// Kills Chromium at least a hundred times while it writes to an index.
import { afterAll, beforeAll, test } from 'vitest';
import { long } from '../../full.ts';
import { openStoreSite, type StoreSite } from './browser.ts';
import { survive } from './kills.ts';

const KILLS = long ? 300 : 100;

let site: StoreSite;
beforeAll(async () => {
  site = await openStoreSite();
});
afterAll(() => site.close());

test(`${KILLS} kills`, { timeout: 9000 * KILLS }, () => survive(site, KILLS, 1));
