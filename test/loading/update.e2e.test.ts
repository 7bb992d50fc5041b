// A cached checkpoint whose source has changed since, interrupted downloads of int8 checkpoints, and pages
// without locks.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Page } from 'playwright';
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { syntheticStream } from '../../src/weights/synthetic.ts';
import { openTensors } from '../../src/safetensors/tensorStream.ts';
import { configOf } from '../../src/model/config.ts';
import { configJson } from '../../src/model/configJson.ts';
import { parameters } from '../../src/model/parameters.ts';
import { convertCheckpoint } from '../../src/tools/convert.ts';
import {
  cached,
  interrupt,
  load,
  noStore,
  open,
  openVisit,
  removeCached,
  renew,
  type Site,
  type Visit,
} from './browser.ts';
import { largeFile, largeFiles, sha256 } from './server.ts';

type Library = typeof import('../../src/index.ts');

/** Offset of a weight byte in the last block of the file. */
const LATE = largeFile.length - 400_000;

let visitor: Visit;
let site: Site;
let page: Page;
beforeAll(async () => {
  visitor = await openVisit('shared');
  ({ site, page } = visitor);
});
afterAll(() => visitor.close());
beforeEach(() => renew(visitor));

const check = (): Promise<string> =>
  page.evaluate(() =>
    (globalThis as unknown as { library: Library }).library
      .checkForUpdate('/weights/')
      .catch((error: { code: string }) => error.code),
  );

describe('a source that changes', () => {
  test('is detected by checkForUpdate, which requests one byte of the weights and the configuration', async () => {
    expect(await check()).toBe('unknown'); // nothing is cached
    await load(page);
    site.asked = [];
    expect(await check()).toBe('current');
    expect(site.asked.sort()).toEqual([
      'config.json whole',
      'model.safetensors bytes=0-0',
      'preprocessor_config.json whole',
    ]);
    site.etag = '"two"';
    expect(await check()).toBe('changed');
    site.etag = '"one"';
    site.files.set('model.safetensors', largeFile.subarray(0, -4));
    expect(await check()).toBe('changed');
    site.files = largeFiles();
    site.files.set('config.json', Buffer.concat([site.files.get('config.json')!, Buffer.from('\n')]));
    expect(await check()).toBe('changed');
    site.files.delete('model.safetensors');
    expect(await check()).toBe('SOURCE_FETCH'); // a missing file is not a newer version
    site.down = true;
    expect(await check()).toBe('SOURCE_FETCH');
    expect(await cached(page)).toMatchObject([{ complete: true }]); // the check leaves the cache unchanged
  });

  test('is not combined with an older config.json from the HTTP cache', async () => {
    // config.json has no Cache-Control, as nginx sends it by default: a browser then reuses it for a tenth of
    // its age. The weights are not in the HTTP cache.
    site.headers = (name) =>
      name === 'config.json' ? { 'last-modified': 'Wed, 01 Jan 2020 00:00:00 GMT' } : noStore();
    const { hash } = await load(page);
    const other = Buffer.from(largeFile);
    other[LATE]! ^= 64;
    site.files.set('model.safetensors', other);
    site.files.set(
      'config.json',
      Buffer.from(Buffer.from(site.files.get('config.json')!).toString().replace('1e-06', '1e-02')),
    );
    site.etag = '"two"';
    await removeCached(page);
    const changed = await load(page);
    expect(await check()).toBe('current');
    expect(changed.hash).not.toBe(hash);
    site.headers = noStore;
    expect((await load(page, { cache: 'none' })).hash).toBe(changed.hash);
  });

  test('without a strong validator the result is unknown', async () => {
    site.etag = 'W/"weak"';
    await load(page, { integrity: sha256(largeFile) });
    expect(await check()).toBe('unknown');
  });

  test('is detected only by a load with revalidate', async () => {
    const { hash } = await load(page);
    site.etag = '"two"';
    site.asked = [];
    expect(await load(page)).toMatchObject({
      hash,
      loaded: { fetchedBytes: 0, cacheReason: 'read from the cache' },
    });
    expect(site.asked).toEqual([]);
    expect(await load(page, { revalidate: true })).toMatchObject({
      hash,
      loaded: { fetchedBytes: largeFile.length, cachedBytes: 0, cacheReason: 'kept for the next time' },
    });
    const again = await load(page, { revalidate: true });
    expect(again.loaded).toMatchObject({
      fetchedBytes: 0,
      cacheReason: 'read from the cache; the server has the same version',
    });
    expect(await check()).toBe('current');
  });

  test('offline, the cached checkpoint is used', async () => {
    const { hash } = await load(page);
    site.down = true;
    const { hash: found, loaded } = await load(page, { revalidate: true });
    expect(found).toBe(hash);
    expect(loaded).toMatchObject({
      fetchedBytes: 0,
      cacheReason: expect.stringMatching(
        /^read from the cache; the server could not be asked for a newer version \(http.*: the request failed.*\)$/,
      ) as string,
    });
  });

  test('a checkpoint with a given hash is not revalidated', async () => {
    const integrity = sha256(largeFile);
    await load(page, { integrity });
    site.asked = [];
    expect((await load(page, { integrity, revalidate: true })).loaded.fetchedBytes).toBe(0);
    expect(site.asked).toEqual([]);
  });
});

