// The weight cache in a browser: complete entries, offline starts, resumed downloads, integrity and removal.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { BLOCK_BYTES } from '../../src/cache/format.ts';
import { full } from '../full.ts';
import { facebookresearch, readAll, timm, write } from '../model/renamed.ts';
import {
  cached,
  interrupt,
  load,
  open,
  openVisit,
  removeCached,
  renew,
  storedFiles,
  type Site,
  type Visit,
} from './browser.ts';
import { configFile, largeFile, sha256, shardsOf } from './server.ts';

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

describe.each(full ? (['opfs', 'cache-api'] as const) : (['opfs'] as const))('cached in %s', (cache) => {
  /** Loads again and expects cached blocks to be reused and only the rest to be fetched. */
  const goesOn = async (): Promise<void> => {
    const { hash, loaded } = await load(page, { cache });
    expect(hash).toBe(right);
    expect(loaded.cachedBytes).toBeGreaterThan(0);
    expect(loaded.fetchedBytes).toBeLessThan(largeFile.length - 4_000_000);
  };

  test('a second start makes no request and gives the same bits', async () => {
    const first = await load(page, { cache });
    expect(first).toMatchObject({
      hash: right,
      loaded: { cache, fetchedBytes: largeFile.length, cachedBytes: 0 },
    });
    expect(await cached(page)).toMatchObject([
      { id: '/weights/', url: `${site.url}weights/`, bytes: largeFile.length, complete: true, store: cache },
    ]);
    Object.assign(site, { asked: [], down: true });
    await open(page, site);
    const second = await load(page, { cache });
    expect(second).toMatchObject({ hash: right, loaded: { cache, fetchedBytes: 0 } });
    expect(second.loaded.cachedBytes).toBeGreaterThan(1e6);
    expect(site.asked).toEqual([]);
  });

  test('an interrupted download resumes and fetches only the rest', async () => {
    await interrupt(page, site, [6_000_000], { cache });
    expect(await cached(page)).toMatchObject([{ complete: false }]);
    await goesOn();
    expect(site.asked.filter((line) => line.startsWith('config.json'))).toHaveLength(1);
    expect(await cached(page)).toMatchObject([{ complete: true }]);
  });

  test('a load ended by an error in onProgress rejects with that error, and the next load resumes', async () => {
    await interrupt(page, site, [6_000_000], { cache }, 'throw');
    expect(await cached(page)).toMatchObject([{ complete: false }]);
    // The same while the cached blocks are read.
    const found = await page.evaluate(async (kind) => {
      const { DINOv2 } = (globalThis as unknown as { library: typeof import('../../src/index.ts') }).library;
      const mine = new TypeError('the page made a mistake');
      const onProgress = ({ loadedBytes }: { loadedBytes: number }): void => {
        if (loadedBytes > 0) throw mine;
      };
      return DINOv2.fromPretrained('/weights/', { selfTest: false, cache: kind, onProgress }).then(
        () => 'loaded',
        (thrown: unknown) => (thrown === mine ? 'its own error' : String(thrown)),
      );
    }, cache);
    expect(found).toBe('its own error');
    expect(await cached(page)).toMatchObject([{ complete: false }]);
    await goesOn();
  });

  test('a file that changed since the interruption is fetched from its start', async () => {
    await interrupt(page, site, [6_000_000], { cache });
    site.etag = '"two"';
    expect(await load(page, { cache })).toMatchObject({
      hash: right,
      loaded: { fetchedBytes: largeFile.length, cachedBytes: 0 },
    });
    Object.assign(site, { etag: '"one"' });
  });

  test('a load that fails because of its options keeps the cached files', async () => {
    await load(page, { cache });
    await expect(load(page, { cache, prefix: 'student.' })).rejects.toThrow(/prefix/);
    site.down = true;
    expect(await load(page, { cache })).toMatchObject({ hash: right, loaded: { fetchedBytes: 0 } });
  });

  test('one entry serves every dtype; a removed entry is gone', async () => {
    const { fingerprint } = await load(page, { cache });
    site.down = true;
    for (const dtype of ['fp16', 'int8']) {
      const found = await load(page, { cache, dtype });
      expect(found).toMatchObject({ fingerprint, loaded: { fetchedBytes: 0 } });
      expect(found.hash).toBe((await load(page, { cache, dtype })).hash);
      expect(found.hash).not.toBe(right);
    }
    expect(await cached(page)).toHaveLength(1);
    expect(await removeCached(page, 'another/model')).toBe(0);
    expect(await removeCached(page, '/weights/')).toBe(1);
    expect(await cached(page)).toEqual([]);
    await expect(load(page, { cache })).rejects.toThrow(/SourceError|the request failed/);
  });

  test('a checkpoint in several files is cached', async () => {
    site.files = new Map<string, Uint8Array>([['config.json', configFile], ...shardsOf(3)]);
    expect((await load(page, { cache })).hash).toBe(right);
    site.down = true;
    expect(await load(page, { cache })).toMatchObject({ hash: right, loaded: { fetchedBytes: 0 } });
  });
});

