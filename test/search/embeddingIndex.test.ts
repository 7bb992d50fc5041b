import { describe, expect, test } from 'vitest';
import { EmbeddingIndex, type IndexChange, type IndexOptions } from '../../src/search.ts';
import { Random } from '../random.ts';
import { bruteForce, compared, embeddings, idOf, type Row } from './reference.ts';

const rowsOf = (index: EmbeddingIndex): Row[] => index.ids().map((id) => ({ id, vector: index.vector(id) }));

async function filled(options: IndexOptions, count: number, seed = 1): Promise<EmbeddingIndex> {
  const index = new EmbeddingIndex({ device: 'cpu', ...options });
  const vectors = embeddings(new Random(seed), count, options.dim);
  await index.addMany(vectors.map((vector, row) => ({ id: idOf(row), vector, metadata: { row } })));
  return index;
}

describe.each(['f32', 'f16', 'int8'] as const)('%s: top-k equals a float64 brute force', (storage) => {
  test.each([
    [1, 1, 'cosine'],
    [5, 3, 'dot'],
    [257, 36, 'cosine'],
    [2100, 17, 'cosine'],
    [2100, 16, 'dot'],
  ] as const)('%i vectors of %i, %s', async (count, dim, metric) => {
    const index = await filled({ dim, storage, metric }, count);
    const queries = embeddings(new Random(2), 3, dim);
    const rows = rowsOf(index);
    for (const topK of [1, 10, 1000]) {
      const found = await index.search(queries, { topK });
      for (const [q, hits] of found.entries()) {
        expect(hits.map(({ id, score }) => ({ id, score }))).toEqual(
          bruteForce(rows, compared(queries[q]!, metric), topK),
        );
      }
    }
  });
});

test('a vector finds its own item, with its metadata; threshold and filter apply', async () => {
  const index = await filled({ dim: 24 }, 500);
  const id = idOf(77);
  const [best] = await index.search(index.vector(id), { topK: 1 });
  expect(best).toMatchObject({ id, metadata: { row: 77 } });
  expect(best!.score).toBeCloseTo(1, 3);
  const some = await index.search(index.vector(id), { topK: 1000, threshold: 0.9 });
  expect(some.length).toBeGreaterThan(1);
  expect(some.every(({ score }) => score >= 0.9)).toBe(true);
  const even = await index.search(index.vector(id), {
    topK: 1000,
    filter: (_, metadata) => (metadata as { row: number }).row % 2 === 0,
  });
  expect(even.length).toBe(250);
});

test('update, remove, add again: removed items are not found', async () => {
  const index = await filled({ dim: 8 }, 100);
  const changes: IndexChange[] = [];
  const stop = index.on('change', (change) => void changes.push(change));
  const random = new Random(9);
  await index.update(idOf(3), { metadata: 'other' });
  await index.update(idOf(4), { vector: random.uniform(8) });
  expect(index.metadata(idOf(3))).toBe('other');
  expect(await index.remove([idOf(0), idOf(99), 'absent', idOf(0)])).toBe(2);
  expect(index.size).toBe(98);
  expect(index.has(idOf(0))).toBe(false);
  await index.add(idOf(0), random.uniform(8));
  expect(index.ids().at(-1)).toBe(idOf(0));
  const query = random.uniform(8);
  const hits = await index.search(query, { topK: 200 });
  expect(hits.map(({ id, score }) => ({ id, score }))).toEqual(
    bruteForce(rowsOf(index), compared(query, 'cosine'), 200),
  );
  stop();
  await index.remove(idOf(5));
  expect(changes).toEqual([
    { put: [idOf(3)], removed: [], elsewhere: false },
    { put: [idOf(4)], removed: [], elsewhere: false },
    { put: [], removed: [idOf(0), idOf(99)], elsewhere: false },
    { put: [idOf(0)], removed: [], elsewhere: false },
  ]);
});

test('calls that are not awaited run in order', async () => {
  const index = new EmbeddingIndex({ dim: 2, device: 'cpu' });
  const all = [
    index.add('a', [1, 0]),
    index.update('a', { metadata: 1 }),
    index.add('a', [0, 1]),
    index.remove('a'),
    index.add('a', [0, 1]),
  ];
  expect((await Promise.allSettled(all)).map(({ status }) => status)).toEqual([
    'fulfilled',
    'fulfilled',
    'rejected',
    'fulfilled',
    'fulfilled',
  ]);
  expect([...index.vector('a')]).toEqual([0, 1]);
});

test('a search is correct although a row moves meanwhile', async () => {
  const index = await filled({ dim: 64 }, 4000);
  const query = new Random(5).uniform(64);
  const searching = index.search(query, { topK: 4000 });
  await index.remove(idOf(0));
  const rows = rowsOf(index);
  expect((await searching).map(({ id }) => id)).toEqual(
    bruteForce(rows, compared(query, 'cosine'), 4000).map(({ id }) => id),
  );
});

