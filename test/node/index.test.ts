// An index in a folder on disk: several openings, damage, an interrupted write, and the ingest of a path.
import {
  appendFileSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { nodeHost } from '../../src/node/nodeHost.ts';
import { host } from '../../src/platform/host.ts';
import { EmbeddingIndex, ingest, type IngestModel } from '../../src/search.ts';
import { handlesAt, withHandles, withPaths } from '../../src/node/handles.ts';

let folder: string;
const open = (options: { repair?: 'drop'; dim?: number } = {}): Promise<EmbeddingIndex> =>
  EmbeddingIndex.open({ folder: join(folder, 'index') }, { dim: 3, ...options });
const log = (): string => join(folder, 'index/index.log');

beforeAll(() => void Object.assign(host, { openFolder: nodeHost.openFolder, handlesAt: nodeHost.handlesAt }));
afterAll(() => {
  delete host.openFolder;
  delete host.handlesAt;
});
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'index-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('items, thumbnails and states are there when it is opened again, and after a compaction', async () => {
  const index = await open();
  await index.addMany([
    { id: 'a', vector: [1, 0, 0], metadata: { n: 1 }, thumbnail: new Blob(['tiny'], { type: 'image/webp' }) },
    { id: 'b', vector: [0, 1, 0] },
    { id: 'c', vector: [0, 0, 1] },
  ]);
  await index.update('a', { metadata: { n: 2 } });
  await index.remove('b');
  await index.setState('key', { list: [1, new Date(5)] });
  await index.compact();
  await index.add('d', [1, 1, 0]);
  index.dispose();
  const again = await open();
  expect(again.ids()).toEqual(['c', 'a', 'd']);
  expect(again.metadata('a')).toEqual({ n: 2 });
  expect(await (await again.thumbnail('a'))!.text()).toBe('tiny');
  expect(await again.getState('key')).toEqual({ list: [1, new Date(5)] });
  expect((await again.search([1, 0, 0]))[0]).toMatchObject({ id: 'a' });
  again.dispose();
});

test('two openings see the changes of each other, also after one has rewritten the file', async () => {
  const [one, two] = [await open(), await open()];
  await one.add('a', [1, 0, 0]);
  await two.add('b', [0, 1, 0]);
  expect(two.ids().sort()).toEqual(['a', 'b']);
  await expect(one.add('b', [0, 1, 0])).rejects.toMatchObject({ code: 'INDEX_DUPLICATE_ID' });
  await one.compact();
  await two.remove('a');
  await one.add('c', [0, 0, 1]);
  expect(one.ids().sort()).toEqual(['b', 'c']);
  one.dispose();
  two.dispose();
});

test('after dispose, nothing is written: the folder can be removed at once', async () => {
  for (let run = 0; run < 50; run++) {
    const index = await open();
    await index.add(`${run}`, [1, 0, 0]);
    await index.setState('key', run);
    index.dispose();
    rmSync(join(folder, 'index'), { recursive: true });
    await new Promise((resolve) => setTimeout(resolve, run % 5));
    expect(existsSync(join(folder, 'index'))).toBe(false);
  }
});

test.each([
  ['the folder', () => rmSync(join(folder, 'index'), { recursive: true })],
  ['the log', () => rmSync(log())],
  ['the contents of the log', () => writeFileSync(log(), '')],
])('%s is removed by another program while the index is open', async (_, removeIt) => {
  const index = await open();
  await index.add('a', [1, 0, 0]);
  removeIt();
  await new Promise((resolve) => setTimeout(resolve, 20)); // the event of the removal
  expect(index.ids()).toEqual(['a']);
  await expect(index.add('b', [0, 1, 0])).rejects.toMatchObject({ code: 'INDEX_GONE' });
  await expect(index.getState('key')).rejects.toMatchObject({ code: 'INDEX_GONE' });
  await expect(index.compact()).rejects.toMatchObject({ code: 'INDEX_GONE' });
  index.dispose();
  const again = await open();
  expect([again.size, again.created]).toEqual([0, true]);
  again.dispose();
});

test('a log that another program cuts while the index is open is reported, and not written to', async () => {
  const index = await open();
  await index.addMany(['a', 'b'].map((id) => ({ id, vector: [1, 0, 0] })));
  truncateSync(log(), readFileSync(log()).length - 1);
  for (let call = 0; call < 2; call++)
    await expect(index.add('c', [0, 1, 0])).rejects.toMatchObject({ code: 'INDEX_DAMAGED' });
  index.dispose();
});

/** Changes one byte of the log without another size, as a failing disk would. */
function damage(at: number): void {
  const bytes = readFileSync(log());
  bytes[at]! ^= 0x40;
  const file = openSync(log(), 'r+');
  writeSync(file, bytes, 0, bytes.length, 0);
  closeSync(file);
}

