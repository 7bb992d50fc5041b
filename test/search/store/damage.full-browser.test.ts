// Damage to a stored index: flipped bits, missing files and missing rows are detected and named, and intact
// items are kept.
import { openDB, type IDBPDatabase } from 'idb';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { CacheFolder } from '../../../src/storage/store.ts';
import { IndexError } from '../../../src/errors.ts';
import { deleteIndex, folderKey, listIndexes } from '../../../src/search/store/catalogue.ts';
import type { Context } from '../../../src/search/store/context.ts';
import { Database } from '../../../src/search/store/database.ts';
import {
  inspectFiles,
  inspectRows,
  isDamaged,
  readRows,
  type Rows,
} from '../../../src/search/store/inspect.ts';
import { openJournal, type JournalOptions } from '../../../src/search/store/openJournal.ts';
import {
  headerText,
  isHeader,
  sealHeader,
  Seals,
  thumbnailChecksum,
  type HeaderRow,
  type Schema,
  type ThumbnailRow,
} from '../../../src/search/store/rows.ts';
import { SegmentFiles } from '../../../src/search/store/segments.ts';
import type { StoredJournal } from '../../../src/search/store/storedJournal.ts';
import { Random } from '../../random.ts';
import { faultOf, header, makeItem, readAll, versionsOf } from './items.ts';

const FLIPS = 10_000;
const NAME = 'damaged';
const IDS = Array.from({ length: 12 }, (_, i) => `item ${i}`);

const journals: StoredJournal[] = [];
const open = async (options?: JournalOptions): Promise<StoredJournal> => {
  const journal = await openJournal(NAME, header, options);
  journals.push(journal);
  return journal;
};
const closeAll = async (): Promise<void> => {
  for (const journal of journals.splice(0)) await journal.close();
};
const folder = async (): Promise<FileSystemDirectoryHandle> =>
  (
    await (await navigator.storage.getDirectory()).getDirectoryHandle('dinov2-webgpu-search')
  ).getDirectoryHandle(await folderKey(NAME));

async function files(): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const found = new Map<string, Uint8Array<ArrayBuffer>>();
  for await (const [name, handle] of (await folder()).entries())
    found.set(name, new Uint8Array(await (await (handle as FileSystemFileHandle).getFile()).arrayBuffer()));
  return found;
}

async function writeFile(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const writable = await (await (await folder()).getFileHandle(name, { create: true })).createWritable();
  await writable.write(bytes);
  await writable.close();
}

async function change<T>(task: (db: IDBPDatabase<Schema>) => Promise<T>): Promise<T> {
  const db = await openDB<Schema>(`dinov2-webgpu-search/${NAME}`);
  try {
    return await task(db);
  } finally {
    db.close();
  }
}

/** Stores twelve items in four files. One file results from a merge; some items were replaced or removed. */
async function fill(): Promise<void> {
  const journal = await open();
  for (let i = 0; i < 12; i += 4)
    await journal.commit(IDS.slice(i, i + 4).map((id) => ({ put: makeItem(id) })));
  await journal.commit([{ put: makeItem('gone') }, { put: makeItem('item 3', 1) }]);
  await journal.commit([{ remove: 'gone' }]);
  await journal.compact();
  await journal.commit([{ put: makeItem('item 5', 1) }, { put: makeItem('item 6', 1) }]);
  await journal.commit([{ put: makeItem('item 7', 1) }]);
  await closeAll();
}

const forget = async (): Promise<void> => {
  await closeAll();
  for (const { name } of await listIndexes()) await deleteIndex(name);
};
beforeEach(async () => {
  await forget();
  await fill();
});
afterEach(forget);

const errorOf = async (work: () => Promise<unknown>): Promise<IndexError> => {
  try {
    await work();
  } catch (error) {
    if (error instanceof IndexError) return error;
    throw error;
  }
  throw new Error('expected an IndexError, found none');
};
const opening = async (): Promise<void> => void (await readAll((await open()).items()));

