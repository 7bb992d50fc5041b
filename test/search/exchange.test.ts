import { describe, expect, test } from 'vitest';
import { encodeSafetensors, parseSafetensors, type TensorSpec } from '../../src/safetensors.ts';
import { EmbeddingIndex, type IndexOptions } from '../../src/search.ts';
import { pause } from '../../src/platform/pause.ts';
import { Random } from '../random.ts';
import { embeddings, idOf } from './reference.ts';

const dim = 10;
const model = { id: 'm', fingerprint: 'f'.repeat(64), preprocessing: 'resize crop' };

async function filled(options: Partial<IndexOptions> = {}, count = 30): Promise<EmbeddingIndex> {
  const index = new EmbeddingIndex({ dim, device: 'cpu', ...options });
  const random = new Random(1);
  const patches = (row: number) =>
    index.header.patches === 'none' || row % 3 === 0
      ? {}
      : { patches: { rows: 2, cols: 1 + (row % 2), tokens: random.uniform(2 * (1 + (row % 2)) * dim) } };
  await index.addMany(
    embeddings(random, count, dim).map((vector, row) => ({
      id: idOf(row),
      vector,
      metadata: { row, name: '<é>' },
      ...patches(row),
    })),
  );
  return index;
}

type Tensors = Map<string, TensorSpec & { data: Uint8Array<ArrayBuffer> }>;

/** Parses a file, applies a change, and encodes it again. */
async function changed(
  file: Blob,
  change: (tensors: Tensors, metadata: Map<string, string>) => void,
): Promise<Blob> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = parseSafetensors(bytes);
  const tensors: Tensors = new Map(
    [...header.tensors].map(([name, { dtype, shape, begin, end }]) => [
      name,
      { dtype, shape: [...shape], data: bytes.slice(begin, end) },
    ]),
  );
  const metadata = new Map(header.metadata);
  change(tensors, metadata);
  return new Blob([encodeSafetensors(tensors, metadata)]);
}

test('metadata of 62 levels are exported and imported; a file with more is INDEX_FILE', async () => {
  const list = (levels: number): string => `${'['.repeat(levels)}1${']'.repeat(levels)}`;
  const index = new EmbeddingIndex({ dim: 2, device: 'cpu' });
  await index.add('a', [1, 2], JSON.parse(list(62)) as unknown);
  const file = await index.export();
  const imported = await EmbeddingIndex.import(file);
  expect(JSON.stringify(imported.metadata('a'))).toBe(list(62));
  for (const levels of [63, 3000, 100_000]) {
    const deep = await changed(file, (tensors) => {
      const data = new TextEncoder().encode(`[["a",${list(levels)}]]`);
      tensors.set('items', { dtype: 'U8', shape: [data.length], data });
    });
    await expect(EmbeddingIndex.import(deep)).rejects.toMatchObject({
      name: 'IndexError',
      code: 'INDEX_FILE',
    });
    const header = await changed(file, (_, metadata) => void metadata.set('index', list(levels)));
    await expect(EmbeddingIndex.import(header)).rejects.toMatchObject({
      name: 'IndexError',
      code: 'INDEX_FILE',
    });
  }
});

test('an export in several chunks holds the index as it was at the start', async () => {
  const [width, count, rows, cols] = [400, 300, 5, 8]; // 4.8 MB of patches
  const random = new Random(2);
  const index = new EmbeddingIndex({ dim: width, device: 'cpu', patches: 'int8', storage: 'int8' });
  await index.addMany(
    embeddings(random, count, width).map((vector, row) => ({
      id: idOf(row),
      vector,
      patches: { rows, cols, tokens: random.uniform(rows * cols * width) },
    })),
  );
  const bytesOf = async (file: Blob): Promise<Buffer> => Buffer.from(await file.arrayBuffer());
  const expected = await bytesOf(await index.export());
  const exporting = index.export();
  await pause(); // the export has started
  await Promise.all([
    index.remove(idOf(3)),
    index.update(idOf(count - 1), { metadata: 'new' }),
    index.remove(idOf(7)),
  ]);
  const file = await exporting;
  expect(expected.equals(await bytesOf(file))).toBe(true);
  const copy = await EmbeddingIndex.import(file, { device: 'cpu' });
  expect(expected.equals(await bytesOf(await copy.export()))).toBe(true);
  expect(index.size).toBe(count - 2);
});

