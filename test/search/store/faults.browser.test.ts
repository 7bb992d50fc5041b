// Storage that is missing, refuses access, fails midway or never answers.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { IndexError } from '../../../src/errors.ts';
import type { Change } from '../../../src/search/journal.ts';
import { deleteIndex, listIndexes } from '../../../src/search/store/catalogue.ts';
import { openJournal } from '../../../src/search/store/openJournal.ts';
import type { StoredJournal } from '../../../src/search/store/storedJournal.ts';
import { faultOf, header, makeItem, readAll, versionsOf } from './items.ts';

const journals: StoredJournal[] = [];
const open = async (name = 'faulty'): Promise<StoredJournal> => {
  const journal = await openJournal(name, header);
  journals.push(journal);
  return journal;
};
const put = (id: string, version = 0): Change => ({ put: makeItem(id, version) });
const kept = async (name?: string): Promise<Record<string, number>> => {
  const journal = await open(name);
  const items = await readAll(journal.items());
  expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  await journal.close();
  return versionsOf(items);
};
const errorOf = async (work: Promise<unknown>): Promise<IndexError> => {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof IndexError) return error;
  throw new Error(`expected an IndexError, found ${String(error)}`);
};
const forget = async (): Promise<void> => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  for (const journal of journals.splice(0)) await journal.close();
  for (const { name } of await listIndexes()) await deleteIndex(name);
};
beforeEach(forget);
afterEach(forget);

const filesOf = async (): Promise<string[]> => {
  const names: string[] = [];
  const root = await (
    await navigator.storage.getDirectory()
  ).getDirectoryHandle('dinov2-webgpu-search', { create: true });
  for await (const folder of root.values())
    for await (const name of (folder as FileSystemDirectoryHandle).keys()) names.push(name);
  return names;
};
const full = (): DOMException => new DOMException('full', 'QuotaExceededError');

test('an index opens before the persistence prompt is answered', async () => {
  vi.spyOn(navigator.storage, 'persist').mockReturnValue(new Promise(() => undefined));
  const journal = await openJournal('faulty', header, { persist: true });
  journals.push(journal);
  await journal.commit([put('a')]);
  await journal.close();
  expect(await kept('faulty')).toEqual({ a: 0 });
});

test('an index that the browser evicted is a new one, and says so', async () => {
  const created = async (): Promise<boolean> => {
    const journal = await open();
    await journal.close();
    return journal.created;
  };
  expect(await created()).toBe(true);
  expect(await created()).toBe(false);
  // An eviction removes the database and the files of the origin.
  indexedDB.deleteDatabase((await indexedDB.databases()).find(({ name }) => name?.includes('faulty'))!.name!);
  const origin = await navigator.storage.getDirectory();
  await origin.removeEntry('dinov2-webgpu-search', { recursive: true });
  expect(await created()).toBe(true);
  expect(await created()).toBe(false);
});

describe('no storage for an index', () => {
  test('no IndexedDB, neither file system nor Cache API, or no locks: an error, and nothing is created', async () => {
    const { locks } = navigator;
    vi.spyOn(navigator, 'locks', 'get').mockReturnValue(undefined as never);
    expect(await errorOf(open())).toMatchObject({
      code: 'INDEX_STORAGE',
      message: expect.stringContaining('Web Locks are missing'),
    });
    vi.spyOn(navigator, 'locks', 'get').mockReturnValue(locks);
    vi.stubGlobal('caches', undefined);
    vi.spyOn(navigator.storage, 'getDirectory').mockRejectedValue(new DOMException('no', 'SecurityError'));
    expect(await errorOf(open())).toMatchObject({
      code: 'INDEX_STORAGE',
      message: expect.stringMatching(/SecurityError.*Cache API is missing/),
    });
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
    vi.stubGlobal('indexedDB', undefined);
    expect(await errorOf(open())).toMatchObject({
      code: 'INDEX_STORAGE',
      message: expect.stringContaining('IndexedDB is missing'),
    });
    vi.unstubAllGlobals();
    expect(await listIndexes()).toEqual([]);
  });

  test('IndexedDB is not allowed', async () => {
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(() => {
      throw new DOMException('not here', 'SecurityError');
    });
    expect(await errorOf(open())).toMatchObject({
      code: 'INDEX_STORAGE',
      message: expect.stringContaining('not allowed (not here)'),
    });
  });

  test('without a file system the Cache API holds the files, and continues to', async () => {
    const method = FileSystemFileHandle.prototype.createWritable;
    Object.assign(FileSystemFileHandle.prototype, { createWritable: undefined });
    try {
      const journal = await open();
      for (let i = 0; i < 4; i++) await journal.commit([put(`a${i}`), put(`b${i}`)]);
      await journal.commit([{ remove: 'a1' }]);
      await journal.compact();
      await journal.close();
      expect(Object.keys(await kept())).toHaveLength(7);
    } finally {
      Object.assign(FileSystemFileHandle.prototype, { createWritable: method });
    }
    expect(await filesOf()).toEqual([]);
    expect(Object.keys(await kept())).toHaveLength(7); // the browser can write files by now
    expect(await deleteIndex('faulty')).toBe(true);
    expect(await (await caches.open('dinov2-webgpu-search')).keys()).toEqual([]);
  });
});