test('the test data is intact', async () => {
  const journal = await open();
  expect(journal.dropped).toEqual([]);
  const items = await readAll(journal.items());
  expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  expect(versionsOf(items)).toEqual({
    ...Object.fromEntries(IDS.map((id) => [id, 0])),
    'item 3': 1,
    'item 5': 1,
    'item 6': 1,
    'item 7': 1,
  });
});

/** Flips one random bit of a value in a row. */
function flip(value: unknown, random: Random): unknown {
  if (typeof value === 'number') {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value);
    const bit = random.integer(0, 63);
    view.setUint8(bit >> 3, view.getUint8(bit >> 3) ^ (1 << (bit & 7)));
    return view.getFloat64(0);
  }
  if (typeof value === 'boolean') return !value;
  if (typeof value === 'string') {
    const at = random.integer(0, value.length - 1);
    return (
      value.slice(0, at) +
      String.fromCharCode(value.charCodeAt(at) ^ (1 << random.integer(0, 15))) +
      value.slice(at + 1)
    );
  }
  if (value instanceof ArrayBuffer) {
    const bytes = new Uint8Array(value.slice(0));
    bytes[random.integer(0, bytes.length - 1)]! ^= 1 << random.integer(0, 7);
    return bytes.buffer;
  }
  const keys = Object.keys(value as object).filter(
    (key) => ![undefined, ''].includes((value as Record<string, undefined>)[key]),
  );
  const key = keys[random.integer(0, keys.length - 1)]!;
  return { ...(value as object), [key]: flip((value as Record<string, unknown>)[key], random) };
}

test(`${FLIPS} flipped bits in files and rows are all detected`, { timeout: 300_000 }, async () => {
  const random = new Random(20261124);
  const database = new Database(NAME);
  const headerRow = (await database.open(undefined))!;
  const rows = await database.run(readRows);
  const thumbnails = await database.run(
    async (db) =>
      new Map(
        await Promise.all(
          (await db.getAllKeys('thumbnails')).map(
            async (id) => [id, (await db.get('thumbnails', id))!] as const,
          ),
        ),
      ),
  );
  const stored = await files();
  const seals = new Seals(headerText(header));
  // Checks a copy with one changed bit, using the store's own reading code.
  const damageOf = async (
    changed: Rows,
    bytes: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  ): Promise<boolean> => {
    const copy: CacheFolder = {
      read: async (name) => (bytes.has(name) ? new Blob([bytes.get(name)!]) : undefined),
      names: async () => [...bytes.keys()],
      write: async () => undefined,
      remove: async () => undefined,
    };
    const context: Context = {
      name: NAME,
      database,
      files: new SegmentFiles(NAME, copy),
      seals,
      header: headerText(header),
      tab: '',
      clean: true,
    };
    const found = inspectRows(changed, seals);
    return isDamaged(found) || isDamaged(await inspectFiles(context, changed.segments, found));
  };
  expect(await damageOf(rows, stored)).toBe(false);
  // All bytes of all files, except records that were replaced, because the store never reads these.
  const isLive = (name: string, at: number): boolean =>
    at >= rows.segments.find((row) => row.name === name)!.bytes ||
    rows.items.some(
      ({ segment, offset, vectorBytes, patches }) =>
        segment === name && at >= offset && at < offset + vectorBytes + (patches?.bytes ?? 0),
    );
  const fileBytes = [...stored].flatMap(([name, bytes]) =>
    Array.from(bytes, (_, i) => [name, i] as const).filter(([, at]) => isLive(name, at)),
  );
  const counts: Record<string, number> = {};
  const missed: string[] = [];
  let flips = 0;
  const one = async (region: string, noticed: () => Promise<boolean> | boolean): Promise<void> => {
    counts[region] = (counts[region] ?? 0) + 1;
    flips += 1;
    if (!(await noticed())) missed.push(region);
  };
  const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b); // differs only in the sign of zero
  while (flips < FLIPS) {
    const kind = random.integer(0, 9);
    if (kind < 5) {
      const [name, at] = fileBytes[random.integer(0, fileBytes.length - 1)]!;
      const bytes = stored.get(name)!.slice();
      bytes[at]! ^= 1 << random.integer(0, 7);
      await one('files', () => damageOf(rows, new Map([...stored, [name, bytes]])));
      continue;
    }
    const pick = (
      [
        ['items', rows.items],
        ['items', rows.items],
        ['removals', rows.removals],
        ['segments', rows.segments],
        ['state', [rows.state!]],
      ] as const
    )[random.integer(0, 4)]!;
    if (kind < 8) {
      const [region, list] = pick;
      const at = random.integer(0, list.length - 1);
      const changed = flip(list[at], random);
      if (same(changed, list[at])) continue;
      const next =
        region === 'state'
          ? { ...rows, state: changed }
          : { ...rows, [region]: list.map((row, i) => (i === at ? changed : row)) };
      await one(region, () => damageOf(next as Rows, stored));
    } else if (kind === 8) {
      const changed = flip(headerRow, random) as HeaderRow;
      if (!same(changed, headerRow)) await one('header', () => !isHeader(changed));
    } else {
      const row = rows.items[random.integer(0, rows.items.length - 1)]!;
      await one(
        'thumbnails',
        () => thumbnailChecksum(flip(thumbnails.get(row.id)!, random) as ThumbnailRow) !== row.thumbnail,
      );
    }
  }
  database.close();
  console.log(
    `flipped: ${Object.entries(counts)
      .map(([region, count]) => `${count} in ${region}`)
      .join(', ')}; not noticed: ${missed.length}`,
  );
  expect(Object.keys(counts).sort()).toEqual([
    'files',
    'header',
    'items',
    'removals',
    'segments',
    'state',
    'thumbnails',
  ]);
  expect(missed).toEqual([]);
});