test('a byte that changes while the index is open does not get a right checksum by a compaction', async () => {
  const index = await open();
  await index.add('a', [1, 0, 0]);
  damage(readFileSync(log()).length - 1);
  await expect(index.compact()).rejects.toMatchObject({ code: 'INDEX_DAMAGED', items: ['a'] });
  index.dispose();
  await expect(open()).rejects.toMatchObject({ code: 'INDEX_DAMAGED', items: ['a'] });
});

test('the repair lists a damaged item, and puts no older version in its place', async () => {
  const index = await open();
  await index.add('a', [1, 0, 0]);
  await index.add('b', [0, 1, 0]);
  await index.update('a', { vector: [0, 0, 1] });
  index.dispose();
  damage(readFileSync(log()).length - 1);
  const repaired = await open({ repair: 'drop' });
  expect([repaired.ids(), repaired.dropped]).toEqual([['b'], ['a']]);
  repaired.dispose();
});

test('a commit is complete although the log cannot be compacted after it', async () => {
  const index = await open();
  const large = new Blob([new Uint8Array(2 ** 23)]);
  for (const id of ['a', 'b', 'c']) await index.add(id, [1, 0, 0], null, { thumbnail: large });
  mkdirSync(`${log()}.part`); // no file can be written there
  expect(await index.remove(['a', 'b', 'c'])).toBe(3);
  expect(index.size).toBe(0);
  await index.add('d', [1, 0, 0]);
  rmSync(`${log()}.part`, { recursive: true });
  index.dispose();
  const again = await open();
  expect(again.ids()).toEqual(['d']);
  again.dispose();
});

test('a full disk is INDEX_QUOTA, and the index stays as it was', async () => {
  const index = await open();
  await index.add('a', [1, 0, 0]);
  const handle = await openFile(log());
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  const { write } = prototype;
  prototype.write = (() =>
    Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', syscall: 'write' }))) as never;
  try {
    await expect(index.add('b', [0, 1, 0])).rejects.toMatchObject({ code: 'INDEX_QUOTA' });
  } finally {
    prototype.write = write;
  }
  expect(index.ids()).toEqual(['a']);
  await index.add('c', [0, 0, 1]);
  index.dispose();
  const again = await open();
  expect(again.ids()).toEqual(['a', 'c']);
  again.dispose();
});

test('changes of another opening arrive although reading them failed once', async () => {
  const [one, two] = [await open(), await open()];
  const handle = await openFile(log());
  const prototype = Object.getPrototypeOf(handle) as typeof handle;
  await handle.close();
  for (let nth = 1; nth < 8; nth++) {
    await one.add(`x${nth}`, [1, 0, 0]);
    await one.add(`y${nth}`, [1, 0, 0]);
    let left = nth;
    const { read } = prototype;
    prototype.read = function (this: typeof handle, ...given: never[]) {
      if (--left === 0)
        return Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO', syscall: 'read' }));
      return (read as (...all: never[]) => ReturnType<typeof read>).apply(this, given);
    } as never;
    try {
      await two.add(`z${nth}`, [0, 1, 0]).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'INDEX_STORAGE' });
      });
    } finally {
      prototype.read = read;
    }
    await two.add(`w${nth}`, [0, 1, 0]);
    const fresh = await open();
    expect(two.ids().sort()).toEqual(fresh.ids().sort());
    fresh.dispose();
  }
  one.dispose();
  two.dispose();
});

test('an index is opened while another opening compacts it', async () => {
  const one = await open();
  const ids = Array.from({ length: 300 }, (_, i) => `${i}`);
  await one.addMany(ids.map((id, i) => ({ id, vector: [1, i, 0] })));
  let over = false;
  const compacting = (async () => {
    while (!over) await one.compact();
  })();
  for (let run = 0; run < 10; run++) {
    const two = await open();
    expect(two.ids()).toEqual(ids);
    two.dispose();
  }
  over = true;
  await compacting;
  one.dispose();
});

test('an interrupted write is dropped; a changed byte is reported, and repaired on request', async () => {
  const index = await open();
  await index.add('a', [1, 0, 0]);
  const whole = readFileSync(log()).length;
  await index.add('b', [0, 1, 0]);
  index.dispose();
  const bytes = readFileSync(log());
  truncateSync(log(), bytes.length - 3);
  const cut = await open();
  expect(cut.ids()).toEqual(['a']);
  await cut.add('c', [0, 0, 1]);
  cut.dispose();
  appendFileSync(log(), new Uint8Array(100));
  const padded = await open();
  expect(padded.ids()).toEqual(['a', 'c']);
  padded.dispose();
  for (const at of [whole - 1, whole - 20, whole + 6]) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    writeFileSync(log(), damaged);
    await expect(open()).rejects.toMatchObject({ code: 'INDEX_DAMAGED' });
    const repaired = await open({ repair: 'drop' });
    expect(repaired.size).toBe(1);
    repaired.dispose();
    (await open()).dispose();
  }
});

