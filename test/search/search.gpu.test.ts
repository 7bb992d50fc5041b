import { beforeAll, describe, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import { checkedVector, encodeVector } from '../../src/search/codec.ts';
import { headerOf } from '../../src/search/checks.ts';
import { Items } from '../../src/search/items.ts';
import { searchCpu } from '../../src/search/searchCpu.ts';
import { GpuSearch } from '../../src/search/searchGpu.ts';
import type { Metric, VectorStorage } from '../../src/search/journal.ts';
import { Random } from '../random.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { bruteForce, compared, embeddings, idOf } from './reference.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});

function itemsOf(vectors: readonly Float32Array[], storage: VectorStorage, metric: Metric): Items {
  const items = new Items(headerOf({ dim: vectors[0]!.length, storage, metric }));
  vectors.forEach((vector, row) => put(items, idOf(row), vector, storage, metric));
  return items;
}

function put(items: Items, id: string, vector: Float32Array, storage: VectorStorage, metric: Metric): void {
  const values = checkedVector(vector, { dim: vector.length, metric }, 'test');
  items.apply({ put: { id, vector: encodeVector(values, storage, 'test'), metadata: null } });
}

const rowsOf = (items: Items) => items.ids.map((id, row) => ({ id, vector: items.vectors.decode(row) }));
const NO_LIMITS = { allowed: undefined, threshold: -Infinity };

/** Checks that ids and scores from the GPU equal those of the CPU and of brute force. */
async function expectExact(
  search: GpuSearch,
  items: Items,
  queries: readonly Float32Array[],
  limits: { topK: number; allowed: Uint8Array | undefined; threshold: number },
): Promise<void> {
  const asked = queries.map((vector) => ({ vector: vector as Float32Array<ArrayBuffer> }));
  const found = await search.search(asked, limits, undefined);
  expect(found).toEqual(await searchCpu(items, asked, limits, undefined, true));
  const rows = rowsOf(items).filter((_, row) => !limits.allowed || limits.allowed[row] === 1);
  for (const [q, query] of queries.entries()) {
    expect(found![q]!.map(({ row, score }) => ({ id: items.ids[row]!, score }))).toEqual(
      bruteForce(rows, query, limits.topK, limits.threshold),
    );
  }
}

// One dim for each storage, because each combination compiles another pipeline. In the first three cases, a row
// does not fill its last word or pair of words.
describe.each([
  ['f32', 5, 'dot'],
  ['f16', 27, 'cosine'],
  ['int8', 38, 'cosine'],
  ['f16', 16, 'dot'],
] as const)('%s × %i, %s', (storage, dim, metric) => {
  test.each([1, 2, 63, 64, 65, 128, 129, 1000, 20_011])(
    '%i vectors: equal to brute force in float64',
    async (count) => {
      const random = new Random(count);
      const items = itemsOf(embeddings(random, count, dim), storage, metric);
      const search = await GpuSearch.create(gpu, items);
      gpu.retain();
      const queries = embeddings(random, 6, dim).map((query) => compared(query, metric));
      for (const topK of [1, 10, 1000]) {
        await expectExact(search, items, queries.slice(0, 1), { ...NO_LIMITS, topK });
        if (topK === 10) await expectExact(search, items, queries, { ...NO_LIMITS, topK });
      }
      search.dispose();
    },
  );

  test('filter and threshold', async () => {
    const random = new Random(7);
    const items = itemsOf(embeddings(random, 3000, dim), storage, metric);
    const search = await GpuSearch.create(gpu, items);
    gpu.retain();
    const query = compared(random.uniform(dim), metric);
    const scores = bruteForce(rowsOf(items), query, 3000);
    for (const share of [0, 0.001, 0.5, 1]) {
      const allowed = Uint8Array.from(items.ids, () => (random.next() < share ? 1 : 0));
      await expectExact(search, items, [query], { topK: 20, allowed, threshold: -Infinity });
      await expectExact(search, items, [query, query], {
        topK: 3000,
        allowed,
        threshold: scores[100]!.score,
      });
    }
    for (const threshold of [scores[0]!.score, scores[5]!.score, scores[0]!.score + 1e-9, -1e30, 1e30])
      await expectExact(search, items, [query], { topK: 10, allowed: undefined, threshold });
    search.dispose();
  });
});

test('rows are added, changed and removed between searches', async () => {
  const [dim, storage, metric] = [27, 'f16', 'cosine'] as const;
  const random = new Random(3);
  const items = itemsOf(embeddings(random, 200, dim), storage, metric);
  const search = await GpuSearch.create(gpu, items);
  gpu.retain();
  for (let round = 0; round < 12; round++) {
    for (let i = 0; i < 40; i++) {
      const kind = random.next();
      const id = random.pick(items.ids);
      if (kind < 0.4) put(items, `${round}/${i}`, random.uniform(dim), storage, metric);
      else if (kind < 0.7) put(items, id, random.uniform(dim), storage, metric);
      else items.apply({ remove: id });
    }
    if (round === 5)
      for (let i = 0; i < 500; i++) put(items, `more ${i}`, random.uniform(dim), storage, metric);
    if (round === 9)
      for (const id of [...items.ids].slice(0, items.ids.length - 70)) items.apply({ remove: id });
    await expectExact(search, items, [compared(random.uniform(dim), metric)], { ...NO_LIMITS, topK: 15 });
  }
  search.dispose();
});

test('a row moves while the GPU searches: the search returns undefined', async () => {
  const random = new Random(4);
  const items = itemsOf(embeddings(random, 500, 27), 'f16', 'cosine');
  const search = await GpuSearch.create(gpu, items);
  gpu.retain();
  const query = { vector: compared(random.uniform(27), 'cosine') as Float32Array<ArrayBuffer> };
  const running = search.search([query], { ...NO_LIMITS, topK: 5 }, undefined);
  for (let i = 0; i < 4; i++) await Promise.resolve(); // the search is running
  items.apply({ remove: items.ids[0]! });
  expect(await running).toBeUndefined();
  expect(await search.search([query], { ...NO_LIMITS, topK: 5 }, undefined)).toHaveLength(1);
  search.dispose();
});

test('all vectors equal: hits in the order of ids', async () => {
  const one = new Random(1).uniform(16);
  const items = itemsOf(
    Array.from({ length: 5000 }, () => one),
    'f16',
    'dot',
  );
  const search = await GpuSearch.create(gpu, items);
  gpu.retain();
  const [found] = (await search.search([{ vector: one }], { ...NO_LIMITS, topK: 100 }, undefined))!;
  expect(found!.map(({ row }) => items.ids[row])).toEqual([...items.ids].sort().slice(0, 100));
  search.dispose();
});

test('values near the limits of f32', async () => {
  const random = new Random(8);
  const vectors = embeddings(random, 300, 5).map(
    (vector, row) => vector.map((value) => value * 10 ** ((row % 60) - 38)) as Float32Array,
  );
  const items = itemsOf(vectors, 'f32', 'dot');
  const search = await GpuSearch.create(gpu, items);
  gpu.retain();
  for (const size of [1e-38, 1e-20, 1, 1e10])
    await expectExact(search, items, [random.uniform(5, size)], { ...NO_LIMITS, topK: 10 });
  search.dispose();
});

test('the GPU memory of a search is freed', async () => {
  await expect.poll(() => gpu.memory.bytes).toBe(0);
});