test('flipped bits on disk: the error names the damaged items', { timeout: 120_000 }, async () => {
  const random = new Random(7);
  const rows = await change(readRows);
  for (let i = 0; i < 12; i++) {
    const row = rows.items[i]!;
    const name = row.segment;
    const bytes = (await files()).get(name)!;
    const flipped = bytes.slice();
    flipped[row.offset + random.integer(0, row.vectorBytes - 1)]! ^= 1 << random.integer(0, 7);
    await writeFile(name, flipped);
    const error = await errorOf(opening);
    expect(error).toMatchObject({
      code: 'INDEX_DAMAGED',
      items: [row.id],
      message: expect.stringContaining('11 items are intact'),
    });
    await closeAll();
    await writeFile(name, bytes);
    await opening();
    await closeAll();
  }
});

test('changed fields of the database row of an item are detected', { timeout: 60_000 }, async () => {
  const rows = await change(readRows);
  for (const [field, value] of [
    ['metadata', '{"name":"another.jpg"}'],
    ['id', 'item 99'],
    ['offset', 0],
    ['vectorBytes', 32],
    ['seal', 5],
  ] as const) {
    const row = rows.items[4]!;
    await change((db) => db.put('items', { ...row, [field]: value }));
    const error = await errorOf(opening);
    expect(error).toMatchObject({ code: 'INDEX_DAMAGED', items: [field === 'id' ? 'item 99' : row.id] });
    await closeAll();
    await change((db) => db.put('items', row));
  }
});

test('repair drops and lists damaged items, and the rest is a usable index', async () => {
  const rows = await change(readRows);
  const [lost, changed] = [rows.items[0]!, rows.items[5]!];
  const bytes = (await files()).get(lost.segment)!;
  bytes[lost.offset]! ^= 4;
  await writeFile(lost.segment, bytes);
  await change((db) => db.put('items', { ...changed, metadata: '{}' }));
  const error = await errorOf(opening);
  expect([...error.items].sort()).toEqual([lost.id, changed.id].sort());
  const journal = await open({ repair: 'drop' });
  expect([...journal.dropped].sort()).toEqual([lost.id, changed.id].sort());
  expect(Object.keys(versionsOf(await readAll(journal.items())))).toHaveLength(10);
  await journal.commit([{ put: makeItem(lost.id, 2) }, { remove: 'item 2' }]);
  await journal.compact();
  await closeAll();
  const again = await open();
  expect(again.dropped).toEqual([]);
  const items = await readAll(again.items());
  expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  expect(Object.keys(versionsOf(items))).toHaveLength(10);
  expect(versionsOf(items)[lost.id]).toBe(2);
});