describe('tensor names and prefixes', () => {
  const encode = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

  test('timm names: the same bits and the same report from the cache and after an interruption', async () => {
    const tensors = timm(facebookresearch(await readAll('registers')));
    const weights = write(
      new Map([...tensors, ['ema.steps', { shape: [2 ** 21], values: new Float32Array(2 ** 21).fill(7) }]]),
    );
    site.files = new Map([
      ['config.json', encode({ architecture: 'vit_small_patch14_reg4_dinov2', pretrained_cfg: {} })],
      ['model.safetensors', weights],
    ]);
    const fresh = await load(page, { cache: 'none' });
    expect(fresh.loaded).toMatchObject({ dialect: 'timm', prefix: '', setAside: ['ema.steps'] });
    expect(fresh.loaded.assumed.length).toBeGreaterThan(2);
    await interrupt(page, site, [weights.length - 100_000]);
    const { dialect, prefix, setAside, assumed } = fresh.loaded;
    for (const down of [false, true]) {
      site.down = down;
      const { hash, fingerprint, loaded } = await load(page);
      expect({ hash, fingerprint }).toEqual({ hash: fresh.hash, fingerprint: fresh.fingerprint });
      expect(loaded).toMatchObject({ dialect, prefix, setAside, assumed });
      expect(loaded.cachedBytes).toBeGreaterThan(0);
    }
  });

  test('two models in one file are both loaded from one cache entry', async () => {
    const tensors = await readAll('plain');
    const both = [...tensors].flatMap(([name, { shape, values }]) => [
      [`student.${name}`, { shape, values: values.map((value) => 2 * value) }] as const,
      [`teacher.${name}`, { shape, values }] as const,
    ]);
    site.files = new Map<string, Uint8Array>([
      ['config.json', configFile],
      ['model.safetensors', write(new Map(both))],
    ]);
    await expect(load(page)).rejects.toThrow(/student.*teacher.*option prefix/);
    expect(await cached(page)).toEqual([]);
    const teacher = await load(page, { prefix: 'teacher' });
    site.down = true;
    const student = await load(page, { prefix: 'student' });
    expect(teacher).toMatchObject({ hash: right, loaded: { prefix: 'teacher.', cachedBytes: 0 } });
    expect(student.hash).not.toBe(right);
    expect(student.loaded).toMatchObject({ prefix: 'student.', fetchedBytes: 0 });
    expect((await load(page, { prefix: 'teacher' })).hash).toBe(right);
  });
});

