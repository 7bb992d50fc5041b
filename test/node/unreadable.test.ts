// Folders and links on disk that cannot be read, for example because the disk fails or access is denied.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { imageFiles } from '../../src/node/files.ts';
import { handlesAt } from '../../src/node/handles.ts';
import { host } from '../../src/platform/host.ts';
import { EmbeddingIndex, ingest, type IngestModel, type IngestReport } from '../../src/search.ts';

/** The code with which each path fails. */
const failing = new Map<string, string>();
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const orFail =
    <Args extends readonly [unknown, ...unknown[]], Result>(call: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      const code = failing.get(String(args[0]));
      if (code) throw Object.assign(new Error(`${code}: ${String(args[0])}`), { code });
      return call(...args);
    };
  return { ...real, readdir: orFail(real.readdir as never), stat: orFail(real.stat as never) };
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'unreadable-'));
  for (const name of ['a.png', 'in/b.png', 'lost+found/c.png']) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), name);
  }
  host.handlesAt = handlesAt as NonNullable<typeof host.handlesAt>;
});
afterEach(() => {
  failing.clear();
  rmSync(folder, { recursive: true, force: true });
  delete host.handlesAt;
});

test.each(['', '**/*.png', '*/*.png'])(
  'imageFiles: a folder within "%s" that cannot be read',
  async (pattern) => {
    failing.set(join(folder, 'lost+found'), 'EACCES');
    const where = join(folder, pattern);
    await expect(imageFiles(where)).rejects.toMatchObject({
      code: 'IMAGE_FETCH',
      message: expect.stringMatching(/lost\+found: it cannot be read \(EACCES/) as string,
    });
    const onError = vi.fn();
    const found = await imageFiles(where, { onError });
    expect(found.at(-1)).toBe(join(folder, 'in/b.png'));
    expect(onError).toHaveBeenCalledOnce();
  },
);

test('imageFiles: folders that cannot have a match are not read, and the first folder must be readable', async () => {
  failing.set(join(folder, 'lost+found'), 'EACCES');
  for (const pattern of ['in/*.png', 'i*/**', '*.png', '{in,x}/*.png'])
    expect(await imageFiles(join(folder, pattern))).toHaveLength(1);
  failing.set(folder, 'EACCES');
  for (const pattern of ['', '*.png', '**/*.png'])
    await expect(imageFiles(join(folder, pattern), { onError: () => undefined })).rejects.toThrow(
      /: it cannot be read \(EACCES/,
    );
  failing.clear();
  for (const name of ['in', 'lost+found']) failing.set(join(folder, name), 'EIO');
  await expect(imageFiles(join(folder, '*/*.png'), { onError: () => undefined })).rejects.toThrow(
    /in: it cannot be read \(EIO/, // not: found none
  );
  for (const name of ['in', 'lost+found']) failing.set(join(folder, name), 'ENOENT'); // removed meanwhile
  expect(await imageFiles(folder)).toEqual([join(folder, 'a.png')]);
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

/** Ingests a path, removes what is missing, and returns the report and the ids that the index then has. */
async function ingested(index: EmbeddingIndex, path: string): Promise<[IngestReport, string[]]> {
  const options = { thumbnailPx: 0, under: '', removeMissing: true };
  const report = await ingest(index, model, path, options).finished;
  return [report, [...index.ids()].map((id) => id.slice(id.indexOf('/') + 1)).sort()];
}

test.each(['photos', 'photos/**/*.png'])(
  'an ingest of %s reports links and folders that cannot be read, and removes nothing',
  async (path) => {
    const photos = join(folder, 'photos');
    mkdirSync(join(photos, 'deep'), { recursive: true });
    writeFileSync(join(photos, 'deep/d.png'), 'deep');
    symlinkSync(join(folder, 'a.png'), join(photos, 'link.png'));
    const index = new EmbeddingIndex({ dim: 3, device: 'cpu' });
    const all = ['deep/d.png', 'link.png'];
    expect((await ingested(index, join(folder, path)))[1]).toEqual(all);

    for (const code of ['EIO', 'ESTALE', 'EACCES']) {
      failing.set(join(photos, 'link.png'), code);
      const [report, ids] = await ingested(index, join(folder, path));
      expect([report.removed, report.failures.map(({ id }) => id), ids]).toEqual([
        0,
        ['photos/link.png'],
        all,
      ]);
      failing.clear();
      failing.set(join(photos, 'deep'), code);
      const [other, left] = await ingested(index, join(folder, path));
      expect([other.removed, other.failures.map(({ id }) => id), left]).toEqual([0, ['photos/deep'], all]);
      failing.clear();
    }
    unlinkSync(join(folder, 'a.png'));
    expect((await ingested(index, join(folder, path)))[1]).toEqual(['deep/d.png']);
    index.dispose();
  },
);
