// Changes to the cache while a model loads, in Chromium: listing, removal, low storage, and a permission
// prompt that the user ignores.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page } from 'playwright';
import {
  cached,
  load,
  open,
  openVisit,
  progressOf,
  removeCached,
  renew,
  storedFiles,
  type Site,
  type Visit,
} from './browser.ts';
import { largeFile } from './server.ts';

type Library = typeof import('../../src/index.ts');

let visitor: Visit;
let site: Site;
let page: Page;
let right: number;
beforeAll(async () => {
  visitor = await openVisit();
  ({ site, page } = visitor);
  right = (await load(page, { cache: 'none' })).hash;
});
afterAll(() => visitor.close());
beforeEach(() => renew(visitor));

const folders = (): Promise<string[]> =>
  page.evaluate(async () => {
    const names: string[] = [];
    for await (const name of (
      await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu')
    ).keys())
      names.push(name);
    return names;
  });

const underWay = (): Promise<void> =>
  expect.poll(() => progressOf(page), { timeout: 30_000 }).toBeGreaterThan(600_000);

describe.each(['opfs', 'cache-api'] as const)('while a model loads, cached in %s', (cache) => {
  beforeEach(() => page.evaluate(() => Object.assign(globalThis, { progress: 0 })));

  test('the entry is listed as incomplete, and removed once the load ends', async () => {
    site.limit = 1_000_000;
    const loading = load(page, { cache });
    await underWay();
    expect(await cached(page)).toMatchObject([{ id: '/weights/', complete: false, store: cache }]);
    const removing = removeCached(page, '/weights/');
    expect(await removeCached(page, 'another/model')).toBe(0); // does not wait for the load of /weights/
    site.limit = Infinity;
    expect((await loading).hash).toBe(right);
    expect(await removing).toBe(1);
    expect(await cached(page)).toEqual([]);
    expect(await storedFiles(page)).toEqual([]);
  });

  test('another tab lists and removes the entry the same way', async () => {
    const other = await visitor.context.newPage();
    await open(other, site);
    site.limit = 1_000_000;
    const loading = load(page, { cache });
    await underWay();
    expect(await cached(other)).toMatchObject([{ complete: false }]);
    const removing = removeCached(other);
    site.limit = Infinity;
    expect((await loading).hash).toBe(right);
    expect(await removing).toBe(1);
    expect(await cached(page)).toEqual([]);
    await other.close();
  });

  test('without locks the entry may be removed during the load; the load continues, and later loads are right', async () => {
    await page.evaluate(() => {
      LockManager.prototype.request = () =>
        Promise.reject(new DOMException('no locks here', 'SecurityError'));
    });
    site.limit = 1_000_000;
    const loading = load(page, { cache });
    await underWay();
    await removeCached(page);
    site.limit = Infinity;
    expect((await loading).hash).toBe(right);
    expect((await load(page, { cache })).hash).toBe(right);
    expect((await load(page, { cache })).loaded).toMatchObject({ fetchedBytes: 0 });
    await open(page, site);
  });
});

describe.each(['opfs', 'cache-api'] as const)('storage in %s', (cache) => {
  test('that fills midway: the load continues from memory, and the entry is removed', async () => {
    const session = await visitor.context.newCDPSession(page);
    const origin = site.url.replace(/\/$/, '');
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 6_000_000 });
    await page.evaluate(() => {
      Object.defineProperty(StorageManager.prototype, 'estimate', {
        value: async () => ({}),
        configurable: true,
      }); // with estimates, the library would not start writing
    });
    expect(await load(page, { cache })).toMatchObject({
      hash: right,
      // Chromium sometimes calls a full disk "NotReadableError".
      loaded: {
        cache: 'none',
        cacheReason: expect.stringMatching(/^writing to the cache failed: (Quota|NotReadable)/) as string,
      },
    });
    expect(await cached(page)).toEqual([]);
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    await open(page, site);
    expect(await load(page, { cache })).toMatchObject({ hash: right, loaded: { cache, cachedBytes: 0 } });
  });
});

