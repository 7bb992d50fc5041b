// Thumbnails in exported indexes, and exports of some of the items.
import { expect, test } from 'vitest';
import { encodeSafetensors, parseSafetensors, type TensorSpec } from '../../src/safetensors.ts';
import { EmbeddingIndex } from '../../src/search.ts';

const dim = 4;
const unit = (at: number): Float32Array => Float32Array.from({ length: dim }, (_, i) => (i === at ? 1 : 0));
const picture = (bytes: number[], type: string): Blob => new Blob([Uint8Array.from(bytes)], { type });

/** An index of three items with patches: two have a thumbnail. */
async function filled(): Promise<EmbeddingIndex> {
  const index = new EmbeddingIndex({ dim, device: 'cpu', patches: 'f16' });
  const patches = { rows: 1, cols: 2, tokens: Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0) };
  await index.add('a', unit(0), { name: 'é' }, { patches, thumbnail: picture([1, 2, 3], 'image/webp') });
  await index.add('b', unit(1));
  await index.add('c', unit(2), null, { thumbnail: picture([4], 'image/jpeg') });
  return index;
}

const thumbnails = async (index: EmbeddingIndex): Promise<unknown> =>
  Promise.all(
    index.ids().map(async (id) => {
      const blob = await index.thumbnail(id);
      return blob && [blob.type, ...new Uint8Array(await blob.arrayBuffer())];
    }),
  );

type Tensors = Map<string, TensorSpec & { data: Uint8Array<ArrayBuffer> }>;

async function parts(file: Blob): Promise<{ tensors: Tensors; metadata: Map<string, string> }> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = parseSafetensors(bytes);
  const tensors: Tensors = new Map(
    [...header.tensors].map(([name, { dtype, shape, begin, end }]) => [
      name,
      { dtype, shape: [...shape], data: bytes.slice(begin, end) },
    ]),
  );
  return { tensors, metadata: new Map(header.metadata) };
}

test('an export keeps thumbnails and their types, and an import into memory or an index restores them', async () => {
  const file = await (await filled()).export();
  expect((await parts(file)).metadata.get('version')).toBe('2');
  const expected = [['image/webp', 1, 2, 3], undefined, ['image/jpeg', 4]];
  const copy = await EmbeddingIndex.import(file, { device: 'cpu' });
  expect(await thumbnails(copy)).toEqual(expected);
  const other = new EmbeddingIndex({ dim, device: 'cpu', patches: 'f16' });
  await other.importFrom(file);
  expect(await thumbnails(other)).toEqual(expected);
  expect(new Uint8Array(await (await other.export()).arrayBuffer())).toEqual(
    new Uint8Array(await file.arrayBuffer()),
  );
});

test('a file without thumbnails has version 1, which earlier versions of the library read', async () => {
  const index = await filled();
  const file = await index.export({ thumbnails: false });
  const { tensors, metadata } = await parts(file);
  expect([metadata.get('version'), [...tensors.keys()].sort()]).toEqual([
    '1',
    ['grids', 'items', 'patches', 'vectors'],
  ]);
  expect(await thumbnails(await EmbeddingIndex.import(file))).toEqual([undefined, undefined, undefined]);
  await index.remove(['a', 'c']);
  expect((await parts(await index.export())).metadata.get('version')).toBe('1');
});

test('removed items come back from an export of these items, with patches and thumbnails', async () => {
  const index = await filled();
  const query = { rows: 1, cols: 1, tokens: Float32Array.of(0, 1, 0, 0) };
  const before = await index.searchByPart(query);
  const some = await index.export({ ids: ['c', 'a', 'c'] });
  await index.remove(['a', 'c']);
  expect([index.ids(), await index.searchByPart(query)]).toEqual([['b'], []]);
  await index.importFrom(some);
  expect(index.ids()).toEqual(['b', 'c', 'a']);
  expect(index.metadata('a')).toEqual({ name: 'é' });
  expect(await index.searchByPart(query)).toEqual(before);
  expect(await thumbnails(index)).toEqual([undefined, ['image/jpeg', 4], ['image/webp', 1, 2, 3]]);
  await expect(index.export({ ids: ['a', 'none'] })).rejects.toMatchObject({ code: 'INDEX_UNKNOWN_ID' });
});

test('a thumbnail whose type could hold code gets a type that no browser opens as a page', async () => {
  const { tensors, metadata } = await parts(await (await filled()).export());
  for (const type of ['text/html', 'image/svg+xml', 'IMAGE/SVG+XML', 'image/png;text/html', '']) {
    tensors.set('thumbnail_types', list([type, '', 'image/jpeg']));
    const index = await EmbeddingIndex.import(new Blob([encodeSafetensors(tensors, metadata)]));
    expect((await index.thumbnail('a'))!.type).toBe('application/octet-stream');
    expect((await index.thumbnail('c'))!.type).toBe('image/jpeg');
  }
});

const list = (value: unknown) => {
  const data = new TextEncoder().encode(JSON.stringify(value));
  return { dtype: 'U8', shape: [data.length], data } as const;
};

test.each<[string, (tensors: Tensors) => void]>([
  ['a thumbnail is larger than the file says', (t) => void (t.get('thumbnail_sizes')!.data[0] = 4)],
  ['thumbnails of another type', (t) => void t.set('thumbnails', { ...t.get('thumbnails')!, dtype: 'I8' })],
  [
    'too few sizes',
    (t) => void t.set('thumbnail_sizes', { dtype: 'U32', shape: [1], data: new Uint8Array(4) }),
  ],
  ['too few types', (t) => void t.set('thumbnail_types', list(['image/webp']))],
  ['a type that is a number', (t) => void t.set('thumbnail_types', list(['', 1, '']))],
  ['a type with a line break', (t) => void t.set('thumbnail_types', list(['', 'a\nb', '']))],
  ['types that are not JSON', (t) => void (t.get('thumbnail_types')!.data[0] = 0x7b)],
  ['no types', (t) => void t.delete('thumbnail_types')],
])('refuses a file: %s', async (_, change) => {
  const { tensors, metadata } = await parts(await (await filled()).export());
  change(tensors);
  const file = new Blob([encodeSafetensors(tensors, metadata)]);
  await expect(EmbeddingIndex.import(file)).rejects.toMatchObject({ code: 'INDEX_FILE' });
});
