// Guarantees of the store for a stored index, in Chromium.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { IndexError } from '../../../src/errors.ts';
import type { Change, IndexHeader } from '../../../src/search/journal.ts';
import { deleteIndex, listIndexes } from '../../../src/search/store/catalogue.ts';
import { openJournal, type JournalOptions } from '../../../src/search/store/openJournal.ts';
import type { StoredJournal } from '../../../src/search/store/storedJournal.ts';
import { faultOf, header, makeItem, readAll, versionsOf } from './items.ts';

const open: StoredJournal[] = [];
const journal = async (
  name = 'photos',
  options?: JournalOptions,
  given: IndexHeader = header,
): Promise<StoredJournal> => {
  const made = await openJournal(name, given, options);
  open.push(made);
  return made;
};
const closeAll = async (): Promise<void> => {
  for (const each of open.splice(0)) await each.close();
};
const put = (id: string, version = 0, options?: Parameters<typeof makeItem>[2]): Change => ({
  put: makeItem(id, version, options),
});
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof IndexError ? error.code : error),
  );

/** Names of the segment files of all indexes. */
async function filesOf(): Promise<string[]> {
  const names: string[] = [];
  const root = await (
    await navigator.storage.getDirectory()
  ).getDirectoryHandle('dinov2-webgpu-search', { create: true });
  for await (const folder of root.values())
    for await (const name of (folder as FileSystemDirectoryHandle).keys()) names.push(name);
  return names.sort();
}

const forget = async (): Promise<void> => {
  await closeAll();
  for (const { name } of await listIndexes()) await deleteIndex(name);
};
beforeEach(forget);
afterEach(forget);

