// Stored weights and indexes in Firefox. Run with `npm run test:firefox`.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFirefox, type Firefox } from './browser.ts';

let firefox: Firefox;
beforeAll(async () => {
  firefox = await openFirefox();
});
afterAll(() => firefox?.close());

test.each(['opfs', 'cache-api'] as const)(
  'weights in %s: a second start without a network gives the same bits; an interrupted download resumes',
  async (cache) => {
    const { bits, loaded, asked, listed, left, weightsBytes } = await firefox.page.evaluate(
      (kind) => globalThis.actions.kept(kind),
      cache,
    );
    expect(bits).toHaveLength(3);
    expect(bits[1]).toEqual(bits[0]);
    expect(bits[2]).toEqual(bits[0]);
    expect(loaded[0]).toMatchObject({ cache, fetchedBytes: weightsBytes, cachedBytes: 0 });
    expect(loaded[1]).toMatchObject({ cache, fetchedBytes: 0 });
    expect(loaded[1]!.cachedBytes).toBe(weightsBytes);
    expect(asked[1]).toBe(0);
    expect(listed).toMatchObject([{ bytes: weightsBytes, complete: true, store: cache }]);
    expect(left).toBe(0);
    expect(loaded[2]!.cachedBytes).toBeGreaterThan(0);
    expect(loaded[2]!.fetchedBytes).toBeLessThan(weightsBytes - 4_000_000);
  },
);

test('an index is the same after it is reopened, and gone after it is deleted', async () => {
  const { before, after, size, names, left } = await firefox.page.evaluate(() => globalThis.actions.index());
  expect(before).toHaveLength(10);
  expect((before as [string, number][])[0]).toEqual(['item 7', expect.closeTo(1, 3)]);
  expect(after).toEqual(before);
  expect(size).toBe(499);
  expect(names).toHaveLength(1);
  expect(left).toEqual([]);
});