describe.each([
  ['f32', 'none'],
  ['f16', 'f16'],
  ['int8', 'int8'],
] as const)('%s with patches %s', (storage, patches) => {
  test('an exported and imported index is the same', async () => {
    const index = await filled({ storage, patches, model });
    await index.remove(idOf(4));
    const file = await index.export();
    const copy = await EmbeddingIndex.import(file, { device: 'cpu', model });
    expect(copy.header).toEqual(index.header);
    expect(copy.ids()).toEqual(index.ids());
    for (const id of index.ids()) {
      expect(copy.vector(id)).toEqual(index.vector(id));
      expect(copy.metadata(id)).toEqual(index.metadata(id));
    }
    expect(new Uint8Array(await (await copy.export()).arrayBuffer())).toEqual(
      new Uint8Array(await file.arrayBuffer()),
    );
    if (patches !== 'none') {
      const query = { rows: 1, cols: 1, tokens: new Random(3).uniform(dim) };
      expect(await copy.searchByPart(query)).toEqual(await index.searchByPart(query));
    }
  });

  test('an empty index too', async () => {
    const copy = await EmbeddingIndex.import(await (await filled({ storage, patches }, 0)).export());
    expect(copy.size).toBe(0);
  });

  test('truncated and extended files are refused', async () => {
    const bytes = new Uint8Array(
      await (await (await filled({ storage, patches }, 3)).export()).arrayBuffer(),
    );
    for (let length = 0; length < bytes.length; length += length < 64 ? 1 : 37) {
      await expect(EmbeddingIndex.import(new Blob([bytes.subarray(0, length)]))).rejects.toMatchObject({
        name: 'IndexError',
        code: 'INDEX_FILE',
      });
    }
    await expect(EmbeddingIndex.import(new Blob([bytes, Uint8Array.of(0)]))).rejects.toMatchObject({
      code: 'INDEX_FILE',
    });
  });
});