describe('a stored index', () => {
  test('can be reopened, with items in insertion order and thumbnails on demand', async () => {
    const first = await journal();
    expect(await readAll(first.items())).toEqual([]);
    await first.commit([put('b'), put('a')]);
    await first.commit([put('c', 0, { patches: false, thumbnail: false })]);
    await first.close();
    const second = await journal();
    expect(second.header).toEqual(header);
    const items = await readAll(second.items());
    expect(items.map(({ id }) => id)).toEqual(['b', 'a', 'c']);
    expect(items.slice(0, 2).map((item) => faultOf(item))).toEqual([undefined, undefined]);
    expect(faultOf(items[2]!, { patches: false })).toBeUndefined();
    const thumbnail = (await second.thumbnail('a'))!;
    expect(thumbnail.type).toBe('image/webp');
    expect(await thumbnail.arrayBuffer()).toEqual(await makeItem('a').thumbnail!.arrayBuffer());
    expect(await second.thumbnail('c')).toBeUndefined();
    expect(await second.thumbnail('nobody')).toBeUndefined();
  });

  test('updates and removals are stored; an update without a thumbnail keeps the old one', async () => {
    const first = await journal();
    await first.commit(['a', 'b', 'c', 'd'].map((id) => put(id)));
    await first.commit([put('b', 1, { thumbnail: false }), { remove: 'a' }, { remove: 'nobody' }]);
    await first.commit([{ remove: 'c' }, put('c', 2, { thumbnail: false })]);
    await first.commit([put('e'), { remove: 'e' }, put('d', 1), put('d', 2, { thumbnail: false })]);
    await first.close();
    const second = await journal();
    expect(versionsOf(await readAll(second.items()))).toEqual({ b: 1, c: 2, d: 2 });
    expect(await (await second.thumbnail('b'))!.arrayBuffer()).toEqual(
      await makeItem('b', 0).thumbnail!.arrayBuffer(),
    );
    expect(await second.thumbnail('c')).toBeUndefined();
    expect(await (await second.thumbnail('d'))!.arrayBuffer()).toEqual(
      await makeItem('d', 1).thumbnail!.arrayBuffer(),
    );
    expect(await second.thumbnail('a')).toBeUndefined();
    expect((await second.usage()).items).toBe(3);
  });

  test('files without items are removed at once; compaction merges many files into one', async () => {
    const first = await journal();
    for (let i = 0; i < 12; i++) await first.commit([put(`item ${i}`), put(`other ${i}`)]);
    expect(await filesOf()).toHaveLength(12);
    for (let i = 0; i < 3; i++) await first.commit([put(`item ${i}`, 1), put(`other ${i}`, 1)]);
    expect(await filesOf()).toHaveLength(12);
    await first.commit(
      [0, 1, 2, 3, 4, 5].flatMap((i) => [{ remove: `item ${i}` }, { remove: `other ${i}` }]),
    );
    expect(await filesOf()).toHaveLength(7); // six with items, and one that records the removals
    await first.commit([{ remove: 'item 6' }]);
    expect((await first.usage()).wastedBytes).toBeGreaterThan(0);
    await first.compact();
    expect(await filesOf()).toHaveLength(1);
    expect(await first.usage()).toMatchObject({ items: 11, wastedBytes: 0 });
    await first.commit([put('later')]);
    await first.compact();
    await first.compact();
    await first.close();
    const items = await readAll((await journal()).items());
    expect(items.map(({ id }) => id)).toEqual([
      'other 6',
      ...[7, 8, 9, 10, 11].flatMap((i) => [`item ${i}`, `other ${i}`]),
      'later',
    ]);
    expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  });

  test('many single adds make few files, all intact', async () => {
    // A commit takes ten times as long in Firefox as in Chromium.
    const adds = navigator.userAgent.includes('Firefox') ? 60 : 300;
    const first = await journal();
    await Promise.all(Array.from({ length: adds }, (_, i) => first.commit([put(String(i))])));
    await first.close();
    expect((await filesOf()).length).toBeLessThan(adds === 300 ? 64 : 32);
    const items = await readAll((await journal()).items());
    expect(items.map(({ id }) => id)).toEqual(Array.from({ length: adds }, (_, i) => String(i)));
    expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  });

  test('state stored with the index', async () => {
    const first = await journal();
    await first.setState('folder', { handle: await navigator.storage.getDirectory(), at: 3 });
    await first.close();
    const second = await journal();
    expect(await second.getState('folder')).toMatchObject({
      at: 3,
      handle: expect.any(FileSystemDirectoryHandle),
    });
    await second.setState('folder', undefined);
    expect(await second.getState('folder')).toBeUndefined();
  });

  test('commits started before close() are stored; later calls throw INDEX_DISPOSED', async () => {
    const first = await journal();
    const going = Promise.all([first.commit([put('a')]), first.commit([put('b')])]);
    await first.close();
    await going;
    expect(await codeOf(first.commit([put('c')]))).toBe('INDEX_DISPOSED');
    expect(await codeOf(first.thumbnail('a'))).toBe('INDEX_DISPOSED');
    expect(await codeOf(readAll(first.items()))).toBe('INDEX_DISPOSED');
    expect(versionsOf(await readAll((await journal()).items()))).toEqual({ a: 0, b: 0 });
  });

  test('a failed commit writes nothing', async () => {
    const first = await journal();
    const bad = { put: { ...makeItem('b'), metadata: { deep: 1n } } };
    await expect(first.commit([put('a'), bad])).rejects.toThrow(TypeError);
    await expect(
      first.commit(() => {
        throw new Error('not this one');
      }),
    ).rejects.toThrow('not this one');
    await first.commit([put('c')]);
    await first.close();
    expect(versionsOf(await readAll((await journal()).items()))).toEqual({ c: 0 });
    expect(await filesOf()).toHaveLength(1);
  });
});