describe('an abort', () => {
  /**
   * Aborts a load at the n-th progress report or, for 0, while the load waits for a lock. Returns the
   * outcome, the number of locks held and pending, and the GPU memory afterwards.
   */
  const aborted = (tab: Page, nth: number): Promise<{ found: string; locks: number; gpuBytes: number }> =>
    tab.evaluate(async (times) => {
      const here = globalThis as unknown as {
        library: Library;
        first: Awaited<ReturnType<Library['DINOv2']['fromPretrained']>>;
      };
      const controller = new AbortController();
      let told = 0;
      const loading = here.library.DINOv2.fromPretrained('/weights/', {
        selfTest: false,
        signal: controller.signal,
        onProgress: () => void (++told === times && controller.abort(new Error('enough'))),
      });
      const isOurs = ({ name = '' }: LockInfo): boolean => name.startsWith('dinov2-webgpu');
      const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));
      if (times === 0) {
        while (!(await navigator.locks.query()).pending!.some(isOurs)) await soon();
        controller.abort(new Error('enough'));
      }
      const found = await loading.then(
        () => 'loaded',
        (error: Error) => error.message,
      );
      await new Promise((resolve) => setTimeout(resolve, 50));
      const { held = [], pending = [] } = await navigator.locks.query();
      return { found, locks: [...held, ...pending].filter(isOurs).length, gpuBytes: here.first.gpuBytes };
    }, nth);

  test('while the cache is read keeps the entry, and leaves no lock and no buffer', async () => {
    await load(page);
    const gpuBytes = await page.evaluate(
      () => (globalThis as unknown as { first: { gpuBytes: number } }).first.gpuBytes,
    );
    for (const nth of [1, 2, 1])
      expect(await aborted(page, nth), `${nth}`).toEqual({ found: 'enough', locks: 0, gpuBytes });
    expect(await load(page)).toMatchObject({ hash: right, loaded: { fetchedBytes: 0 } });
  });

  test('ends the wait for the lock of another tab', async () => {
    const other = await visitor.context.newPage();
    await open(other, site);
    await load(page, { cache: 'none' }); // this model keeps the device alive
    site.limit = 1_000_000; // the other tab never finishes, so only the abort can end the wait
    const asked = site.asked.length;
    const loading = load(other).then(
      () => 'loaded',
      () => 'gone',
    );
    await expect.poll(() => site.asked.length, { timeout: 30_000 }).toBeGreaterThan(asked + 2);
    expect((await aborted(page, 0)).found).toBe('enough');
    await other.close();
    expect(await loading).toBe('gone');
    site.limit = Infinity;
  });
});

test('an entry loaded by a relative URL is checked and removed by the absolute URL of its folder', async () => {
  await load(page);
  const folder = `${site.url}weights/`;
  expect(
    await page.evaluate(
      (url) => (globalThis as unknown as { library: Library }).library.checkForUpdate(url),
      folder,
    ),
  ).toBe('current');
  expect(await removeCached(page, folder)).toBe(1);
  expect(await cached(page)).toEqual([]);
});

test('listing an entry while it is removed does not recreate an empty folder', async () => {
  for (let i = 0; i < 20; i++) {
    await load(page);
    await page.evaluate(async () => {
      const { listCached, removeCached: remove } = (globalThis as unknown as { library: Library }).library;
      await Promise.all([...Array.from({ length: 20 }, () => listCached()), remove(), remove()]);
      await Promise.all([remove(), ...Array.from({ length: 20 }, () => listCached())]);
    });
    expect(await folders()).toEqual([]);
  }
});

describe('storage', () => {
  afterEach(() => open(page, site));

  test('with room for only one version keeps the new one', async () => {
    await load(page);
    await page.evaluate(() => {
      StorageManager.prototype.estimate = async function () {
        let usage = 0;
        for await (const folder of (
          await (await this.getDirectory()).getDirectoryHandle('dinov2-webgpu')
        ).values()) {
          for await (const file of (folder as FileSystemDirectoryHandle).values())
            usage += (await (file as FileSystemFileHandle).getFile()).size;
        }
        return { usage, quota: 15_000_000 };
      };
    });
    const other = Buffer.from(largeFile);
    other[largeFile.length - 400_000]! ^= 64;
    site.files.set('model.safetensors', other);
    site.etag = '"two"';
    const changed = await load(page, { revalidate: true });
    expect(changed.hash).not.toBe(right);
    expect((await load(page)).hash).toBe(changed.hash);
  });

  test('with an unanswered permission prompt does not delay the load', async () => {
    await page.evaluate(() => {
      StorageManager.prototype.persist = () => new Promise(() => undefined);
    });
    const loaded = await Promise.race([
      load(page, { persist: true }).then(({ hash }) => hash),
      new Promise((resolve) => setTimeout(resolve, 20_000, 'it waits')),
    ]);
    expect(loaded).toBe(right);
  });
});

// These tests run last: after them, Chromium's file system for the origin stays broken for the page
// (InvalidStateError). The library reports that without failing a load.
test.each(['cache-api', 'opfs'] as const)(
  'the user clears %s during a load: the load continues, and the next loads are right',
  async (cache) => {
    const session = await visitor.context.newCDPSession(page);
    site.limit = 1_000_000;
    await page.evaluate(() => Object.assign(globalThis, { progress: 0 }));
    const loading = load(page, { cache });
    await underWay();
    await session.send('Storage.clearDataForOrigin', {
      origin: site.url.replace(/\/$/, ''),
      storageTypes: 'all',
    });
    site.limit = Infinity;
    expect((await loading).hash).toBe(right);
    for (let again = 0; again < 2; again++) expect((await load(page, { cache })).hash).toBe(right);
  },
);