describe('the cache entry', () => {
  const change = (name: string, how: 'flip' | 'remove' | 'shorten'): Promise<void> =>
    page.evaluate(
      async ([file, what]) => {
        const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu');
        for await (const folder of root.values()) {
          if (folder.kind !== 'directory') continue;
          const directory = folder as FileSystemDirectoryHandle;
          if (what === 'remove') return directory.removeEntry(file);
          const handle = await directory.getFileHandle(file);
          const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
          bytes[bytes.length >> 1]! ^= 4;
          const writable = await handle.createWritable();
          await writable.write(what === 'flip' ? bytes : bytes.subarray(0, bytes.length - 100));
          await writable.close();
        }
      },
      [name, how] as const,
    );

  const edit = (name: string, change: { flip: number } | { find: string; put: string }): Promise<number> =>
    page.evaluate(
      async ([file, what]) => {
        const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu');
        const { value: folder } = (await root.values().next()) as { value: FileSystemDirectoryHandle };
        const handle = await folder.getFileHandle(file);
        const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
        const latin = new TextDecoder('latin1').decode(bytes);
        if ('flip' in what) bytes[what.flip]! ^= 1;
        else bytes.set(new TextEncoder().encode(what.put), latin.indexOf(what.find));
        const writable = await handle.createWritable();
        await writable.write(bytes);
        await writable.close();
        return 'find' in what ? latin.split(what.find).length - 1 : bytes.length;
      },
      [name, change] as const,
    );

  test('a change in the manifest is detected, and everything is fetched again', async () => {
    await load(page);
    expect(await edit('manifest', { find: '1e-06', put: '1e-02' })).toBe(1);
    const anew = { hash: right, loaded: { fetchedBytes: largeFile.length, cachedBytes: 0 } };
    expect(await load(page)).toMatchObject(anew);
    // test/checkpoint/cacheEntry.test.ts changes every bit.
    for (const flip of full ? [0, 31, 32, 40, 400] : [40]) {
      await edit('manifest', { flip });
      expect(await load(page), `byte ${flip}`).toMatchObject(anew);
    }
  });

  const damages = [
    ['model.safetensors-1', 'flip'],
    ['model.safetensors-0', 'shorten'],
    ['model.safetensors-2', 'remove'],
    ['manifest', 'remove'],
    ['manifest', 'flip'],
    ['model.safetensors-0', 'flip'],
    ['model.safetensors-1', 'remove'],
  ] as const;
  test.each(full ? damages : damages.slice(0, 4))(
    '%s: %s, is noticed before anything is computed with it',
    async (name, how) => {
      await load(page);
      expect((await storedFiles(page)).map(([path]) => path.split('/').at(-1))).toEqual(
        expect.arrayContaining(['manifest', ...[0, 1, 2].map((block) => `model.safetensors-${block}`)]),
      );
      await change(name, how);
      const { hash, loaded } = await load(page);
      expect(hash).toBe(right);
      expect(loaded.cache).toBe('opfs');
      expect(loaded.fetchedBytes).toBe(
        name === 'manifest'
          ? largeFile.length
          : Math.min(BLOCK_BYTES, largeFile.length - 2 * BLOCK_BYTES * Number(name.endsWith('2'))),
      );
      site.down = true;
      expect(await load(page)).toMatchObject({ hash: right, loaded: { fetchedBytes: 0 } });
    },
  );

  test('is not written if it cannot fit, and is removed if the disk fills midway', async () => {
    const session = await visitor.context.newCDPSession(page);
    const origin = site.url.replace(/\/$/, '');
    try {
      for (const quotaSize of [100_000, 5_000_000, 9_000_000, 10_000_000]) {
        await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize });
        const { hash, loaded } = await load(page);
        expect(hash).toBe(right);
        expect(loaded).toMatchObject({
          cache: 'none',
          cacheReason: expect.stringMatching(/bytes of storage|Quota/) as string,
        });
        expect(await cached(page)).toEqual([]);
        expect((await storedFiles(page)).filter(([, bytes]) => bytes > 0)).toEqual([]);
      }
    } finally {
      await session.send('Storage.overrideQuotaForOrigin', { origin }); // remove the quota, or the following tests fail
    }
    expect((await load(page)).loaded.cache).toBe('opfs');
  });

  test('is not written for a web page or for a file with the wrong hash', async () => {
    site.files.set('model.safetensors', new TextEncoder().encode('<!doctype html><title>Log in</title>'));
    await expect(load(page)).rejects.toThrow(/SOURCE_IS_HTML|expected a file/);
    site.files.set('model.safetensors', largeFile);
    await expect(load(page, { integrity: 'cd'.repeat(32) })).rejects.toThrow(/SHA-256/);
    expect((await storedFiles(page)).filter(([, bytes]) => bytes > 0)).toEqual([]);
    expect((await load(page, { integrity: sha256(largeFile) })).loaded.cache).toBe('opfs');
    site.down = true;
    expect((await load(page, { integrity: sha256(largeFile) })).loaded.fetchedBytes).toBe(0);
  });

  test('written without a hash check is fetched again if the caller gives a hash', async () => {
    await load(page);
    expect((await load(page, { integrity: sha256(largeFile) })).loaded.fetchedBytes).toBe(largeFile.length);
  });
});