test('a repair of an intact index changes nothing', async () => {
  const before = await change(readRows);
  const journal = await open({ repair: 'drop' });
  expect(journal.dropped).toEqual([]);
  await closeAll();
  expect(await change(readRows)).toEqual(before);
});

test('a tab with the open index is notified of the items that another tab dropped', async () => {
  const reader = await open();
  await readAll(reader.items());
  const removed: string[] = [];
  reader.watch((changes) => removed.push(...changes.flatMap((one) => ('remove' in one ? [one.remove] : []))));
  const row = (await change(readRows)).items[2]!;
  await change((db) => db.put('items', { ...row, metadata: '{}' }));
  const other = await open({ repair: 'drop' });
  await other.commit([{ put: makeItem('new') }]);
  await expect.poll(() => removed).toEqual([row.id]);
});

test('missing, truncated, extended or swapped files', { timeout: 60_000 }, async () => {
  const rows = await change(readRows);
  const stored = await files();
  const name = rows.items[0]!.segment;
  const inIt = rows.items.filter(({ segment }) => segment === name).map(({ id }) => id);
  const other = [...stored.keys()].find((key) => key !== name)!;
  const bytes = stored.get(name)!;
  const records = rows.segments.find((row) => row.name === name)!.bytes;
  const cases: [string, () => Promise<void>, readonly string[]][] = [
    ['gone', async () => (await folder()).removeEntry(name), inIt],
    ['empty', () => writeFile(name, new Uint8Array()), inIt],
    [
      'cut short',
      () => writeFile(name, bytes.slice(0, records - 1)),
      [
        rows.items
          .filter(({ segment }) => segment === name)
          .sort((a, b) => a.offset - b.offset)
          .at(-1)!.id,
      ],
    ],
    ['longer', () => writeFile(name, new Uint8Array([...bytes, 0])), []],
    ['cut short at its end', () => writeFile(name, bytes.slice(0, -1)), []],
    ['another', () => writeFile(name, stored.get(other)!), inIt],
  ];
  for (const [what, damage, items] of cases) {
    await damage();
    const error = await errorOf(opening);
    expect(error.code, what).toBe('INDEX_DAMAGED');
    expect([...error.items].sort(), what).toEqual([...items].sort());
    await closeAll();
    await writeFile(name, bytes);
    await opening();
    await closeAll();
  }
});

test('missing, duplicate or outdated rows', { timeout: 60_000 }, async () => {
  const rows = await change(readRows);
  const row = rows.items[1]!;
  const cases: [string, (db: IDBPDatabase<Schema>) => Promise<unknown>, RegExp][] = [
    [
      'an item is gone',
      (db) => db.delete('items', row.sequence),
      /12 items were written, and 11 are in the database/,
    ],
    ['an item is there twice', (db) => db.put('items', { ...row, sequence: 1 }), /items/],
    ['a file is gone', (db) => db.delete('segments', row.segment), /rows of 1 files/],
    ['the last commit is gone', (db) => db.delete('state', 'only'), /last commit/],
    [
      'the last commit is an old one',
      (db) =>
        db.put('state', new Seals(headerText(header)).state({ ...rows.state!, items: 11, last: 3 }), 'only'),
      /11 items were written/,
    ],
    [
      'an item is an old one',
      (db) => db.put('items', new Seals(headerText(header)).item({ ...row, metadata: '{"version":0}' })),
      /differ from those of the last commit/,
    ],
    ['a removal is gone', (db) => db.clear('removals'), /differ from those of the last commit/],
  ];
  for (const [what, damage, message] of cases) {
    await change(damage);
    const error = await errorOf(opening);
    expect(error.message, what).toMatch(message);
    await closeAll();
    await change(async (db) => {
      const transaction = db.transaction(['state', 'items', 'removals', 'segments'], 'readwrite');
      for (const store of ['items', 'removals', 'segments'] as const) {
        await transaction.objectStore(store).clear();
        for (const each of rows[store]) await transaction.objectStore(store).put(each as never);
      }
      await transaction.objectStore('state').put(rows.state!, 'only');
      await transaction.done;
    });
    await opening();
    await closeAll();
  }
});

