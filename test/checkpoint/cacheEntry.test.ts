// A weight cache entry: it returns the bytes that were written, and detects a change of any bit in its files.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CacheEntry } from '../../src/cache/entry.ts';
import { BLOCK_BYTES, cacheKey, readChecked, readManifest } from '../../src/cache/format.ts';
import { mayStartOver } from '../../src/io/part.ts';
import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { memoryStore, readThrough, type MemoryStore, type ReadThrough } from '../loading/memoryStore.ts';
import {
  answer,
  configFile,
  largeFile,
  largeFiles,
  openServer,
  sha256,
  type TestServer,
} from '../loading/server.ts';

const WEIGHTS = 'model.safetensors';
const BLOCKS = Math.ceil(largeFile.length / BLOCK_BYTES);

let server: TestServer;
let store: MemoryStore;
let key: string;
beforeAll(async () => {
  server = await openServer();
  key = await cacheKey(server.url);
});
afterAll(() => server.close());
beforeEach(() => {
  store = memoryStore();
  server.files = largeFiles();
});
afterEach(() => server.reset());

const tensorsOf = (file: Uint8Array): Map<string, string> =>
  new Map(
    [...parseSafetensors(file).tensors].map(([name, { begin, end }]) => [
      name,
      sha256(file.subarray(begin, end)),
    ]),
  );
const right = tensorsOf(largeFile);

const load = (options?: Parameters<typeof readThrough>[2], until?: number): Promise<ReadThrough> =>
  readThrough(store, server.url, options, until);
const files = (): Map<string, Uint8Array<ArrayBuffer>> => store.folders.get(key)!;
const flip = (name: string, bit: number): void => {
  files().get(name)![bit >> 3]! ^= 1 << (bit & 7);
};
/** Runs a load that must give the right tensors. Returns the number of weight bytes fetched from the server. */
async function fetched(options?: Parameters<typeof readThrough>[2]): Promise<number> {
  const { error, tensors, entry } = await load(options);
  expect(error).toBeUndefined();
  expect(tensors).toEqual(right);
  expect(entry.failure).toBeUndefined();
  expect(entry.counts.fetchedBytes + entry.counts.cachedBytes).toBe(largeFile.length);
  return entry.counts.fetchedBytes;
}

test('a second load returns the same file without a request', async () => {
  expect(await fetched()).toBe(largeFile.length);
  const names = Array.from({ length: BLOCKS }, (_, block) => `${WEIGHTS}-${block}`);
  expect([...files().keys()]).toEqual(['manifest', ...names]);
  expect(Buffer.concat(names.map((name) => files().get(name)!.subarray(32))).equals(largeFile)).toBe(true);
  server.asked.length = 0;
  expect(await fetched()).toBe(0);
  expect(server.asked).toEqual([]);
});