describe('two tabs', () => {
  let other: Page;
  beforeAll(async () => {
    other = await visitor.context.newPage();
    await open(other, site);
  });

  test('load the same model: only one of them downloads it', async () => {
    site.asked = [];
    site.bytesPerSecond = 8_000_000;
    const results = await Promise.all([load(page), load(other)]);
    expect(results.map(({ hash }) => hash)).toEqual([right, right]);
    expect(results.map(({ loaded }) => loaded.fetchedBytes).sort((a, b) => a - b)).toEqual([
      0,
      largeFile.length,
    ]);
    expect(site.asked.filter((line) => line.startsWith('config'))).toHaveLength(1);
  });

  test('when the downloading tab is closed, the waiting tab continues', async () => {
    site.limit = 1_000_000;
    const ended = load(other).catch(() => 'gone');
    await expect.poll(() => site.asked.length, { timeout: 30_000 }).toBeGreaterThan(3);
    const waiting = load(page);
    await other.close();
    expect(await ended).toBe('gone');
    site.limit = Infinity;
    expect((await waiting).hash).toBe(right);
  });
});

test('listCached, checkForUpdate and removeCached write nothing', async () => {
  const kept = await page.evaluate(async () => {
    const { library } = globalThis as unknown as { library: typeof import('../../src/index.ts') };
    const root = await navigator.storage.getDirectory();
    await root.removeEntry('dinov2-webgpu', { recursive: true }).catch(() => undefined);
    await caches.delete('dinov2-webgpu');
    const said = [
      await library.listCached(),
      await library.checkForUpdate('a/b'),
      await library.removeCached(),
    ];
    const names: string[] = await caches.keys();
    for await (const name of root.keys()) names.push(name);
    return { said, names };
  });
  expect(kept).toEqual({ said: [[], 'unknown', 0], names: [] });
});

test('without permission to store, the model runs from memory and the report says why', async () => {
  await page.evaluate(() => {
    const here = globalThis as { whole?: () => void };
    const { getDirectory } = StorageManager.prototype;
    const { open: openCache } = CacheStorage.prototype;
    here.whole = () =>
      void (
        Object.assign(StorageManager.prototype, { getDirectory }),
        Object.assign(CacheStorage.prototype, { open: openCache })
      );
    StorageManager.prototype.getDirectory = () =>
      Promise.reject(new DOMException('private', 'SecurityError'));
    CacheStorage.prototype.open = () => Promise.reject(new DOMException('private', 'SecurityError'));
  });
  const { hash, loaded } = await load(page).finally(() =>
    page.evaluate(() => (globalThis as { whole?: () => void }).whole!()),
  );
  expect(hash).toBe(right);
  expect(loaded).toMatchObject({
    cache: 'none',
    cacheReason: expect.stringMatching(/SecurityError/) as string,
  });
});