describe('invalid files are refused', () => {
  const setHeader = (values: object) => (_: Tensors, metadata: Map<string, string>) =>
    void metadata.set('index', JSON.stringify({ ...JSON.parse(metadata.get('index')!), ...values }));
  const setItems = (text: string) => (tensors: Tensors) => {
    const data = new TextEncoder().encode(text);
    tensors.set('items', { dtype: 'U8', shape: [data.length], data });
  };
  const ids = (list: readonly unknown[]) => setItems(JSON.stringify(list.map((id) => [id, null])));

  test.each<[string, string, (tensors: Tensors, metadata: Map<string, string>) => void]>([
    ['INDEX_FILE', 'another format', (_, metadata) => void metadata.set('format', 'other')],
    ['INDEX_FILE', 'no format', (_, metadata) => void metadata.delete('format')],
    ['INDEX_NEWER', 'a newer version', (_, metadata) => void metadata.set('version', '3')],
    ['INDEX_FILE', 'a version that is no number', (_, metadata) => void metadata.set('version', 'x')],
    ['INDEX_FILE', 'a header that is not JSON', (_, metadata) => void metadata.set('index', '{')],
    ['INDEX_FILE', 'a header that is null', (_, metadata) => void metadata.set('index', 'null')],
    ['INDEX_FILE', 'another dim', setHeader({ dim: 11 })],
    ['INDEX_FILE', 'an impossible dim', setHeader({ dim: 1e9 })],
    ['INDEX_FILE', 'an unknown storage', setHeader({ storage: 'f8' })],
    ['INDEX_FILE', 'another storage', setHeader({ storage: 'f16' })],
    ['INDEX_FILE', 'missing patches', setHeader({ patches: 'f16' })],
    ['INDEX_FILE', 'a model that is a number', setHeader({ model: { id: 1 } })],
    [
      'INDEX_FILE',
      'an additional tensor',
      (tensors) => void tensors.set('more', { dtype: 'U8', shape: [1], data: Uint8Array.of(1) }),
    ],
    ['INDEX_FILE', 'a missing tensor', (tensors) => void tensors.delete('items')],
    [
      'INDEX_FILE',
      'vectors of the wrong shape',
      (tensors) => void tensors.set('vectors', { ...tensors.get('vectors')!, shape: [dim, 30] }),
    ],
    ['INDEX_FILE', 'items that are not JSON', setItems('[')],
    ['INDEX_FILE', 'items that are not a list', setItems('{}')],
    [
      'INDEX_FILE',
      'an item that is not a pair',
      setItems(JSON.stringify(Array.from({ length: 30 }, () => 'a'))),
    ],
    ['INDEX_FILE', 'too few items', ids(['a'])],
    ['INDEX_ID', 'an id that is a number', ids(Array.from({ length: 30 }, (_, i) => i))],
    [
      'INDEX_DUPLICATE_ID',
      'a duplicate id',
      ids(Array.from({ length: 30 }, (_, i) => (i === 29 ? '0' : `${i}`))),
    ],
    [
      'INDEX_VECTOR',
      'NaN',
      (tensors) => void new Float32Array(tensors.get('vectors')!.data.buffer).fill(NaN, 17, 18),
    ],
    [
      'INDEX_VECTOR',
      'infinity',
      (tensors) => void new Float32Array(tensors.get('vectors')!.data.buffer).fill(Infinity, 17, 18),
    ],
    [
      'INDEX_VECTOR',
      'a cosine vector whose length is not 1',
      (tensors) => void new Float32Array(tensors.get('vectors')!.data.buffer).fill(1, 10, 20),
    ],
  ])('%s: %s', async (code, _, change) => {
    const file = await changed(await (await filled({ storage: 'f32' })).export(), change);
    await expect(EmbeddingIndex.import(file)).rejects.toMatchObject({ name: 'IndexError', code });
  });

  test('a file that is not safetensors', async () => {
    for (const text of ['', '<!doctype html><title>no</title>', 'PK\x03\x04and more']) {
      await expect(EmbeddingIndex.import(new Blob([text]))).rejects.toMatchObject({ code: 'INDEX_FILE' });
    }
  });

  test('grids with more patches than the file has', async () => {
    for (const side of [1, 3, 5000, 2 ** 31]) {
      const file = await changed(
        await (await filled({ patches: 'f16' })).export(),
        (tensors) => void new Uint32Array(tensors.get('grids')!.data.buffer).fill(side, 2, 3),
      );
      await expect(EmbeddingIndex.import(file)).rejects.toMatchObject({ name: 'IndexError' });
    }
  });

  test('another model, preprocessing or kind of index, and existing ids: refused without a change', async () => {
    const file = await (await filled({ model })).export();
    await expect(
      EmbeddingIndex.import(file, { model: { ...model, fingerprint: 'other' } }),
    ).rejects.toMatchObject({ code: 'INDEX_MODEL' });
    for (const [options, code] of [
      [{ model: { ...model, fingerprint: '0' } }, 'INDEX_MODEL'],
      [{ model: { ...model, preprocessing: 'resize fit' } }, 'INDEX_MODEL'],
      [{}, 'INDEX_MODEL'],
      [{ model, dim: 11 }, 'INDEX_HEADER'],
      [{ model, metric: 'dot' }, 'INDEX_HEADER'],
      [{ model, storage: 'f32' }, 'INDEX_HEADER'],
    ] as const) {
      const index = new EmbeddingIndex({ dim, ...options });
      await expect(index.importFrom(file)).rejects.toMatchObject({ name: 'IndexError', code });
      expect(index.size).toBe(0);
    }
    const index = new EmbeddingIndex({ dim, model, device: 'cpu' });
    await index.add(idOf(3), new Random(9).uniform(dim));
    await expect(index.importFrom(file)).rejects.toMatchObject({ code: 'INDEX_DUPLICATE_ID' });
    expect(index.ids()).toEqual([idOf(3)]);
    await index.remove(idOf(3));
    await index.importFrom(file);
    expect(index.size).toBe(30);
  });

  test('a flipped bit gives an IndexError or a valid index, never another error', async () => {
    const bytes = new Uint8Array(
      await (await (await filled({ storage: 'int8', patches: 'int8' }, 4)).export()).arrayBuffer(),
    );
    const random = new Random(5);
    for (let i = 0; i < 600; i++) {
      const copy = bytes.slice();
      copy[random.integer(0, copy.length - 1)]! ^= 1 << random.integer(0, 7);
      const [result] = await Promise.allSettled([EmbeddingIndex.import(new Blob([copy]))]);
      if (result!.status === 'rejected') expect(result!.reason).toMatchObject({ name: 'IndexError' });
    }
  });
});