test('a damaged header is refused; repair restores it, because the items prove which header they belong to', async () => {
  await change(async (db) =>
    db.put(
      'header',
      { ...(await db.get('header', 'only'))!, header: headerText({ ...header, dim: 99 }) },
      'only',
    ),
  );
  expect((await errorOf(opening)).message).toMatch(/row with the header/);
  expect(await listIndexes()).toMatchObject([{ condition: 'damaged' }]);
  await closeAll();
  const journal = await open({ repair: 'drop' });
  expect(journal.dropped).toEqual([]);
  expect(await readAll(journal.items())).toHaveLength(12);
  await journal.commit([{ put: makeItem('new') }]);
  await closeAll();
  expect(await readAll((await open()).items())).toHaveLength(13);
});

test('a damaged thumbnail is reported, and dropped by repair; its item stays', async () => {
  await change(async (db) =>
    db.put('thumbnails', { ...(await db.get('thumbnails', 'item 1'))!, type: 'image/png' }, 'item 1'),
  );
  await change((db) => db.delete('thumbnails', 'item 2'));
  const journal = await open();
  await readAll(journal.items());
  expect((await errorOf(() => journal.thumbnail('item 1'))).items).toEqual(['item 1']);
  expect((await errorOf(() => journal.thumbnail('item 2'))).items).toEqual(['item 2']);
  expect(await journal.thumbnail('item 0')).toBeDefined();
  await closeAll();
  const repaired = await open({ repair: 'drop' });
  expect(repaired.dropped).toEqual([]);
  expect(await repaired.thumbnail('item 1')).toBeUndefined();
  expect(await repaired.thumbnail('item 0')).toBeDefined();
  expect(await readAll(repaired.items())).toHaveLength(12);
});

const loseDatabase = (): Promise<void> =>
  new Promise((resolve, reject) => {
    const deleting = indexedDB.deleteDatabase(`dinov2-webgpu-search/${NAME}`);
    deleting.onsuccess = () => resolve();
    deleting.onerror = () => reject(deleting.error as Error);
  });

test('a lost database is rebuilt from the files after any history of changes', async () => {
  const random = new Random(11);
  let journal = await open();
  const wanted: Record<string, number> = versionsOf(await readAll(journal.items()));
  for (let round = 0; round < 6; round++) {
    for (let i = 0; i < 12; i++) {
      const ids = Object.keys(wanted);
      const [one, two] = [random.pick(ids), random.pick(ids)];
      if (i % 4 === 0) {
        await journal.commit([{ remove: one }, { put: makeItem(`new ${round} ${i}`) }]);
        delete wanted[one];
        wanted[`new ${round} ${i}`] = 0;
      } else if (i % 4 === 1) {
        await journal.commit([{ remove: one }]);
        delete wanted[one];
      } else if (wanted[two] !== undefined) {
        wanted[two] += 1;
        await journal.commit([{ put: makeItem(two, wanted[two]) }]);
      }
      if (random.integer(0, 5) === 0) await journal.compact();
    }
    for (let k = 0; k < 6; k++)
      await journal
        .commit([{ put: makeItem(`many ${round} ${k}`) }])
        .then(() => (wanted[`many ${round} ${k}`] = 0));
    await closeAll();
    await loseDatabase();
    journal = await open();
    expect(journal.restored).toBe(true);
    const items = await readAll(journal.items());
    expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
    expect(versionsOf(items), `round ${round}`).toEqual(wanted);
    expect(await journal.thumbnail(items[0]!.id)).toBeUndefined();
    await closeAll();
    journal = await open();
    expect(journal.restored).toBe(false);
    expect(versionsOf(await readAll(journal.items()))).toEqual(wanted);
  }
});