test('another index, a file in place of the folder, and a name are refused', async () => {
  (await open()).dispose();
  await expect(open({ dim: 4 })).rejects.toMatchObject({ code: 'INDEX_HEADER' });
  writeFileSync(join(folder, 'file'), '');
  const inFile = EmbeddingIndex.open({ folder: join(folder, 'file') }, { dim: 3 });
  await expect(inFile).rejects.toMatchObject({ code: 'INDEX_STORAGE' });
  await expect(EmbeddingIndex.open('photos', { dim: 3 })).rejects.toThrow(
    /expected \{ folder: .*found the name "photos"/,
  );
});

/** A model whose vector of a file depends on its size only. */
const model: IngestModel = {
  config: { embedDim: 3, depth: 1, patchSize: 14 } as IngestModel['config'],
  fingerprint: async () => 'f',
  featuresBySize: () => Promise.reject(new Error('not called')),
  async *embedAll(files) {
    let index = 0;
    for await (const { size } of files) yield { index: index++, embedding: Float32Array.of(size, 1, 0) };
  },
};

test('ingest takes a folder, a pattern and a file, and gives a file the same id each time', async () => {
  const photos = join(folder, 'photos');
  for (const name of ['a.png', 'b.jpg', 'deep/a.png', 'deep/c.txt']) {
    mkdirSync(dirname(join(photos, name)), { recursive: true });
    writeFileSync(join(photos, name), name);
  }
  const index = await open();
  const options = { thumbnailPx: 0 };
  const pattern = ingest(index, model, join(photos, '**/*.png'), options);
  expect(await pattern.finished).toMatchObject({ added: 2, ignored: 0 });
  expect(index.ids()).toEqual(['photos/a.png', 'photos/deep/a.png']);
  expect(await ingest(index, model, photos, options).finished).toMatchObject({ added: 1, unchanged: 2 });
  expect(await ingest(index, model, pathToFileURL(photos), options).finished).toMatchObject({ unchanged: 3 });
  const alone = ingest(index, model, join(photos, 'b.jpg'), { ...options, under: 'photos' });
  expect(await alone.finished).toMatchObject({ unchanged: 1 });
  writeFileSync(join(photos, 'a.png'), 'changed');
  expect(await ingest(index, model, join(photos, '*.png'), options).finished).toMatchObject({ updated: 1 });
  for (const [path, text] of [
    ['none', /there is no such file/],
    ['*.gif', /expected a pattern with images/],
  ] as const)
    await expect(ingest(index, model, join(photos, path)).finished).rejects.toThrow(text);
  index.dispose();
});

test('a pattern is ingested from a folder whose own name looks like a pattern', async () => {
  const odd = join(folder, 'photos [12]');
  for (const name of ['photos [12]/a.png', 'photos 1/b.png']) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), name);
  }
  const before = process.cwd();
  process.chdir(odd);
  try {
    const index = await open();
    const { finished } = ingest(index, model, '*.png', { thumbnailPx: 0 });
    expect(await finished).toMatchObject({ added: 1, ignored: 0 });
    expect(index.ids()).toEqual(['photos [12]/a.png']);
    index.dispose();
  } finally {
    process.chdir(before);
  }
});

test('the handle of a pattern, kept in an index, still has only what the pattern matches', async () => {
  mkdirSync(join(folder, 'photos'));
  for (const name of ['a.png', 'b.jpg']) writeFileSync(join(folder, 'photos', name), name);
  const kept = structuredClone(withPaths(await handlesAt(join(folder, 'photos/*.png'))));
  const [handle] = withHandles(kept) as [FileSystemDirectoryHandle];
  const names: string[] = [];
  for await (const [name] of handle.entries()) names.push(name);
  expect([handle.name, names]).toEqual(['photos', ['a.png']]);
});

test('a path becomes handles, which an index can keep', async () => {
  cpSync(join(import.meta.dirname, '../fixtures/pixels/images/rgb.png'), join(folder, 'photos/rgb.png'));
  const [handle] = (await handlesAt(join(folder, 'photos'))) as FileSystemDirectoryHandle[];
  const children: string[] = [];
  for await (const [name, child] of handle!.entries())
    children.push(`${name} ${(await (child as FileSystemFileHandle).getFile()).size > 100}`);
  expect(children).toEqual(['rgb.png true']);
  const kept = structuredClone(withPaths([{ handle }]));
  const [{ handle: back }] = withHandles(kept) as [{ handle: FileSystemHandle }];
  expect(await back.isSameEntry(handle!)).toBe(true);
});
