// Indexes stored in Chromium by a build of commit 85ff786 can be opened, searched and changed.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/index.ts';
import { deleteIndex, EmbeddingIndex, ingest, listIndexes, modelIdentity } from '../../src/search.ts';
import type { OpenOptions } from '../../src/search/options.ts';
import { bytesOf, expectContents } from './contents.ts';
import { putDatabase, putFiles, type KeptIndexFile } from './putBack.ts';

const read = async (name: string): Promise<KeptIndexFile> =>
  (await (
    await fetch(new URL(`/test/fixtures/continuity/index.${name}.json`, location.origin))
  ).json()) as KeptIndexFile;
const files = Object.fromEntries(
  await Promise.all(
    (['images', 'extras', 'compacted'] as const).map(async (name) => [name, await read(name)] as const),
  ),
);
const forget = async (): Promise<void> => {
  for (const { name } of Object.values(files)) await deleteIndex(name);
};
beforeEach(forget);
afterEach(forget);

/** Bytes and type of a thumbnail; undefined if the item has none. */
async function contentOf(index: EmbeddingIndex, id: string): Promise<unknown> {
  const thumbnail = await index.thumbnail(id);
  return thumbnail && [thumbnail.type, new Uint8Array(await thumbnail.arrayBuffer())];
}

const optionsOf = ({ contents: { header } }: KeptIndexFile): OpenOptions => {
  const { dim, metric, storage, patches, model } = header;
  return { dim, metric, storage, patches, model, device: 'cpu' };
};

describe.each(Object.entries(files))('%s', (_, file) => {
  const { name, contents, database } = file;
  const { dim, storage, patches } = contents.header;

  test('can be listed, opened, searched, changed and reopened', async () => {
    await putFiles(file.files);
    await putDatabase(database);
    expect(await listIndexes()).toMatchObject([
      { name, condition: 'good', header: contents.header, items: contents.items.length },
    ]);
    const index = await EmbeddingIndex.open(name, optionsOf(file));
    expect([index.restored, index.dropped]).toEqual([false, []]);
    await expectContents(index, contents);
    for (const { id, thumbnail } of contents.items) {
      const found = await index.thumbnail(id);
      expect(found?.type, id).toBe(thumbnail?.type);
      if (thumbnail) expect(new Uint8Array(await found!.arrayBuffer())).toEqual(bytesOf(thumbnail.base64));
    }
    const copy = await EmbeddingIndex.import(await index.export(), { device: 'cpu' });
    for (const { id } of contents.items)
      expect(await contentOf(copy, id)).toEqual(await contentOf(index, id));
    const [first] = contents.items;
    const vector = index.vector(first!.id);
    await index.add('new', new Float32Array(dim).fill(1), { new: true });
    await index.update(first!.id, { metadata: 'changed' });
    await index.remove(contents.items.at(-1)!.id);
    await index.compact();
    index.dispose();
    using again = await EmbeddingIndex.open(name, optionsOf(file));
    expect(again.ids().sort()).toEqual([...contents.items.slice(0, -1).map(({ id }) => id), 'new'].sort());
    expect([again.metadata(first!.id), again.metadata('new')]).toEqual(['changed', { new: true }]);
    expect(again.vector(first!.id)).toEqual(vector);
    expect([again.header.storage, again.header.patches, again.restored]).toEqual([storage, patches, false]);
  });

  test('opening with another model is refused and leaves the index unchanged', async () => {
    await putFiles(file.files);
    await putDatabase(database);
    const model = { id: 'other', fingerprint: 'f'.repeat(64), preprocessing: 'pooling cls, resize crop' };
    await expect(EmbeddingIndex.open(name, { ...optionsOf(file), model })).rejects.toMatchObject({
      code: 'INDEX_MODEL',
    });
    using index = await EmbeddingIndex.open(name, optionsOf(file));
    await expectContents(index, contents);
  });

  // Only OPFS is searched for segment files of a lost database.
  if (file.files.store === 'opfs')
    test('is rebuilt from its files after the database is lost', async () => {
      await putFiles(file.files);
      using index = await EmbeddingIndex.open(name, optionsOf(file));
      expect(index.restored).toBe(true);
      await expectContents(index, contents);
    });
});

test('the state that a caller stored with an index can be read', async () => {
  const file = files['extras']!;
  await putFiles(file.files);
  await putDatabase(file.database);
  using index = await EmbeddingIndex.open(file.name, optionsOf(file));
  expect(await index.getState('place')).toEqual({ at: 7, names: ['x'] });
});

describe('with a loaded model', () => {
  let model: DINOv2;
  beforeAll(async () => {
    const folder = new URL('/test/fixtures/reference/tiny-plain/', location.origin);
    model = await DINOv2.fromPretrained(folder, { cache: 'none', selfTest: false });
  });
  afterAll(() => model.dispose());

  test('an index opens with the identity of its model, and an ingest finds its images unchanged', async () => {
    const file = files['images']!;
    await putFiles(file.files);
    await putDatabase(file.database);
    using index = await EmbeddingIndex.open(file.name, {
      dim: 128,
      device: 'cpu',
      model: await modelIdentity(model),
    });
    const images = await Promise.all(
      ['rgb.png', 'grey.png', 'palette.png', 'bit.png'].map(async (image, i) => {
        const answer = await fetch(new URL(`/test/fixtures/pixels/images/${image}`, location.origin));
        return new File([await answer.blob()], image, { lastModified: 1_700_000_000_000 + i });
      }),
    );
    const report = await ingest(index, model, images, { thumbnailPx: 16 }).finished;
    expect(report).toMatchObject({ images: 4, unchanged: 3, added: 1, updated: 0, failed: 0 });
    // An image embedded now must match the vector that the earlier build stored.
    const [best] = await index.search(await model.embed(images[0]!), { topK: 1 });
    expect(best!.id).toBe('rgb.png');
    expect(best!.score).toBeGreaterThan(0.9999);
  });
});
