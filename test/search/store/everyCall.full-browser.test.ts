// For every n: the n-th call of the browser's storage in a commit, a compaction, an opening or a deletion fails.
// The error is one of ours, the index holds its state before or after the change, and the next change works.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { IndexError } from '../../../src/errors.ts';
import type { Change } from '../../../src/search/journal.ts';
import { deleteIndex, listIndexes } from '../../../src/search/store/catalogue.ts';
import { openJournal } from '../../../src/search/store/openJournal.ts';
import type { StoredJournal } from '../../../src/search/store/storedJournal.ts';
import { faultOf, header, makeItem, readAll, versionsOf } from './items.ts';

const NAME = 'every call';
/** The methods of the browser's storage. Methods that return promises come first. */
const METHODS: readonly (readonly [object, readonly string[], asynchronous: boolean])[] = [
  [FileSystemDirectoryHandle.prototype, ['getFileHandle', 'getDirectoryHandle', 'removeEntry'], true],
  [FileSystemFileHandle.prototype, ['getFile', 'createWritable'], true],
  [FileSystemWritableFileStream.prototype, ['write', 'close'], true],
  [CacheStorage.prototype, ['has', 'open', 'delete'], true],
  [Cache.prototype, ['match', 'put', 'delete', 'keys'], true],
  [Blob.prototype, ['arrayBuffer'], true],
  [IDBFactory.prototype, ['open', 'deleteDatabase'], false],
  [IDBDatabase.prototype, ['transaction'], false],
  [IDBObjectStore.prototype, ['put', 'delete', 'clear', 'get', 'getAll', 'getAllKeys', 'count'], false],
];
/** How a call fails: by an error of this name; `aborted` ends the transaction of the request. */
const FAULTS = ['QuotaExceededError', 'UnknownError', 'InvalidStateError', 'NotReadableError', 'aborted'];
type Method = (this: unknown, ...given: unknown[]) => unknown;

let restore: (() => void) | undefined;
afterEach(async () => {
  restore?.();
  for (const { name } of await listIndexes()) await deleteIndex(name);
});

/** Makes the call with this number, from 0, fail. Returns the number of calls so far. */
function failCall(at: number, fault: string): () => number {
  let calls = 0;
  const undo: (() => void)[] = [];
  for (const [prototype, names, asynchronous] of METHODS)
    for (const name of names) {
      const methods = prototype as Record<string, Method>;
      const original = methods[name]!;
      methods[name] = function (this: unknown, ...given: unknown[]): unknown {
        if (calls++ !== at) return original.apply(this, given);
        if (fault === 'aborted' && this instanceof IDBObjectStore) {
          const request = original.apply(this, given);
          this.transaction.abort();
          return request;
        }
        const thrown = new DOMException(`injected: ${name}`, fault === 'aborted' ? 'AbortError' : fault);
        if (asynchronous) return Promise.reject(thrown);
        throw thrown;
      };
      undo.push(() => void (methods[name] = original));
    }
  restore = () => {
    for (const each of undo.splice(0)) each();
  };
  return () => calls;
}

const put = (id: string, version = 0): Change => ({ put: makeItem(id, version) });
const before = { a: 0, b: 0, c: 0 };

async function fresh(): Promise<StoredJournal> {
  await deleteIndex(NAME);
  const journal = await openJournal(NAME, header);
  await journal.commit([put('a'), put('b')]);
  await journal.commit([put('c')]);
  return journal;
}

async function kept(): Promise<Record<string, number>> {
  const journal = await openJournal(NAME, header);
  try {
    const items = await readAll(journal.items());
    expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
    return versionsOf(items);
  } finally {
    await journal.close();
  }
}

async function files(): Promise<string[]> {
  const names: string[] = [];
  const origin = await navigator.storage.getDirectory();
  const root = await origin.getDirectoryHandle('dinov2-webgpu-search', { create: true });
  for await (const folder of root.values())
    for await (const name of (folder as FileSystemDirectoryHandle).keys()) names.push(name);
  for (const { url } of await (await caches.open('dinov2-webgpu-search')).keys()) names.push(url);
  return names.sort();
}

