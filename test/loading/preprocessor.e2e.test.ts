// preprocessor_config.json in a browser: the cache stores the file or its absence, detects changes, and
// workers behave the same.
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../../src/image/preprocessing.ts';
import { cached, interrupt, openVisit, renew, type Site, type Visit } from './browser.ts';
import { caseOf, cosine, photoPath, textOf } from './preprocessors.ts';
import { largeFile } from './server.ts';

type Library = typeof import('../../src/index.ts');
type Worker = typeof import('../../src/worker.ts');

const NAME = 'preprocessor_config.json';
/** The photograph as base64, passed into the page so that it needs no server. */
const photo = readFileSync(photoPath).toString('base64');
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

let visitor: Visit;
let site: Site;
let page: Page;
beforeAll(async () => {
  visitor = await openVisit('shared');
  ({ site, page } = visitor);
  const script =
    "import * as worker from '/dist/worker.js'; import * as page from '/dist/index.js'; Object.assign(globalThis, { worker, page });";
  await page.addScriptTag({ type: 'module', content: script });
  await page.waitForFunction(() => 'worker' in globalThis);
});
afterAll(() => visitor.close());
beforeEach(() => renew(visitor));

interface Seen {
  readonly preprocessing: Preprocessing;
  readonly vector: readonly number[];
  readonly loaded: { readonly fetchedBytes: number; readonly cache: string; readonly cacheReason: string };
}

/** Loads a model in the page or in a worker, and embeds the photograph. */
const look = (
  options: Record<string, unknown> = {},
  where: 'page' | 'worker' = 'page',
  files?: { config: string; preprocessor: unknown },
): Promise<Seen> =>
  page.evaluate(
    async ([given, place, from, image]) => {
      const here = globalThis as unknown as { page: Worker; worker: Worker; kept?: Record<string, unknown> };
      const { DINOv2 } = here[place];
      const common = { selfTest: false, retry: { attempts: 2, delayMs: 10 }, ...given };
      const model = from
        ? await DINOv2.fromFiles(
            {
              config: from.config,
              preprocessor: from.preprocessor as object,
              weights: await (await fetch('/weights/model.safetensors')).blob(),
            },
            common,
          )
        : await DINOv2.fromPretrained('/weights/', common);
      const blob = await (await fetch(`data:image/png;base64,${image}`)).blob();
      const vector = await model.embed(blob);
      const { preprocessing, loaded } = model;
      here.kept ??= {};
      if (here.kept[place]) model.dispose();
      else here.kept[place] = model; // keep one model: disposing of the last one destroys the device and its pipelines
      return { preprocessing, loaded, vector: [...vector] };
    },
    [options, where, files, photo] as const,
  );

const check = (): Promise<string> =>
  page.evaluate(() =>
    (globalThis as unknown as { library: Library }).library
      .checkForUpdate('/weights/')
      .catch((error: { code: string }) => error.code),
  );

const expectLike = ({ vector }: Seen, name: string): void =>
  expect(1 - cosine(vector, caseOf(name).cls)).toBeLessThan(1e-6);

describe('a start without a network', () => {
  test.each(['half', 'bilinear', 'no crop'])('uses the cached file: %s', async (name) => {
    site.files.set(NAME, bytesOf(textOf(name)));
    const first = await look();
    expectLike(first, name);
    Object.assign(site, { down: true, asked: [] });
    const second = await look();
    expect(site.asked).toEqual([]);
    expect(second).toMatchObject({
      preprocessing: { ...first.preprocessing, source: NAME },
      vector: first.vector,
      loaded: { fetchedBytes: 0, cacheReason: 'read from the cache' },
    });
  });

  test('knows that the file is absent, and keeps the timm values of config.json', async () => {
    expectLike(await look(), 'default');
    Object.assign(site, { down: true, asked: [] });
    const bare = await look();
    expect(bare.preprocessing).toEqual(DEFAULT_PREPROCESSING);
    expectLike(bare, 'default');
    expect(site.asked).toEqual([]);

    await renew(visitor);
    const config = JSON.parse(Buffer.from(site.files.get('config.json')!).toString()) as object;
    const pretrained = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };
    site.files.set('config.json', bytesOf(JSON.stringify({ ...config, pretrained_cfg: pretrained })));
    const timm = await look();
    expect(timm.preprocessing).toMatchObject({ source: 'config.json', convention: 'timm' });
    site.down = true;
    expect(await look()).toMatchObject({ preprocessing: timm.preprocessing, vector: timm.vector });
  });

  test('uses the value of the caller instead of the file, for this load only', async () => {
    site.files.set(NAME, bytesOf(textOf('half')));
    await look();
    site.down = true;
    expectLike(await look({ preprocessor: null }), 'default');
    expectLike(await look({ preprocessor: caseOf('bilinear').preprocessor }), 'bilinear');
    expectLike(await look(), 'half');
  });
});

test('an unreadable file fails the load; nothing is cached, even if the caller replaces the file', async () => {
  site.headers = (name) => (name === NAME ? { 'content-encoding': 'br' } : {}); // the body is not Brotli
  site.files.set(NAME, bytesOf(textOf('half')));
  await expect(look()).rejects.toThrow(new RegExp(`SOURCE_|${NAME.replace('.', '\\.')}`));
  expect(await cached(page)).toEqual([]);
  const given = await look({ preprocessor: null });
  expectLike(given, 'default');
  expect(given.loaded).toMatchObject({ cache: 'none', fetchedBytes: largeFile.length });
  expect(given.loaded.cacheReason).toMatch(/^preprocessor_config\.json could not be read/);
  expect(await cached(page)).toEqual([]);
});