describe('refused calls leave the index unchanged', () => {
  const index = new EmbeddingIndex({ dim: 3, device: 'cpu' });
  const cyclic: Record<string, unknown> = {};
  cyclic['self'] = cyclic;
  const nested = (levels: number): unknown => {
    let value: unknown = 1;
    for (let level = 0; level < levels; level++) value = level % 2 ? [value] : { value };
    return value;
  };
  test.each([
    ['INDEX_VECTOR', 'another length', () => index.add('a', [1, 2])],
    ['INDEX_VECTOR', 'zeros', () => index.add('a', [0, 0, 0])],
    ['INDEX_VECTOR', 'NaN', () => index.add('a', [0, NaN, 0])],
    ['INDEX_VECTOR', 'infinity', () => index.add('a', [0, Infinity, 0])],
    ['INDEX_ID', 'an empty id', () => index.add('', [1, 2, 3])],
    ['INDEX_ID', 'a long id', () => index.add('x'.repeat(1025), [1, 2, 3])],
    ['INDEX_METADATA', 'a cyclic object', () => index.add('a', [1, 2, 3], cyclic)],
    ['INDEX_METADATA', 'an object of 63 levels', () => index.add('a', [1, 2, 3], nested(63))],
    ['INDEX_METADATA', 'an object of 3,000 levels', () => index.add('a', [1, 2, 3], nested(3000))],
    ['INDEX_METADATA', 'an object of 100,000 levels', () => index.add('a', [1, 2, 3], nested(100_000))],
    ['INDEX_METADATA', 'a function', () => index.add('a', [1, 2, 3], () => 1)],
    ['INDEX_METADATA', 'a bigint', () => index.add('a', [1, 2, 3], { n: 1n })],
    [
      'INDEX_PATCHES',
      'patches',
      () =>
        index.add('a', [1, 2, 3], null, { patches: { rows: 1, cols: 1, tokens: Float32Array.of(1, 2, 3) } }),
    ],
    ['INDEX_UNKNOWN_ID', 'an update of a missing item', () => index.update('a', { metadata: 1 })],
    [
      'INDEX_DUPLICATE_ID',
      'twice in one call',
      () =>
        index.addMany([
          { id: 'a', vector: [1, 2, 3] },
          { id: 'a', vector: [1, 2, 3] },
        ]),
    ],
    ['INDEX_OPTIONS', 'topK 0', () => index.search([1, 2, 3], { topK: 0 })],
    ['INDEX_OPTIONS', 'dim 0', async () => new EmbeddingIndex({ dim: 0 })],
    [
      'INDEX_OPTIONS',
      'an unknown storage',
      async () => new EmbeddingIndex({ dim: 4, storage: 'f64' as 'f32' }),
    ],
  ])('%s: %s', async (code, _, call) => {
    await expect(call()).rejects.toMatchObject({ name: 'IndexError', code });
    expect(index.size).toBe(0);
  });

  test('1e6 is out of range for f16', async () => {
    const dot = new EmbeddingIndex({ dim: 1, metric: 'dot', device: 'cpu' });
    await expect(dot.add('a', [1e6])).rejects.toMatchObject({ code: 'INDEX_VECTOR' });
  });
});

test('after dispose() every call throws INDEX_DISPOSED', async () => {
  const index = await filled({ dim: 4 }, 3);
  index.dispose();
  await expect(index.search([1, 2, 3, 4])).rejects.toMatchObject({ code: 'INDEX_DISPOSED' });
  await expect(index.add('new', [1, 2, 3, 4])).rejects.toMatchObject({ code: 'INDEX_DISPOSED' });
});

test('metadata is stored as JSON, and cannot be changed from outside', async () => {
  const index = new EmbeddingIndex({ dim: 1, device: 'cpu' });
  const given = {
    name: '<img onerror=x>',
    list: [1, undefined, NaN],
    date: new Date(0),
    gone: undefined,
    __proto__: null,
  };
  await index.add('a', [1], given);
  given.name = 'changed';
  expect(index.metadata('a')).toEqual({
    name: '<img onerror=x>',
    list: [1, null, null],
    date: '1970-01-01T00:00:00.000Z',
  });
  expect(Object.isFrozen((index.metadata('a') as typeof given).list)).toBe(true);
  await index.add('b', [1]);
  expect(index.metadata('b')).toBeNull();
  await index.setState('where', { file: 7 });
  expect(await index.getState('where')).toEqual({ file: 7 });
});

test('a search during a change reports the ids that match the compared vectors', async () => {
  for (const settle of [0, 1, 2, 3, 4, 5, 6, 7, 8]) {
    const index = new EmbeddingIndex({ dim: 2, storage: 'f32', device: 'cpu' });
    await index.addMany([
      { id: 'first', vector: [1, 0] },
      { id: 'second', vector: [0.6, 0.8] },
      { id: 'last', vector: [0, 1] },
    ]);
    const removing = index.remove('first');
    // Varies how the change and the steps of the search interleave.
    for (let i = 0; i < settle; i++) await undefined;
    const hits = await index.search([0, 1]);
    await removing;
    const scores = new Map(hits.map(({ id, score }) => [id, score]));
    expect(scores.get('last')).toBe(1);
    expect(scores.get('first') ?? 0).toBe(0);
    expect([2, 3]).toContain(scores.size);
    expect(scores.has('second')).toBe(true);
  }
});

test('vectors and metadata are copied at the call: later changes by the caller have no effect', async () => {
  const index = new EmbeddingIndex({ dim: 2, storage: 'f32', device: 'cpu' });
  const vector = new Float32Array(2);
  const metadata = { turn: 0 };
  const jobs: Promise<void>[] = [];
  for (const [turn, id] of ['a', 'b', 'c'].entries()) {
    vector.set([turn, 1]);
    metadata.turn = turn;
    jobs.push(
      id === 'c'
        ? index.update('a', { vector, metadata })
        : turn === 1
          ? index.addMany([{ id, vector, metadata }])
          : index.add(id, vector, metadata),
    );
  }
  vector.fill(NaN);
  await Promise.all(jobs);
  const unit = (x: number): number[] => [...Float32Array.of(x / Math.hypot(x, 1), 1 / Math.hypot(x, 1))];
  expect([...index.vector('a')]).toEqual(unit(2));
  expect([...index.vector('b')]).toEqual(unit(1));
  expect([index.metadata('a'), index.metadata('b')]).toEqual([{ turn: 2 }, { turn: 1 }]);
});