const changes = {
  'a commit': {
    change: (journal: StoredJournal) => journal.commit([put('b', 1), put('d'), { remove: 'a' }]),
    after: { b: 1, c: 0, d: 0 },
  },
  'a compaction': { change: (journal: StoredJournal) => journal.compact(), after: before },
  'a state': {
    change: (journal: StoredJournal) => journal.setState('progress', { at: 3 }),
    after: before,
  },
} as const;

/** Repeats a change. Each time, one storage call of the change fails. `check` gets the error that the change threw. */
async function everyCall<Prepared>(
  prepare: () => Promise<Prepared>,
  change: (prepared: Prepared) => Promise<unknown>,
  check: (prepared: Prepared, failed: boolean, where: string) => Promise<void>,
): Promise<{ tried: number; rejected: number }> {
  let tried = 0;
  let rejected = 0;
  for (const fault of FAULTS)
    for (let at = 0; ; at++) {
      const prepared = await prepare();
      const calls = failCall(at, fault);
      const thrown = await change(prepared).then(
        () => undefined,
        (reason: unknown) => reason ?? 'undefined',
      );
      const made = calls();
      restore!();
      const where = `${fault}, call ${at} of ${made}: ${String(thrown)}`;
      if (thrown !== undefined) {
        rejected += 1;
        expect(thrown, where).toBeInstanceOf(IndexError);
        expect((thrown as IndexError).code, where).toMatch(/^INDEX_(QUOTA|STORAGE|DAMAGED)$/);
      }
      await check(prepared, thrown !== undefined, where);
      if (made <= at) break;
      tried += 1;
    }
  return { tried, rejected };
}

const { createWritable } = FileSystemFileHandle.prototype;

describe.each(['files', 'the Cache API'])('an index in %s', (kind) => {
  beforeEach(() => {
    if (kind !== 'files') Object.assign(FileSystemFileHandle.prototype, { createWritable: undefined });
  });
  afterEach(() => {
    Object.assign(FileSystemFileHandle.prototype, { createWritable });
  });

  test.each(Object.entries(changes))('%s', { timeout: 600_000 }, async (_, { change, after }) => {
    const { tried, rejected } = await everyCall(fresh, change, async (journal, failed, where) => {
      // The same journal goes on.
      await journal.commit([put('next')]);
      await journal.close();
      const { next, ...found } = await kept();
      expect(next, where).toBe(0);
      expect([after, ...(failed ? [before] : [])], where).toContainEqual(found);
      // What the failure left is removed when the index is opened, and no temporary file stays.
      const names = await files();
      expect(
        names.filter((name) => name.endsWith('.crswap')),
        where,
      ).toEqual([]);
      await kept();
      expect(await files(), where).toEqual(names);
    });
    expect(tried).toBeGreaterThan(8);
    expect(rejected).toBeGreaterThan(1);
  });

  test('opening', { timeout: 600_000 }, async () => {
    const { tried } = await everyCall(
      async () => (await fresh()).close(),
      async () => (await openJournal(NAME, header)).close(),
      async (_, __, where) => expect(await kept(), where).toEqual(before),
    );
    expect(tried).toBeGreaterThan(10);
  });

  test('a deletion', { timeout: 600_000 }, async () => {
    const { tried } = await everyCall(
      async () => (await fresh()).close(),
      () => deleteIndex(NAME),
      async (_, failed, where) => {
        const journal = await openJournal(NAME, header);
        const found = versionsOf(await readAll(journal.items()));
        await journal.close();
        expect([{}, ...(failed ? [before] : [])], where).toContainEqual(found);
        expect(await deleteIndex(NAME), where).toBe(true);
        expect(await listIndexes(), where).toEqual([]);
        expect(await files(), where).toEqual([]);
      },
    );
    expect(tried).toBeGreaterThan(10);
  });
});