describe('damage', () => {
  test('a change of any bit of a block or of the manifest is detected', async () => {
    const small = encodeSafetensors([
      ['w', { dtype: 'U8', shape: [900], data: new Uint8Array(900).fill(7) }],
    ]);
    server.files = new Map<string, Uint8Array>([
      ['config.json', configFile],
      [WEIGHTS, small],
    ]);
    const { entry } = await load();
    const folder = (await store.existing(key))!;
    const place = [entry.nonce, WEIGHTS, `"${sha256(small).slice(0, 16)}"`, 0];
    expect(await readChecked(folder, `${WEIGHTS}-0`, place)).toEqual(small);
    let bits = 0;
    for (const [name, bytes] of files()) {
      for (let bit = 0; bit < 8 * bytes.length; bit++, bits++) {
        flip(name, bit);
        const found =
          name === 'manifest' ? await readManifest(folder) : await readChecked(folder, name, place);
        expect(found, `${name}, bit ${bit}`).toBeUndefined();
        flip(name, bit);
      }
    }
    expect(bits).toBeGreaterThan(10_000);
    expect((await load()).entry.counts.fetchedBytes).toBe(0);
  });

  test.each([0, 1, BLOCKS - 1])('of block %i: only that block is fetched again', async (block) => {
    await fetched();
    const bytes = block < BLOCKS - 1 ? BLOCK_BYTES : largeFile.length % BLOCK_BYTES;
    flip(`${WEIGHTS}-${block}`, 12_345);
    expect(await fetched()).toBe(bytes);
    files().delete(`${WEIGHTS}-${block}`);
    expect(await fetched()).toBe(bytes);
    files().set(`${WEIGHTS}-${block}`, new Uint8Array(5));
    expect(await fetched()).toBe(bytes);
    expect(await fetched()).toBe(0);
  });

  test('from a server without range support: the whole file is sent again, and only the damaged block is used', async () => {
    await fetched();
    flip(`${WEIGHTS}-1`, 99);
    server.fault = ({ name, bytes, response }) => {
      if (name !== WEIGHTS) return false;
      response
        .writeHead(200, { etag: `"${sha256(bytes).slice(0, 16)}"`, 'content-length': bytes.length })
        .end(bytes);
      return true;
    };
    expect(await fetched()).toBe(BLOCK_BYTES);
    expect(await fetched()).toBe(0);
  });

  test('a block copied to another position, or from another entry, is rejected', async () => {
    await fetched();
    const [first, second] = [0, 1].map((block) => files().get(`${WEIGHTS}-${block}`)!);
    files().set(`${WEIGHTS}-1`, first!);
    expect(await fetched()).toBe(BLOCK_BYTES);
    store = memoryStore();
    await fetched(); // the same file and version, in an entry with another manifest
    files().set(`${WEIGHTS}-1`, second!);
    expect(await fetched()).toBe(BLOCK_BYTES);
  });

  test('files that cannot be read count as missing', async () => {
    await fetched();
    const broken = (name: string): Promise<never> =>
      Promise.reject(new DOMException(`${name} is broken`, 'NotReadableError'));
    store.broken = { names: () => broken('names') };
    const { tensors, entry } = await load();
    expect(tensors).toEqual(right);
    expect(entry.counts.fetchedBytes).toBe(largeFile.length);
    store.broken = { read: broken };
    expect((await load()).tensors).toEqual(right);
  });
});

