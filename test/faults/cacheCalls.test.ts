// For every n: the n-th call of the weight cache's storage fails. A load gives the right tensors nevertheless, and
// the next load does too; nothing but complete entries stays.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { cacheKey } from '../../src/cache/format.ts';
import type { CacheFolder, CacheStore } from '../../src/storage/store.ts';
import { memoryStore, readThrough, type MemoryStore } from '../loading/memoryStore.ts';
import { configFile, openServer, sha256, type TestServer } from '../loading/server.ts';

const WEIGHTS = 'model.safetensors';
const weights = encodeSafetensors([
  ['w', { dtype: 'U8', shape: [900], data: new Uint8Array(900).fill(7) }],
  ['v', { dtype: 'U8', shape: [300], data: new Uint8Array(300).fill(9) }],
]);
const right = new Map(
  [...parseSafetensors(weights).tensors].map(([name, { begin, end }]) => [
    name,
    sha256(weights.subarray(begin, end)),
  ]),
);

let server: TestServer;
let key: string;
beforeAll(async () => {
  server = await openServer();
  server.files = new Map<string, Uint8Array>([
    ['config.json', configFile],
    [WEIGHTS, weights],
  ]);
  key = await cacheKey(server.url);
});
afterAll(() => server.close());

/** A store of which one call fails. The calls that `readThrough` makes before the load do not count. */
function failing(inner: MemoryStore, at: number, fault: 'reject' | 'partial') {
  let calls = 0;
  const call = <T>(run: () => Promise<T>, partly?: () => Promise<unknown>): Promise<T> => {
    if (calls++ !== at) return run();
    const error = new DOMException('injected', 'QuotaExceededError');
    const before = fault === 'partial' ? (partly?.() ?? Promise.resolve()) : Promise.resolve();
    return before.then(() => Promise.reject(error));
  };
  const folderOf = (folder: CacheFolder): CacheFolder => ({
    names: () => call(() => folder.names()),
    read: (name) => call(() => folder.read(name)),
    write: (name, data) =>
      call(
        () => folder.write(name, data),
        () => folder.write(name, data.slice(0, data.size >> 1)),
      ),
    remove: (name) => call(() => folder.remove(name)),
  });
  const store: CacheStore = {
    kind: 'opfs',
    keys: () => call(() => inner.keys()),
    folder: (name) => call(async () => folderOf(await inner.folder(name))),
    existing: async (name) => {
      const found = await inner.existing(name); // before the load
      return found && folderOf(found);
    },
    remove: (name) => call(() => inner.remove(name)),
  };
  return { store, calls: () => calls };
}

test.each([
  ['nothing is cached', false],
  ['the model is cached', true],
] as const)('%s', async (_, cached) => {
  let tried = 0;
  for (const fault of ['reject', 'partial'] as const)
    for (let at = 0; ; at++) {
      const inner = memoryStore();
      if (cached) await readThrough(inner, server.url);
      const { store, calls } = failing(inner, at, fault);
      const first = await readThrough(store, server.url);
      const where = `${fault}, call ${at}`;
      expect(first.error, where).toBeUndefined();
      expect(first.tensors, where).toEqual(right);
      const next = await readThrough(inner, server.url);
      expect(next.error, where).toBeUndefined();
      expect(next.tensors, where).toEqual(right);
      const last = await readThrough(inner, server.url);
      expect(last.entry.counts, where).toEqual({ fetchedBytes: 0, cachedBytes: weights.length });
      expect([...inner.folders.keys()], where).toEqual([key]);
      expect([...inner.folders.get(key)!.keys()], where).toEqual(['manifest', `${WEIGHTS}-0`]);
      if (calls() <= at) break;
      tried += 1;
    }
  expect(tried).toBeGreaterThan(cached ? 4 : 9);
});