test('a worker caches too, with `persist` set (unavailable there), and without storage estimates', async () => {
  // One worker for all loads. Its first model stays alive to keep the device and its pipelines.
  const inWorker = (without = ''): Promise<unknown> =>
    page.evaluate(
      async ([origin, method]) => {
        const here = globalThis as { inWorker?: Worker };
        here.inWorker ??= new Worker(
          URL.createObjectURL(
            new Blob(
              [
                `
        let first;
        onmessage = async ({ data }) => {
          try {
            const { DINOv2 } = await import('${origin}dist/index.js');
            if (data) delete StorageManager.prototype[data];
            const model = await DINOv2.fromPretrained('${origin}weights/', { selfTest: false, persist: true });
            postMessage(model.loaded);
            if (first) model.dispose();
            else first = model;
          } catch (error) { postMessage(String(error)); }
        };`,
              ],
              { type: 'text/javascript' },
            ),
          ),
          { type: 'module' },
        );
        const worker = here.inWorker;
        const answer = new Promise((resolve, reject) =>
          Object.assign(worker, {
            onmessage: ({ data }: MessageEvent) => resolve(data),
            onerror: ({ message }: ErrorEvent) => reject(new Error(message)),
          }),
        );
        worker.postMessage(method);
        return answer;
      },
      [site.url, without] as const,
    );
  expect(await inWorker()).toMatchObject({ cache: 'opfs', cacheReason: 'kept for the next time' });
  expect(await inWorker()).toMatchObject({ cache: 'opfs', fetchedBytes: 0 });
  await removeCached(page);
  expect(await inWorker('estimate')).toMatchObject({ cache: 'opfs', cacheReason: 'kept for the next time' });
  await page.evaluate(() => (globalThis as { inWorker?: Worker }).inWorker!.terminate());
});

describe('storage that fails after the entry was written does not fail the load', () => {
  /** Makes a file-system method fail for names that match `pattern`. */
  const broken = (which: 'folder' | 'read' | 'all', pattern: string): Promise<void> =>
    page.evaluate(
      ([what, source]) => {
        const named = new RegExp(source);
        const fail = (): Promise<never> =>
          Promise.reject(new DOMException('the disk is broken', 'NotReadableError'));
        const { getDirectoryHandle, getFileHandle, removeEntry } = FileSystemDirectoryHandle.prototype;
        (globalThis as { whole?: () => void }).whole = () =>
          void Object.assign(FileSystemDirectoryHandle.prototype, {
            getDirectoryHandle,
            getFileHandle,
            removeEntry,
          });
        if (what === 'folder')
          FileSystemDirectoryHandle.prototype.getDirectoryHandle = function (name, options) {
            return named.test(name) ? fail() : getDirectoryHandle.call(this, name, options);
          };
        else
          FileSystemDirectoryHandle.prototype.getFileHandle = function (name, options) {
            return named.test(name) ? fail() : getFileHandle.call(this, name, options);
          };
        if (what === 'all') FileSystemDirectoryHandle.prototype.removeEntry = fail;
      },
      [which, pattern] as const,
    );

  afterEach(() => page.evaluate(() => (globalThis as { whole?: () => void }).whole!()));

  test.each([
    ['folder', '^v\\d', 'the cache failed: NotReadableError: the disk is broken'],
    ['read', '^manifest$', /^writing to the cache failed/],
    ['read', '-0$', /^writing to the cache failed/],
    ['all', '-\\d$', /^writing to the cache failed/],
  ] as const)('%s %s', async (which, pattern, reason) => {
    await load(page);
    await broken(which, pattern);
    const { hash, loaded } = await load(page);
    expect(hash).toBe(right);
    expect(loaded).toMatchObject({
      cache: 'none',
      cacheReason: typeof reason === 'string' ? reason : (expect.stringMatching(reason) as string),
    });
  });
});