describe('a lost database connection', () => {
  test.each([1, 2, 3])('lost %i times in a row: reopened, nothing is lost', async (times) => {
    const journal = await open();
    await journal.commit([put('a')]);
    const spy = vi.spyOn(IDBDatabase.prototype, 'transaction');
    for (let i = 0; i < times; i++) {
      spy.mockImplementationOnce(() => {
        throw new DOMException('The database connection is closing.', 'InvalidStateError');
      });
    }
    await journal.commit([put('b')]);
    expect(await journal.thumbnail('b')).toBeDefined();
    await journal.close();
    expect(await kept()).toEqual({ a: 0, b: 0 });
  });

  test('lost permanently: an error, and the stored items are intact', async () => {
    const journal = await open();
    await journal.commit([put('a')]);
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(() => {
      throw new DOMException(
        'Connection to Indexed Database server lost. Refresh the page to try again',
        'UnknownError',
      );
    });
    expect(await errorOf(journal.commit([put('b')]))).toMatchObject({
      code: 'INDEX_STORAGE',
      message: expect.stringContaining('server lost'),
    });
    vi.restoreAllMocks();
    await journal.commit([put('c')]);
    await journal.close();
    expect(await kept()).toEqual({ a: 0, c: 0 });
  });

  test('it cannot be opened again, for another reason: an error, and the next change tries again', async () => {
    const journal = await open();
    await journal.commit([put('a')]);
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementationOnce(() => {
      throw new DOMException('The database connection is closing.', 'InvalidStateError');
    });
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementationOnce(() => {
      throw full();
    });
    expect((await errorOf(journal.commit([put('b')]))).code).toBe('INDEX_QUOTA');
    await journal.commit([put('c')]);
    await journal.close();
    expect(await kept()).toEqual({ a: 0, c: 0 });
  });

  test('opening fails twice', async () => {
    const original = IDBFactory.prototype.open;
    let failures = 2;
    vi.spyOn(IDBFactory.prototype, 'open').mockImplementation(function (this: IDBFactory, ...given) {
      if (failures-- > 0)
        throw new DOMException('Internal error opening backing store for indexedDB.open.', 'UnknownError');
      return original.apply(this, given);
    });
    const journal = await open();
    await journal.commit([put('a')]);
    await journal.close();
    expect(await kept()).toEqual({ a: 0 });
  });

  /**
   * Completes the transaction on disk but reports an abort to the page, as a browser does if its connection
   * breaks in between.
   */
  const loseAnswer = (times: number): void => {
    const original = IDBDatabase.prototype.transaction;
    let left = times;
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...given) {
      const transaction = original.apply(this, given);
      if (given[1] === 'readwrite' && left-- > 0) {
        transaction.addEventListener('complete', (event) => {
          event.stopImmediatePropagation();
          transaction.dispatchEvent(new Event('abort'));
        });
      }
      return transaction;
    });
  };

  test.each([1, 3])(
    'lost after writing, %i times: the commit is recognized, and not applied again',
    async (times) => {
      const journal = await open();
      await journal.commit([put('a'), put('b')]);
      loseAnswer(times);
      await journal.commit([put('a', 1), { remove: 'b' }, put('c')]);
      vi.restoreAllMocks();
      await journal.commit([put('d')]);
      expect((await journal.usage()).items).toBe(3);
      await journal.close();
      expect(await kept()).toEqual({ a: 1, c: 0, d: 0 });
    },
  );

  test('lost after writing, permanently: the commit is stored, keeps its files, and the tab is notified', async () => {
    const journal = await open();
    await journal.commit([put('before')]); // after this, the next write transaction is that of a commit
    const heard: string[] = [];
    journal.watch((changes) =>
      heard.push(...changes.map((change) => ('put' in change ? change.put.id : change.remove))),
    );
    const original = IDBDatabase.prototype.transaction;
    loseAnswer(1);
    const once = vi.mocked(IDBDatabase.prototype.transaction).getMockImplementation()!;
    let broken = false;
    vi.spyOn(IDBDatabase.prototype, 'transaction').mockImplementation(function (this: IDBDatabase, ...given) {
      if (broken) throw new DOMException('lost', 'UnknownError');
      broken = given[1] === 'readwrite';
      return once.apply(this, given);
    });
    expect((await errorOf(journal.commit([put('a')]))).code).toBe('INDEX_STORAGE');
    vi.restoreAllMocks();
    expect(IDBDatabase.prototype.transaction).toBe(original);
    await journal.commit([put('b')]);
    expect(heard).toEqual(['a']);
    await journal.close();
    expect(await kept()).toEqual({ before: 0, a: 0, b: 0 });
  });

  test('files cannot be listed: an error, and nothing is stored', async () => {
    const journal = await open();
    vi.spyOn(FileSystemDirectoryHandle.prototype, 'keys').mockImplementation(() => {
      throw new DOMException('gone', 'NotReadableError');
    });
    expect((await errorOf(journal.commit([put('a')]))).code).toBe('INDEX_STORAGE');
    vi.restoreAllMocks();
    await journal.commit([put('b')]);
    await journal.close();
    expect(await kept()).toEqual({ b: 0 });
  });

  test('another page upgrades or deletes the database: this page closes its connection', async () => {
    const journal = await open();
    await journal.commit([put('a')]);
    await new Promise<void>((resolve, reject) => {
      const upgrading = indexedDB.open('dinov2-webgpu-search/faulty', 2);
      upgrading.onsuccess = () => resolve(upgrading.result.close());
      upgrading.onblocked = () => reject(new Error('blocked'));
      upgrading.onerror = () => reject(upgrading.error as Error);
    });
    expect((await errorOf(journal.commit([put('b')]))).code).toBe('INDEX_NEWER');
    expect(await filesOf()).toHaveLength(1);
  });

  test('a page that keeps its connection blocks a deletion; the index is deleted after that page closes', async () => {
    const journal = await open();
    await journal.commit([put('a')]);
    await journal.close();
    const holder = await new Promise<IDBDatabase>((resolve) => {
      const opening = indexedDB.open('dinov2-webgpu-search/faulty');
      opening.onsuccess = () => resolve(opening.result);
    });
    expect(await errorOf(deleteIndex('faulty'))).toMatchObject({
      code: 'INDEX_BLOCKED',
      message: expect.stringContaining('Close the other tabs'),
    });
    holder.close();
    expect(await kept()).toEqual({});
  });
});