test('a resumed download uses the file of its first attempt', async () => {
  site.files.set(NAME, bytesOf(textOf('half')));
  await interrupt(page, site, [6_000_000]);
  site.files.set(NAME, bytesOf(textOf('bilinear')));
  site.asked = [];
  const { loaded, ...seen } = await look();
  expect(loaded.fetchedBytes).toBeLessThan(largeFile.length);
  expectLike({ loaded, ...seen }, 'half');
  expect(site.asked.filter((line) => !line.startsWith('model.safetensors'))).toEqual([]);
  expect(await check()).toBe('changed');
});

test('an added, changed or removed file is detected by checkForUpdate and by a load with revalidate', async () => {
  await look();
  expect(await check()).toBe('current');
  site.files.set(NAME, bytesOf(textOf('half')));
  expect(await check()).toBe('changed');
  expectLike(await look(), 'default'); // makes no request
  const added = await look({ revalidate: true });
  expectLike(added, 'half');
  expect(added.loaded.fetchedBytes).toBe(largeFile.length);
  expect(await check()).toBe('current');
  site.files.set(NAME, bytesOf(textOf('bilinear')));
  expect(await check()).toBe('changed');
  expectLike(await look({ revalidate: true }), 'bilinear');
  site.files.delete(NAME);
  expect(await check()).toBe('changed');
  expectLike(await look({ revalidate: true }), 'default');
  expect(await check()).toBe('current');
  expect(await cached(page)).toHaveLength(1);
});

describe('an entry of the previous format (v4), which held packed weights', () => {
  /** Replaces all entries by one of the previous format. */
  const makeOld = (): Promise<void> =>
    page.evaluate(async () => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu');
      const names: string[] = [];
      for await (const key of root.keys()) names.push(key);
      for (const key of names) await root.removeEntry(key, { recursive: true });
      const old = await root.getDirectoryHandle(`v4-${'0'.repeat(32)}`, { create: true });
      for (const name of ['plan', '0', 'complete']) {
        const writable = await (await old.getFileHandle(name, { create: true })).createWritable();
        await writable.write(new Uint8Array(1000));
        await writable.close();
      }
    });
  const keys = (): Promise<string[]> =>
    page.evaluate(async () => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu');
      const found: string[] = [];
      for await (const key of root.keys()) found.push(key.replace(/-.*/, ''));
      return found.filter((key) => key.startsWith('v'));
    });

  test('is not listed, and is replaced by the next load', async () => {
    await look();
    await makeOld();
    expect(await keys()).toEqual(['v4']);
    expect(await cached(page)).toEqual([]);
    expect(await check()).toBe('unknown');
    site.files.set(NAME, bytesOf(textOf('half')));
    const seen = await look();
    expectLike(seen, 'half');
    expect(seen.loaded).toMatchObject({ fetchedBytes: largeFile.length, cache: 'opfs' });
    expect(await keys()).toEqual(['v5']);
    expect(await cached(page)).toMatchObject([{ id: '/weights/', complete: true }]);
  });

  test('does not count against the room for its replacement', async () => {
    await look();
    await makeOld();
    // The browser has room for one of the two entries.
    await page.evaluate((bytes) => {
      const here = globalThis as { estimate?: StorageManager['estimate'] };
      const { estimate } = StorageManager.prototype;
      here.estimate = estimate;
      StorageManager.prototype.estimate = async function () {
        const root = await (await this.getDirectory()).getDirectoryHandle('dinov2-webgpu');
        let old = 0;
        for await (const key of root.keys()) old += Number(key.startsWith('v4-'));
        return { quota: 1.5 * bytes, usage: old * bytes };
      };
    }, largeFile.length);
    try {
      expect((await look()).loaded).toMatchObject({ cache: 'opfs', cacheReason: 'kept for the next time' });
    } finally {
      await page.evaluate(() => {
        StorageManager.prototype.estimate = (
          globalThis as unknown as StorageManager & { estimate: StorageManager['estimate'] }
        ).estimate;
      });
    }
    expect(await keys()).toEqual(['v5']);
  });

  test('is removed by removeCached without an id', async () => {
    await look();
    await makeOld();
    expect(
      await page.evaluate(() => (globalThis as unknown as { library: Library }).library.removeCached()),
    ).toBe(1);
    expect(await keys()).toEqual([]);
  });
});

test('a worker has the same preprocessing and vectors, from the network, the cache and files', async () => {
  site.files.set(NAME, bytesOf(textOf('half')));
  const config = Buffer.from(site.files.get('config.json')!).toString();
  const inPage = await look();
  for (const seen of [
    await look({}, 'worker'),
    await look({ cache: 'none' }, 'worker'),
    await look({}, 'worker', { config, preprocessor: textOf('half') }),
    await look({}, 'worker', { config, preprocessor: caseOf('half').preprocessor }),
    await look({}, 'page', { config, preprocessor: textOf('half') }),
  ]) {
    expect(seen.preprocessing).toEqual(inPage.preprocessing);
    expect(seen.vector).toEqual(inPage.vector);
  }
  expectLike(await look({}, 'worker', { config, preprocessor: null }), 'default');
  expectLike(await look({ preprocessor: null }, 'worker'), 'default');
  expectLike(await look({ preprocessor: caseOf('no crop').preprocessor }, 'worker'), 'no crop');
  site.files.set(NAME, bytesOf('{"image_processor_type": "SamImageProcessor"}'));
  await expect(look({ cache: 'none' }, 'worker')).rejects.toThrow(/SamImageProcessor/);
});
