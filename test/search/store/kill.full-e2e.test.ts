// Chromium is killed a hundred times while it writes to an index.
import { afterAll, beforeAll, test } from 'vitest';
import { openStoreSite, type StoreSite } from './browser.ts';
import { survive } from './kills.ts';

let site: StoreSite;
beforeAll(async () => {
  site = await openStoreSite();
});
afterAll(() => site.close());

test('a hundred kills', { timeout: 900_000 }, () => survive(site, 100, 1));