describe('storage quota exceeded', () => {
  test.each([
    [
      'a file is opened',
      () => vi.spyOn(FileSystemFileHandle.prototype, 'createWritable').mockRejectedValueOnce(full()),
    ],
    [
      'a file is written',
      () => vi.spyOn(FileSystemWritableFileStream.prototype, 'write').mockRejectedValueOnce(full()),
    ],
    [
      'a file is closed',
      () => vi.spyOn(FileSystemWritableFileStream.prototype, 'close').mockRejectedValueOnce(full()),
    ],
    [
      'a folder entry is made',
      () => vi.spyOn(FileSystemDirectoryHandle.prototype, 'getFileHandle').mockRejectedValueOnce(full()),
    ],
    [
      'a row is put',
      () =>
        vi.spyOn(IDBObjectStore.prototype, 'put').mockImplementationOnce(() => {
          throw full();
        }),
    ],
  ])('when %s', async (_, fault) => {
    const journal = await open();
    await journal.commit([put('a'), put('b')]);
    fault();
    const error = await errorOf(journal.commit([put('a', 1), put('c')]));
    expect(error).toMatchObject({
      code: 'INDEX_QUOTA',
      message: expect.stringContaining('Nothing of this change was made'),
    });
    expect(error.need).toBeGreaterThan(500);
    expect(error.have).toBeGreaterThan(0);
    vi.restoreAllMocks();
    expect(await filesOf()).toHaveLength(1);
    await journal.commit([put('d')]);
    await journal.close();
    expect(await kept()).toEqual({ a: 0, b: 0, d: 0 });
  });

  test('a file cannot be written for another reason', async () => {
    const journal = await open();
    await journal.commit([put('a')]);
    vi.spyOn(FileSystemWritableFileStream.prototype, 'write').mockRejectedValueOnce(
      new DOMException('disk', 'InvalidStateError'),
    );
    expect(await errorOf(journal.commit([put('b')]))).toMatchObject({
      code: 'INDEX_STORAGE',
      message: expect.stringContaining('could not be written'),
    });
    expect(await filesOf()).toHaveLength(1);
    await journal.close();
    expect(await kept()).toEqual({ a: 0 });
  });

  test('a compaction without room changes nothing', async () => {
    const journal = await open();
    for (let i = 0; i < 5; i++) await journal.commit([put(`a${i}`)]);
    const before = (await filesOf()).sort();
    vi.spyOn(FileSystemWritableFileStream.prototype, 'close').mockRejectedValueOnce(full());
    expect((await errorOf(journal.compact())).code).toBe('INDEX_QUOTA');
    expect((await filesOf()).sort()).toEqual(before);
    await journal.compact();
    expect(await filesOf()).toHaveLength(1);
    await journal.close();
    expect(Object.keys(await kept())).toHaveLength(5);
  });

  test('files that cannot be removed are removed when the index is opened next', async () => {
    const journal = await open();
    for (let i = 0; i < 3; i++) await journal.commit([put(`a${i}`)]);
    vi.spyOn(FileSystemDirectoryHandle.prototype, 'removeEntry').mockRejectedValue(
      new DOMException('locked', 'NoModificationAllowedError'),
    );
    await journal.compact();
    expect(await filesOf()).toHaveLength(4);
    vi.restoreAllMocks();
    await journal.close();
    expect(Object.keys(await kept())).toHaveLength(3);
    expect(await filesOf()).toHaveLength(1);
  });
});