describe('an interrupted download', () => {
  test('resumes from any position, and at most one block is fetched twice', async () => {
    for (const until of [300_000, 4_500_000, 8_000_000, largeFile.length - 100_000]) {
      store = memoryStore();
      const { error, entry } = await load({}, until);
      expect(error).toMatchObject({ message: 'far enough' });
      const rest = await fetched();
      expect(entry.counts.fetchedBytes + rest - largeFile.length, `${until}`).toBeLessThanOrEqual(
        BLOCK_BYTES,
      );
      if (until > BLOCK_BYTES + 2 ** 19) expect(rest).toBeLessThan(largeFile.length);
      expect(await fetched()).toBe(0);
    }
  });

  test('starts over if the server has another version of the file', async () => {
    await load({}, 6_000_000);
    const other = Buffer.from(largeFile);
    other[largeFile.length - 100]! ^= 1;
    server.files.set(WEIGHTS, other);
    const { error } = await load();
    expect(error).toMatchObject({ code: 'SOURCE_CHANGED' });
    expect(mayStartOver(error)).toBe(true);
  });

  /** Makes the server send only these headers about the version of the weights. */
  const tells = (headers: Record<string, string>): void => {
    server.fault = ({ name, bytes, range, response }) => {
      if (name !== WEIGHTS) return false;
      const [begin, end] = range ?? [0, bytes.length];
      const ranged = { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` };
      response
        .writeHead(range ? 206 : 200, { 'content-length': end - begin, ...(range ? ranged : {}), ...headers })
        .end(bytes.subarray(begin, end));
      return true;
    };
  };

  test.each([{}, { etag: 'W/"weak"' }])(
    'has no manifest if %j is all that is known about the version',
    async (told) => {
      tells(told);
      await load({}, 9_000_000);
      expect(files().size).toBeGreaterThan(1);
      expect(files().has('manifest')).toBe(false);
      expect(await fetched()).toBe(largeFile.length);
      expect(await fetched()).toBe(0);
      flip(`${WEIGHTS}-1`, 99); // without a version, a refetched block cannot be matched with the stored ones
      const { error } = await load();
      expect(error).toMatchObject({ code: 'SOURCE_CHANGED' });
      expect(mayStartOver(error)).toBe(true);
    },
  );

  test('resumes without a version if a hash can verify the result', async () => {
    tells({});
    const integrity = sha256(largeFile);
    await load({ integrity }, 9_000_000);
    expect(await fetched({ integrity })).toBeLessThan(largeFile.length - BLOCK_BYTES);
    expect(await fetched({ integrity })).toBe(0);
  });

  test('leaves no additional files in the entry', async () => {
    const { length } = largeFile;
    server.fault = (asked) => {
      if (asked.name !== WEIGHTS) return false;
      answer(asked, { etag: '"one"' });
      return true;
    };
    await load({}, 6_000_000);
    files().set('model.safetensors-0.crswap', new Uint8Array(3)); // left by a writer that was killed
    files().set(`${WEIGHTS}-99`, new Uint8Array(40));
    expect(await fetched()).toBeLessThan(length);
    expect(files().size).toBe(1 + BLOCKS);
  });
});

describe('integrity', () => {
  const integrity = sha256(largeFile);

  test('the last block is stored only after the whole file was verified', async () => {
    await load({ integrity }, largeFile.length - 100_000);
    expect(files().has(`${WEIGHTS}-${BLOCKS - 1}`)).toBe(false);
    const other = Buffer.from(largeFile);
    other[largeFile.length - 100]! ^= 1;
    server.files.set(WEIGHTS, other);
    server.fault = (asked) =>
      asked.name === WEIGHTS && (answer(asked, { etag: `"${integrity.slice(0, 16)}"` }), true); // the ETag claims that the file is unchanged
    expect((await load()).error).toMatchObject({ code: 'SOURCE_INTEGRITY' });
    expect(files().has(`${WEIGHTS}-${BLOCKS - 1}`)).toBe(false);
  });

  test('a refetched block is verified with the whole file', async () => {
    expect(await fetched({ integrity })).toBe(largeFile.length);
    flip(`${WEIGHTS}-1`, 99);
    // The last block marks a verified file, so it is fetched again as well.
    expect(await fetched({ integrity })).toBe(largeFile.length - BLOCK_BYTES);
    flip(`${WEIGHTS}-1`, 99);
    const other = Buffer.from(largeFile);
    other[BLOCK_BYTES + 5]! ^= 1;
    server.files.set(WEIGHTS, other);
    server.fault = (asked) =>
      asked.name === WEIGHTS && (answer(asked, { etag: `"${integrity.slice(0, 16)}"` }), true);
    expect((await load({ integrity })).error).toMatchObject({ code: 'SOURCE_INTEGRITY' });
  });
});

test('a load succeeds although the storage fails, and the entry is removed', async () => {
  let written = 0;
  store.broken = {
    write: async (name, data) => {
      if (++written > 2) throw new DOMException('full', 'QuotaExceededError');
      files().set(name, new Uint8Array(await data.arrayBuffer()));
    },
  };
  const { error, tensors, entry } = await load();
  expect(error).toBeUndefined();
  expect(tensors).toEqual(right);
  expect(entry.report).toMatchObject({
    cache: 'none',
    cacheReason: 'writing to the cache failed: QuotaExceededError: full',
  });
  expect(store.folders.size).toBe(0);
});

test('entries of older formats are removed before quota is requested; entries of newer formats stay', async () => {
  for (const name of ['v4-a', 'v1-b', 'v6-c', 'notes']) await store.folder(name);
  await load();
  expect([...store.folders.keys()].sort()).toEqual(['notes', key, 'v6-c'].sort());
});

test('an entry that must not be stored writes nothing', async () => {
  const entry = new CacheEntry(store, key, undefined, { id: '', folder: server.url, integrity: {} });
  await entry.begin('for a reason', false);
  await entry.finish();
  expect(store.folders.size).toBe(0);
  expect(entry.report).toMatchObject({ cache: 'none', cacheReason: 'for a reason' });
});