describe('several tabs', () => {
  test('are notified of changes, in order', async () => {
    const [first, second] = [await journal(), await journal()];
    const heard: Change[] = [];
    second.watch((changes) => heard.push(...changes));
    await first.commit([put('a'), put('b')]);
    await first.commit([put('a', 1), { remove: 'b' }]);
    await first.commit([put('c')]);
    await expect.poll(() => heard.some((change) => 'put' in change && change.put.id === 'c')).toBe(true);
    const state = new Map<string, number>();
    for (const change of heard) {
      if ('put' in change) {
        expect(faultOf(change.put)).toBeUndefined();
        state.set(change.put.id, (change.put.metadata as { version: number }).version);
      } else state.delete(change.remove);
    }
    expect(Object.fromEntries(state)).toEqual({ a: 1, c: 0 });
  });

  test('a tab receives the commits of other tabs before it computes its own changes', async () => {
    const [first, second] = [await journal(), await journal()];
    const ids = new Set<string>();
    second.watch((changes) =>
      changes.forEach((change) => ('put' in change ? ids.add(change.put.id) : ids.delete(change.remove))),
    );
    await first.commit([put('a')]);
    const add = (): Change[] => {
      if (ids.has('a')) throw new Error('there already');
      return [put('a', 7)];
    };
    await expect(second.commit(add)).rejects.toThrow('there already');
    await second.commit(() => Promise.resolve([...ids].map((id) => put(id, 1)))); // exactly the ids from other tabs
    await second.close();
    expect(versionsOf(await readAll((await journal()).items()))).toEqual({ a: 1 });
  });

  test('changes committed between opening and watching are reported', async () => {
    const [first, second] = [await journal(), await journal()];
    await first.commit([put('a')]);
    expect(await readAll(second.items())).toEqual([]);
    await first.commit([put('b')]);
    const heard: string[] = [];
    second.watch((changes) =>
      heard.push(...changes.map((change) => ('put' in change ? change.put.id : change.remove))),
    );
    await expect.poll(() => heard).toEqual(['a', 'b']);
  });

  test('a reader continues while another tab compacts and removes', async () => {
    const first = await journal();
    for (let i = 0; i < 10; i++) await first.commit([put(`${i} a`), put(`${i} b`)]);
    const second = await journal();
    const found: string[] = [];
    const heard: string[] = [];
    second.watch((changes) =>
      heard.push(...changes.map((change) => ('put' in change ? `+${change.put.id}` : `-${change.remove}`))),
    );
    for await (const item of second.items()) {
      expect(faultOf(item)).toBeUndefined();
      found.push(item.id);
      if (found.length === 3) {
        await first.commit([{ remove: '9 a' }, { remove: '0 a' }, put('5 b', 1)]);
        await first.compact();
        expect(await filesOf()).toHaveLength(1);
      }
    }
    expect(found).toEqual(
      Array.from({ length: 10 }, (_, i) => [`${i} a`, `${i} b`])
        .flat()
        .filter((id) => id !== '9 a' && id !== '5 b'),
    );
    await expect.poll(() => heard.sort()).toEqual(['+5 b', '-0 a', '-9 a']);
    await second.commit([put('5 b', 2)]);
    await second.close();
    await first.close();
    expect(Object.keys(versionsOf(await readAll((await journal()).items())))).toHaveLength(18);
  });

  test('a tab that is too far behind compares all items', async () => {
    const first = await journal();
    await first.commit(
      Array.from({ length: 1500 }, (_, i) => put(String(i), 0, { patches: false, thumbnail: false })),
    );
    const second = await journal();
    await readAll(second.items());
    await first.commit(Array.from({ length: 1400 }, (_, i) => ({ remove: String(i) })));
    await first.commit([put('new')]);
    await first.compact(); // discards most removal records
    const left = new Set(Array.from({ length: 1500 }, (_, i) => String(i)));
    second.watch((changes) =>
      changes.forEach((change) => ('put' in change ? left.add(change.put.id) : left.delete(change.remove))),
    );
    await expect.poll(() => left.size).toBe(101);
    expect([...left].sort()).toEqual(
      [...Array.from({ length: 100 }, (_, i) => String(1400 + i)), 'new'].sort(),
    );
    expect((await second.usage()).items).toBe(101);
  });

  test('a deleted index is gone for other tabs, and they do not create it again', async () => {
    const [first, second] = [await journal(), await journal('other')];
    await first.commit([put('a')]);
    await second.commit([put('b')]);
    expect(await deleteIndex('photos')).toBe(true);
    expect(await deleteIndex('photos')).toBe(false);
    expect(await codeOf(first.commit([put('c')]))).toBe('INDEX_GONE');
    expect((await listIndexes()).map(({ name }) => name)).toEqual(['other']);
    const again = await journal();
    expect(await readAll(again.items())).toEqual([]);
    expect(await codeOf(first.commit([put('c')]))).toBe('INDEX_GONE');
    expect(versionsOf(await readAll(second.items()))).toEqual({}); // as it was when opened
    expect((await second.usage()).items).toBe(1);
  });
});