describe('an interrupted download whose file changed since', () => {
  const other = Buffer.from(largeFile);
  other[LATE]! ^= 64;

  const interrupted = async (options: Record<string, unknown> = {}): Promise<void> => {
    await interrupt(page, site, [6_000_000], options);
    site.files.set('model.safetensors', other);
  };

  test('is fetched from its start if the server sends only a weak ETag', async () => {
    site.etag = 'W/"weak"';
    await interrupted();
    expect(await cached(page)).toEqual([]); // the manifest is written last
    const again = await load(page);
    expect(again.loaded).toMatchObject({ fetchedBytes: largeFile.length, cachedBytes: 0 });
    expect(again.hash).toBe((await load(page, { cache: 'none' })).hash);
  });

  test('is kept if a login page arrives instead of the file', async () => {
    await interrupted();
    expect(await cached(page)).toMatchObject([{ complete: false }]);
    site.files = largeFiles();
    site.page = true;
    await expect(load(page)).rejects.toThrow(/content-type text\/html/);
    site.page = false;
    const again = await load(page);
    expect(again.loaded.fetchedBytes).toBeLessThan(0.7 * largeFile.length);
    expect(again.hash).toBe((await load(page, { cache: 'none' })).hash);
  });

  test('is checked against the hash given at its start', async () => {
    await interrupted({ integrity: sha256(largeFile) }); // the server keeps sending the old ETag
    await expect(load(page)).rejects.toThrow(/expected the SHA-256/);
    expect(await cached(page)).toEqual([]);
  });
});

test('a hash of config.json alone does not skip revalidation of the weights', async () => {
  const integrity = { 'config.json': sha256(site.files.get('config.json')!) };
  const { hash } = await load(page, { integrity });
  const other = Buffer.from(largeFile);
  other[LATE]! ^= 64;
  site.files.set('model.safetensors', other);
  site.etag = '"two"';
  expect((await load(page, { integrity, revalidate: true })).hash).not.toBe(hash);
});

/** An int8 checkpoint of ViT-S's width with five blocks. It fills several blocks of the cache. */
async function int8Small(): Promise<Map<string, Uint8Array>> {
  const config = { ...configOf('small'), depth: 5 };
  const { header, pieces } = syntheticStream(huggingFaceTensors(parameters(config)));
  const whole = new Uint8Array(header.fileBytes);
  whole.set(encodeSafetensorsHeader(header.tensors, header.metadata).bytes);
  for await (const { info, offset, bytes } of pieces) whole.set(bytes, info.begin + offset);
  const parts: [number, Uint8Array][] = [];
  const { header: converted } = await convertCheckpoint(
    await openTensors(whole),
    'int8',
    async (position, bytes) => void parts.push([position, bytes.slice()]),
  );
  const file = new Uint8Array(converted.fileBytes);
  for (const [position, bytes] of parts) file.set(bytes, position);
  return new Map([
    ['config.json', new TextEncoder().encode(JSON.stringify(configJson(config)))],
    ['model.safetensors', file],
  ]);
}

test('an interrupted download of an int8 checkpoint resumes, including its scales', async () => {
  site.files = await int8Small();
  const total = site.files.get('model.safetensors')!.length;
  const { hash } = await load(page, { cache: 'none', dtype: 'int8' });
  await interrupt(page, site, [0.45 * total, 0.9 * total], { dtype: 'int8' });
  const second = await load(page, { dtype: 'int8' });
  expect(second.hash).toBe(hash);
  expect(second.loaded.fetchedBytes).toBeLessThan(0.7 * total);
  site.down = true;
  expect(await load(page, { dtype: 'int8' })).toMatchObject({ hash, loaded: { fetchedBytes: 0 } });
});

test('a page without access to locks loads and caches', async () => {
  await page.evaluate(() => {
    LockManager.prototype.request = () => Promise.reject(new DOMException('no locks here', 'SecurityError'));
  });
  expect((await load(page)).loaded).toMatchObject({ cache: 'opfs', fetchedBytes: largeFile.length });
  expect((await load(page)).loaded.fetchedBytes).toBe(0);
  await open(page, site);
});