test('files are checked when a lost database is rebuilt', async () => {
  const wanted = versionsOf(await readAll((await open()).items()));
  await closeAll();
  await loseDatabase();
  await expect(openJournal(NAME, { ...header, dim: 17 })).rejects.toMatchObject({ code: 'INDEX_HEADER' });
  await expect(openJournal(NAME, { ...header, model: undefined })).rejects.toMatchObject({
    code: 'INDEX_MODEL',
  });
  // Not the newest file: an empty newest file looks like one that was never written.
  const [name, bytes] = [...(await files())].sort(([a], [b]) => (a < b ? -1 : 1))[0]!;
  const flipped = bytes.slice();
  flipped[flipped.length - 20]! ^= 1;
  await writeFile(name, flipped);
  for (let i = 0; i < 2; i++)
    expect((await errorOf(opening)).message).toMatch(/database is lost, .* 1 files/);
  const before = [...(await files()).keys()].sort();
  await writeFile(name, bytes);
  await opening();
  await closeAll();
  expect([...(await files()).keys()].sort()).toEqual(before);
  await loseDatabase();
  await writeFile(name, new Uint8Array());
  expect((await errorOf(opening)).message).toMatch(/database is lost, .* 1 files/);
  await writeFile(name, bytes);
  await writeFile('0000001000-abcdef01', new Uint8Array()); // created, but never written
  await opening();
  await closeAll();
  expect([...(await files()).keys()].sort()).toEqual(before);
  await loseDatabase();
  await writeFile(name, flipped);
  const journal = await open({ repair: 'drop' });
  const left = await readAll(journal.items()); // includes older versions of the dropped items, if other files have them
  expect(left.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  expect(versionsOf(left)).not.toEqual(wanted);
  await closeAll();
  await opening();
});

test('an interrupted commit is restored completely or not at all after the database is lost', async () => {
  const before = await files();
  const journal = await open();
  const big = (id: string): { put: ReturnType<typeof makeItem> } => ({
    put: { ...makeItem(id), vector: new Uint8Array(9 * 2 ** 20), thumbnail: undefined },
  });
  await journal.commit([big('x'), big('y'), { remove: 'item 0' }]);
  await closeAll();
  const parts = [...(await files())].filter(([name]) => !before.has(name));
  expect(parts).toHaveLength(2);
  const ids = async (): Promise<string[]> => {
    const opened = await open();
    expect(opened.restored).toBe(true);
    const found = (await readAll(opened.items())).map(({ id }) => id);
    await closeAll();
    return found;
  };
  await loseDatabase();
  expect(await ids()).toEqual(expect.arrayContaining(['x', 'y']));
  await loseDatabase();
  await (await folder()).removeEntry(parts[0]![0]);
  const left = await ids();
  expect(left).not.toContain('y');
  expect(left).toContain('item 0');
  expect(left).toHaveLength(12);
});

test('a lost database and a damaged header are repaired under another name of the model', async () => {
  const named = { ...header, model: { ...header.model!, id: 'what I call it' } };
  const wanted = versionsOf(await readAll((await open()).items()));
  await closeAll();
  await loseDatabase();
  for (const damage of [
    async () => undefined,
    () => change(async (db) => db.put('header', { ...(await db.get('header', 'only'))!, seal: 5 }, 'only')),
  ]) {
    await damage();
    const journal = await openJournal(NAME, named, { repair: 'drop' });
    journals.push(journal);
    expect(journal.dropped).toEqual([]);
    expect(journal.header).toEqual(header);
    await journal.commit([{ put: makeItem('item 0', 3) }]);
    await closeAll();
    expect(versionsOf(await readAll((await open()).items()))).toEqual({ ...wanted, 'item 0': 3 });
    await closeAll();
  }
});

/**
 * Runs `work`, removes the files that it made, and restores the previous database, as if the tab had died
 * before its transaction. Returns the removed files.
 */
async function diedBefore(
  work: (journal: StoredJournal) => Promise<void>,
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const [rows, before] = [await change(readRows), await files()];
  await work(await open());
  await closeAll();
  const made = new Map([...(await files())].filter(([name]) => !before.has(name)));
  await change(async (db) => {
    const transaction = db.transaction(['state', 'items', 'removals', 'segments'], 'readwrite');
    for (const store of ['items', 'removals', 'segments'] as const) {
      await transaction.objectStore(store).clear();
      for (const each of rows[store]) await transaction.objectStore(store).put(each as never);
    }
    await transaction.objectStore('state').put(rows.state!, 'only');
    await transaction.done;
  });
  for (const [name, bytes] of before) await writeFile(name, bytes);
  for (const name of made.keys()) await (await folder()).removeEntry(name);
  return made;
}

const restoredVersions = async (): Promise<Record<string, number>> => {
  await closeAll();
  await loseDatabase();
  const journal = await open();
  expect(journal.restored).toBe(true);
  const items = await readAll(journal.items());
  expect(items.flatMap((item) => faultOf(item) ?? [])).toEqual([]);
  await closeAll();
  await opening(); // the rebuilt index opens without damage
  return versionsOf(items);
};

test.each([
  [
    'a commit',
    async (journal: StoredJournal) =>
      journal.commit([{ put: makeItem('item 0', 9) }, { remove: 'item 1' }, { put: makeItem('never', 0) }]),
  ],
  [
    'a large commit',
    async (journal: StoredJournal) =>
      journal.commit([
        { put: { ...makeItem('item 0', 9), vector: new Uint8Array(9 * 2 ** 20) } },
        { put: { ...makeItem('item 1', 9), vector: new Uint8Array(9 * 2 ** 20) } },
        { remove: 'item 2' },
      ]),
  ],
  ['a compaction', async (journal: StoredJournal) => journal.compact()],
])(
  'a tab dies between the files of %s and its transaction, another tab continues, and the database is lost: exactly the acknowledged changes are restored',
  async (_, work) => {
    const made = await diedBefore(work);
    expect(made.size).toBeGreaterThan(0);
    for (const some of [[...made], [...made].slice(0, 1)]) {
      const journal = await open();
      const wanted = versionsOf(await readAll(journal.items()));
      for (const [name, bytes] of some) await writeFile(name, bytes);
      // Commits in the other tab, which has had the index open all along.
      await journal.commit([
        { put: makeItem('item 2', 5) },
        { remove: 'item 3' },
        { put: makeItem('told', 1) },
      ]);
      Object.assign(wanted, { 'item 2': 5, told: 1 });
      delete wanted['item 3'];
      expect([...(await files()).keys()].filter((name) => made.has(name))).toEqual([]);
      expect(await restoredVersions()).toEqual(wanted);
      await forget();
      await fill();
    }
  },
);

test('remains of a crash are removed: files of no commit, swap files, an interrupted deletion', async () => {
  const before = [...(await files()).keys()].sort();
  await writeFile('0000000099-abcdef01', new Uint8Array(10));
  await writeFile(`${before[0]!}.crswap`, new Uint8Array(10));
  expect((await files()).size).toBe(before.length + 2);
  await opening();
  expect([...(await files()).keys()].sort()).toEqual(before);
  await closeAll();
  await change(async (db) =>
    db.put('header', sealHeader({ ...(await db.get('header', 'only'))!, deleting: true }), 'only'),
  );
  expect(await listIndexes()).toEqual([]);
  const journal = await open();
  expect(await readAll(journal.items())).toEqual([]);
  expect((await files()).size).toBe(0);
});

test('compaction refuses to copy damaged items, and leaves the files as they are', async () => {
  const rows = await change(readRows);
  const row = rows.items[0]!;
  const journal = await open();
  await readAll(journal.items());
  const bytes = (await files()).get(row.segment)!;
  bytes[row.offset]! ^= 1;
  await writeFile(row.segment, bytes);
  const before = [...(await files()).keys()].sort();
  expect((await errorOf(() => journal.compact())).items).toEqual([row.id]);
  expect([...(await files()).keys()].sort()).toEqual(before);
});