test('the same model under another name can open the index, which keeps the original name', async () => {
  const first = await journal();
  await first.commit([put('a')]);
  const second = await journal(
    'photos',
    {},
    { ...header, model: { ...header.model!, id: 'what I call it' } },
  );
  expect(second.header).toEqual(header);
  await second.commit([put('b'), { remove: 'a' }]);
  await first.commit([put('c')]);
  expect(versionsOf(await readAll((await journal()).items()))).toEqual({ b: 0, c: 0 });
});

describe('refused openings', () => {
  const { model } = header;
  test.each([
    [
      'another model',
      { ...header, model: { ...model!, id: 'facebook/dinov2-base', fingerprint: 'f'.repeat(64) } },
      'INDEX_MODEL',
      /dinov2-base.*dinov2-small/,
    ],
    [
      'other preprocessing',
      { ...header, model: { ...model!, preprocessing: 'fit 518, mean' } },
      'INDEX_MODEL',
      /fit 518, mean.*crop 224/,
    ],
    ['no model', { ...header, model: undefined }, 'INDEX_MODEL', /no model/],
    ['another dim', { ...header, dim: 32 }, 'INDEX_HEADER', /expected dim 32, found dim 16/],
    ['another metric', { ...header, metric: 'dot' as const }, 'INDEX_HEADER', /metric/],
    [
      'another storage',
      { ...header, storage: 'int8' as const, patches: 'none' as const },
      'INDEX_HEADER',
      /expected storage "int8", patches "none", found storage "f32", patches "f16"/,
    ],
  ])('%s', async (_, wanted, code, message) => {
    const first = await journal();
    await first.commit([put('a')]);
    await expect(journal('photos', {}, wanted)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(versionsOf(await readAll((await journal()).items()))).toEqual({ a: 0 });
  });

  test('an index of a newer version, which stays unchanged', async () => {
    await new Promise<void>((resolve, reject) => {
      const opening = indexedDB.open('dinov2-webgpu-search/new', 2);
      opening.onupgradeneeded = () => opening.result.createObjectStore('whatever').put('precious', 'key');
      opening.onsuccess = () => resolve(opening.result.close());
      opening.onerror = () => reject(opening.error as Error);
    });
    expect(await codeOf(journal('new'))).toBe('INDEX_NEWER');
    expect(await codeOf(journal('new', { repair: 'drop' }))).toBe('INDEX_NEWER');
    expect(await listIndexes()).toMatchObject([{ name: 'new', condition: 'newer' }]);
    const kept = await new Promise((resolve, reject) => {
      const opening = indexedDB.open('dinov2-webgpu-search/new');
      opening.onsuccess = () => {
        const asking = opening.result.transaction('whatever').objectStore('whatever').get('key');
        asking.onsuccess = () => (opening.result.close(), resolve(asking.result));
      };
      opening.onerror = () => reject(opening.error as Error);
    });
    expect(kept).toBe('precious');
    expect(await deleteIndex('new')).toBe(true);
    expect(await listIndexes()).toEqual([]);
  });

  test('invalid names; all other names work', async () => {
    for (const name of ['', 'x'.repeat(201), '\ud800'])
      expect(await codeOf(journal(name))).toBe('INDEX_NAME');
    for (const name of ['..', 'a/b\\c:*?', 'CON', '\u{1F600}', 'x'.repeat(200), '__proto__']) {
      const made = await journal(name);
      await made.commit([put(name)]);
      await made.close();
      expect(versionsOf(await readAll((await journal(name)).items()))[name]).toBe(0);
    }
    expect(await listIndexes()).toHaveLength(6);
  });

  test('an opening that is aborted while another tab holds the lock', async () => {
    const controller = new AbortController();
    await navigator.locks.request('dinov2-webgpu search photos', async () => {
      const waiting = journal('photos', { signal: controller.signal });
      controller.abort(new Error('enough'));
      await expect(waiting).rejects.toThrow();
    });
    await journal();
  });
});
