// An index in a folder into which this process may not write: it can be searched, and nothing else.
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { readFolderIndex } from '../../src/node/index/settings.ts';
import { nodeHost } from '../../src/node/nodeHost.ts';
import { host } from '../../src/platform/host.ts';
import { EmbeddingIndex, ingest, type IngestModel } from '../../src/search.ts';

/** What the file system forbids. `file`: only the log, as if it belonged to another user. */
let forbidden: 'nothing' | 'folder' | 'file' = 'nothing';
let code = 'EACCES';
let folder: string;
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const open: typeof real.open = async (path, flags = 'r', mode) => {
    const isLog = String(path).endsWith('index.log');
    if (flags !== 'r' && (forbidden === 'folder' || (forbidden === 'file' && isLog)))
      throw Object.assign(new Error(`${code}: open '${String(path)}'`), { code, syscall: 'open' });
    return real.open(path, flags, mode);
  };
  return { ...real, open };
});

beforeAll(() => void Object.assign(host, { openFolder: nodeHost.openFolder }));
afterAll(() => void delete host.openFolder);
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'read-only-'))));
afterEach(() => {
  forbidden = 'nothing';
  rmSync(folder, { recursive: true, force: true });
});

const log = (): string => join(folder, 'index.log');
const open = (options: { repair?: 'drop' } = {}): Promise<EmbeddingIndex> =>
  EmbeddingIndex.open({ folder }, { dim: 2, ...options });
async function filled(): Promise<EmbeddingIndex> {
  const index = await open();
  await index.addMany([
    { id: 'a', vector: [1, 0], thumbnail: new Blob(['tiny'], { type: 'image/webp' }) },
    { id: 'b', vector: [0, 1] },
  ]);
  await index.setState('key', 5);
  return index;
}

test.each([
  ['folder', 'EACCES'],
  ['folder', 'EROFS'],
  ['folder', 'EPERM'],
  ['file', 'EACCES'],
] as const)('can be searched, and changes are refused (%s, %s)', async (what, which) => {
  (await filled()).dispose();
  const [before, names] = [readFileSync(log()), readdirSync(folder)];
  [forbidden, code] = [what, which];
  const index = await open();
  expect((await index.search([0, 1])).map(({ id }) => id)).toEqual(['b', 'a']);
  expect(await (await index.thumbnail('a'))!.text()).toBe('tiny');
  expect(await index.getState('key')).toBe(5);
  const refused = {
    code: 'INDEX_STORAGE',
    message: expect.stringContaining('may read its folder, but not write into it') as string,
  };
  await expect(index.add('c', [1, 1])).rejects.toMatchObject(refused);
  await expect(index.remove('a')).rejects.toMatchObject(refused);
  await expect(index.setState('key', 6)).rejects.toMatchObject(refused);
  await expect(index.compact()).rejects.toMatchObject(refused);
  const model = { embed: () => Promise.resolve(new Float32Array(2)) } as unknown as IngestModel;
  const run = ingest(index, model, [new File(['x'], 'x.png')]);
  await expect(run.finished).rejects.toMatchObject({ name: 'IndexError' });
  expect(index.ids()).toEqual(['a', 'b']);
  index.dispose();
  expect([readFileSync(log()), readdirSync(folder)]).toEqual([before, names]);
});

test('sees the changes of a process that may write, also after it has rewritten the log', async () => {
  const writer = await filled();
  forbidden = 'folder';
  const reader = await open();
  forbidden = 'nothing';
  await writer.add('c', [1, 1]);
  forbidden = 'folder';
  await reader.getState('key'); // reads the changes
  expect(reader.ids()).toEqual(['a', 'b', 'c']);
  forbidden = 'nothing';
  await writer.remove('a');
  await writer.compact();
  forbidden = 'folder';
  await reader.getState('key');
  expect(reader.ids()).toEqual(['b', 'c']);
  expect((await reader.search([1, 1]))[0]!.id).toBe('c');
  writer.dispose();
  reader.dispose();
});

test('says why there is none, and names damage', async () => {
  forbidden = 'folder';
  await expect(open()).rejects.toMatchObject({
    code: 'INDEX_STORAGE',
    message: expect.stringContaining('EACCES') as string,
  });
  forbidden = 'nothing';
  writeFileSync(log(), '');
  forbidden = 'folder';
  await expect(open()).rejects.toMatchObject({ code: 'INDEX_STORAGE' });
  forbidden = 'nothing';
  rmSync(log());
  (await filled()).dispose();
  const bytes = readFileSync(log());
  bytes[bytes.length - 150]! ^= 1;
  writeFileSync(log(), bytes);
  forbidden = 'folder';
  await expect(open()).rejects.toMatchObject({ code: 'INDEX_DAMAGED' });
  await expect(readFolderIndex(folder)).rejects.toMatchObject({ code: 'INDEX_DAMAGED' });
  await expect(open({ repair: 'drop' })).rejects.toMatchObject({ code: 'INDEX_STORAGE' });
  expect(readFileSync(log()).equals(bytes)).toBe(true);
});

test('a commit whose writer was stopped does not count', async () => {
  (await filled()).dispose();
  truncateSync(log(), readFileSync(log()).length - 1); // the state
  forbidden = 'folder';
  const index = await open();
  expect(index.ids()).toEqual(['a', 'b']);
  expect(await index.getState('key')).toBeUndefined();
  index.dispose();
});