test('.npy export: the vectors as float32, and the ids as JSON', async () => {
  const index = await filled({ storage: 'int8' });
  const { npy, ids } = await index.exportNpy();
  const bytes = new Uint8Array(await npy.arrayBuffer());
  expect(String.fromCharCode(...bytes.subarray(1, 6))).toBe('NUMPY');
  const begin = 10 + new DataView(bytes.buffer).getUint16(8, true);
  expect(new TextDecoder().decode(bytes.subarray(10, begin))).toContain("'shape': (30, 10)");
  const values = new Float32Array(bytes.buffer, begin);
  const names = JSON.parse(await ids.text()) as string[];
  expect(names).toEqual(index.ids());
  names.forEach((id, i) => expect(values.slice(i * dim, (i + 1) * dim)).toEqual(index.vector(id)));
});

describe('.npy import', () => {
  const json = (ids: unknown): Blob => new Blob([JSON.stringify(ids)]);

  test('reads its own export, and a file written by NumPy', async () => {
    const index = await filled({ storage: 'f32', metric: 'dot' });
    const { npy, ids } = await index.exportNpy();
    const copy = new EmbeddingIndex({ dim, storage: 'f32', metric: 'dot', device: 'cpu' });
    await copy.importNpy(npy, ids);
    expect(copy.ids()).toEqual(index.ids());
    for (const id of index.ids()) expect(copy.vector(id)).toEqual(index.vector(id));
    await expect(copy.importNpy(npy, ids)).rejects.toMatchObject({ code: 'INDEX_DUPLICATE_ID' });
    // Written by NumPy 2: numpy.save(…, numpy.float32([[1, 2]])).
    const numpy = Uint8Array.from(
      `\x93NUMPY\x01\x00v\x00${"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }".padEnd(117)}\n\0\0\x80\x3f\0\0\0\x40`,
      (character) => character.charCodeAt(0),
    );
    const small = new EmbeddingIndex({ dim: 2, storage: 'f32', metric: 'dot', device: 'cpu' });
    await small.importNpy(new Blob([numpy]), json(['a']));
    expect([...small.vector('a')]).toEqual([1, 2]);
  });

  test('other files are refused, and nothing is added', async () => {
    const good = await filled({ storage: 'f32' }, 3);
    const { npy, ids } = await good.exportNpy();
    const bytes = new Uint8Array(await npy.arrayBuffer());
    const text = String.fromCharCode(...bytes);
    const changed = (from: string, to: string): Blob =>
      new Blob([Uint8Array.from(text.replace(from, to), (character) => character.charCodeAt(0))]);
    const cases: readonly (readonly [string, Blob, Blob])[] = [
      ['INDEX_FILE', new Blob([bytes.subarray(0, 9)]), ids],
      ['INDEX_FILE', new Blob([bytes.subarray(0, 40)]), ids],
      ['INDEX_FILE', new Blob([bytes.subarray(0, -4)]), ids],
      ['INDEX_FILE', new Blob([bytes, new Uint8Array(4)]), ids],
      ['INDEX_FILE', changed('NUMPY', 'NUMPI'), ids],
      ['INDEX_FILE', changed('<f4', '<f8'), ids],
      ['INDEX_FILE', changed('False', 'True '), ids],
      ['INDEX_HEADER', changed('(3, 10)', '(10, 3)'), json(Array.from({ length: 3 }, (_, i) => `${i}`))],
      ['INDEX_FILE', npy, json(['a', 'b'])],
      ['INDEX_FILE', npy, json(['a', 'b', 3])],
      ['INDEX_FILE', npy, new Blob(['no JSON'])],
      ['INDEX_DUPLICATE_ID', npy, json(['a', 'b', 'a'])],
      ['INDEX_ID', npy, json(['a', 'b', ''])],
    ];
    const index = new EmbeddingIndex({ dim, device: 'cpu' });
    for (const [code, file, names] of cases)
      await expect(index.importNpy(file, names)).rejects.toMatchObject({ code });
    expect(index.size).toBe(0);
  });
});
