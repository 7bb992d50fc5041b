// What happens to the cache while a model loads, in Chromium: listing, removing, storage that is short, questions that nobody answers.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { cached, load, makeProfile, open, openSite, progressOf, removeCached, storedFiles, visit, type Profile, type Site, type Visitor } from './browser.ts';
import { plainFiles, weightsFile } from './server.ts';

type Library = typeof import('../../src/index.ts');

let site: Site;
let profile: Profile;
let visitor: Visitor;
let page: Page;
let right: number;
beforeAll(async () => {
  site = await openSite();
  profile = makeProfile();
  visitor = await visit(profile, site);
  page = visitor.page;
  right = (await load(page, { cache: 'none' })).hash;
});
afterAll(async () => {
  await visitor.context.close();
  await site.close();
  profile.remove();
});
beforeEach(async () => {
  await removeCached(page);
  Object.assign(site, { files: plainFiles(), asked: [], bytesPerSecond: 0, etag: '"one"' });
});

const folders = (): Promise<string[]> =>
  page.evaluate(async () => {
    const names: string[] = [];
    for await (const name of (await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu')).keys()) names.push(name);
    return names;
  });

const underWay = (): Promise<void> => expect.poll(() => progressOf(page), { timeout: 30_000 }).toBeGreaterThan(600_000);

describe.each(['opfs', 'cache-api'] as const)('while a model loads, kept in %s', (cache) => {
  beforeEach(() => page.evaluate(() => Object.assign(globalThis, { progress: 0 })));

  test('it is listed as incomplete, and removed when it is there', async () => {
    site.bytesPerSecond = 600_000;
    const loading = load(page, { cache });
    await underWay();
    expect(await cached(page)).toMatchObject([{ id: '/weights/', complete: false, store: cache }]);
    const removing = removeCached(page, '/weights/');
    expect(await removeCached(page, 'another/model')).toBe(0);
    expect((await loading).hash).toBe(right);
    expect(await removing).toBe(1);
    expect(await cached(page)).toEqual([]);
    expect(await storedFiles(page)).toEqual([]);
  });

  test('in another tab the same', async () => {
    const other = await visitor.context.newPage();
    await open(other, site);
    site.bytesPerSecond = 600_000;
    const loading = load(page, { cache });
    await underWay();
    expect(await cached(other)).toMatchObject([{ complete: false }]);
    const removing = removeCached(other);
    expect((await loading).hash).toBe(right);
    expect(await removing).toBe(1);
    expect(await cached(page)).toEqual([]);
    await other.close();
  });

  test('without locks it may be removed under the load, which goes on, and nothing wrong is left', async () => {
    await page.evaluate(() => {
      LockManager.prototype.request = () => Promise.reject(new DOMException('no locks here', 'SecurityError'));
    });
    site.bytesPerSecond = 600_000;
    const loading = load(page, { cache });
    await underWay();
    await removeCached(page);
    expect((await loading).hash).toBe(right);
    site.bytesPerSecond = 0;
    expect((await load(page, { cache })).hash).toBe(right);
    expect((await load(page, { cache })).loaded).toMatchObject({ fetchedBytes: 0 });
    await open(page, site);
  });
});

test('what two have loaded by different names is removed, and asked for, by the folder', async () => {
  await load(page);
  const folder = `${site.url}weights/`;
  expect(await page.evaluate((url) => (globalThis as unknown as { library: Library }).library.checkForUpdate(url), folder)).toBe('current');
  expect(await removeCached(page, folder)).toBe(1);
  expect(await cached(page)).toEqual([]);
});

test('what is removed while it is listed does not come back as an empty folder', async () => {
  for (let i = 0; i < 5; i++) {
    await load(page);
    await page.evaluate(async () => {
      const { listCached, removeCached: remove } = (globalThis as unknown as { library: Library }).library;
      await Promise.all([remove(), remove(), ...Array.from({ length: 20 }, () => listCached())]);
    });
    expect(await folders()).toEqual([]);
  }
});

describe('storage', () => {
  afterEach(() => open(page, site));

  test('that has room for one version alone keeps the new one', async () => {
    await load(page);
    await page.evaluate(() => {
      StorageManager.prototype.estimate = async function () {
        let usage = 0;
        for await (const folder of (await (await this.getDirectory()).getDirectoryHandle('dinov2-webgpu')).values()) {
          for await (const file of (folder as FileSystemDirectoryHandle).values()) usage += (await (file as FileSystemFileHandle).getFile()).size;
        }
        return { usage, quota: 3_000_000 };
      };
    });
    const other = Buffer.from(weightsFile);
    other[1_800_000]! ^= 64;
    site.files.set('model.safetensors', other);
    site.etag = '"two"';
    const changed = await load(page, { revalidate: true });
    expect(changed.hash).not.toBe(right);
    expect((await load(page)).hash).toBe(changed.hash);
  });

  test('that asks the visitor, who does not answer, holds up no load', async () => {
    await page.evaluate(() => {
      StorageManager.prototype.persist = () => new Promise(() => undefined);
    });
    const loaded = await Promise.race([load(page, { persist: true }).then(({ hash }) => hash), new Promise((resolve) => setTimeout(resolve, 20_000, 'it waits'))]);
    expect(loaded).toBe(right);
  });
});
