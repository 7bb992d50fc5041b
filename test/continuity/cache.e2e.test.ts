// Weight cache entries written by a build of commit 85ff786. A load must either use or replace each entry,
// and gives the same bits either way.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { chromiumArgs } from '../../scripts/software-gpu.mjs';
import {
  cached,
  launch,
  load,
  open,
  openLives,
  removeCached,
  renew,
  storedFiles,
  type Lives,
  type Visit,
} from '../loading/browser.ts';
import { configFile } from '../loading/server.ts';
import { jsonFixture, keptEntry, keptWeights, type KeptEntry, type KeptModels } from './fixtures.ts';

/** URL of the checkpoint when the entries were written. The URL is part of an entry. */
const URL_THEN = 'http://continuity.localhost/';
const weights = keptWeights();
const { continuity: fingerprint } = jsonFixture<KeptModels>('models.json');

let lives: Lives;
let visit: Visit;
let page: Page;
let right: number;
beforeAll(async () => {
  lives = await openLives();
  const { site, profile, close } = lives;
  const { port } = new URL(site.url);
  Object.assign(site, { url: URL_THEN });
  const rule = `--host-resolver-rules=MAP continuity.localhost:80 127.0.0.1:${port}`;
  const context = await launch(profile, [...chromiumArgs, rule]);
  page = context.pages()[0] ?? (await context.newPage());
  visit = {
    site,
    context,
    page,
    close: async () => {
      await context.close();
      await close();
    },
  };
  await open(page, site);
  await begin();
  right = (await load(page, { cache: 'none' })).hash;
});
afterAll(() => visit.close());

async function begin(): Promise<void> {
  await renew(visit);
  visit.site.files = new Map<string, Uint8Array>([
    ['config.json', configFile],
    ['model.safetensors', weights],
  ]);
}
beforeEach(begin);

type Store = 'opfs' | 'cache-api';

/** Writes an entry into the browser's storage without using the library. */
const put = ({ key, files }: KeptEntry, store: Store): Promise<void> =>
  page.evaluate(
    async ([folder, list, kind]) => {
      const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
        Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      if (kind === 'cache-api') {
        const cache = await caches.open('dinov2-webgpu');
        for (const [name, base64] of list)
          await cache.put(`https://dinov2-webgpu.invalid/${folder}/${name}`, new Response(bytesOf(base64)));
        return;
      }
      const origin = await navigator.storage.getDirectory();
      const root = await origin.getDirectoryHandle('dinov2-webgpu', { create: true });
      const directory = await root.getDirectoryHandle(folder, { create: true });
      for (const [name, base64] of list) {
        const writable = await (await directory.getFileHandle(name, { create: true })).createWritable();
        await writable.write(bytesOf(base64));
        await writable.close();
      }
    },
    [key, files.map(([name, bytes]) => [name, bytes.toString('base64')] as const), store] as const,
  );

/** Entry folders in both stores, with the names of their files. */
async function entries(): Promise<Map<string, string[]>> {
  const responses = await page.evaluate(async () =>
    (await (await caches.open('dinov2-webgpu')).keys()).map(({ url }) => url.split('/').slice(-2).join('/')),
  );
  const stored = (await storedFiles(page)).map(([path]) => path.replace('dinov2-webgpu/', ''));
  const found = new Map<string, string[]>();
  for (const path of [...responses, ...stored]) {
    const [folder, name] = path.split('/') as [string, string];
    found.set(folder, [...(found.get(folder) ?? []), name].sort());
  }
  return found;
}

describe.each(['opfs', 'cache-api'] as const)('in %s', (cache) => {
  test.each(['complete', 'interrupted'] as const)(
    '%s entry: used or replaced, and afterwards there is one complete entry',
    async (name) => {
      await put(keptEntry(name), cache);
      const { site } = visit;
      const first = await load(page, { cache });
      expect([first.hash, first.fingerprint]).toEqual([right, fingerprint]);
      expect(first.loaded.cache).toBe(cache);
      // A load must not mix two entries: it fetches the whole file, or only what the old entry lacks.
      const { fetchedBytes, cachedBytes } = first.loaded;
      if (cachedBytes === 0) expect(fetchedBytes).toBe(weights.length);
      else expect(fetchedBytes).toBeLessThan(name === 'complete' ? 1 : weights.length / 2);
      expect(await cached(page)).toMatchObject([
        { id: '/weights/', url: `${URL_THEN}weights/`, bytes: weights.length, complete: true, store: cache },
      ]);
      expect([...(await entries()).values()]).toEqual([
        expect.arrayContaining(['manifest', 'model.safetensors-0']) as string[],
      ]);
      site.down = true;
      expect(await load(page, { cache })).toMatchObject({ hash: right, loaded: { fetchedBytes: 0 } });
    },
  );

  test('offline: used, or a network error and replaced by the next load', async () => {
    await put(keptEntry('complete'), cache);
    visit.site.down = true;
    const found = await load(page, { cache }).then(
      ({ hash }) => hash,
      (error: unknown) => String(error),
    );
    if (found !== right) expect(found).toMatch(/the request failed/);
    visit.site.down = false;
    expect((await load(page, { cache })).hash).toBe(right);
    expect((await entries()).size).toBe(1);
    expect(await cached(page)).toMatchObject([{ complete: true }]);
  });

  test('removed by removeCached', async () => {
    await put(keptEntry('complete'), cache);
    await put({ ...keptEntry('interrupted'), key: `v3-${'0'.repeat(32)}` }, cache);
    expect(await removeCached(page)).toBe(2);
    expect((await entries()).size).toBe(0);
  });
});
