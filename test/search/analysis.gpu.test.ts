import { beforeAll, expect, test, vi } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { headerOf } from '../../src/search/checks.ts';
import { clusterRows } from '../../src/search/clusters.ts';
import { checkedVector, encodeVector } from '../../src/search/codec.ts';
import { duplicateRows } from '../../src/search/duplicates.ts';
import { Items } from '../../src/search/items.ts';
import { GpuSearch } from '../../src/search/searchGpu.ts';
import { EmbeddingIndex, type Metric, type VectorStorage } from '../../src/search.ts';
import { Random } from '../random.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { requestDevice } from '../gpu/tiny.ts';
import { compared, embeddings, idOf } from './reference.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});

function itemsOf(vectors: readonly Float32Array[], storage: VectorStorage, metric: Metric): Items {
  const items = new Items(headerOf({ dim: vectors[0]!.length, storage, metric }));
  vectors.forEach((vector, row) => {
    const encoded = encodeVector(
      checkedVector(vector, { dim: vector.length, metric }, 'test'),
      storage,
      'test',
    );
    items.apply({ put: { id: idOf(row), vector: encoded, metadata: null } });
  });
  return items;
}

test.each([
  ['f32', 6, 'dot'],
  ['f16', 27, 'cosine'],
  ['int8', 38, 'cosine'],
] as const)(
  '%s × %i, %s: the GPU finds the same duplicates and clusters as the CPU',
  async (storage, dim, metric) => {
    for (const count of [1, 130, 900]) {
      const items = itemsOf(embeddings(new Random(count), count, dim), storage, metric);
      const search = await GpuSearch.create(gpu, items);
      gpu.retain();
      for (const threshold of [0.3, 0.95, 0.9999]) {
        expect(await duplicateRows(items, threshold, await search.pairs(), undefined, false)).toEqual(
          await duplicateRows(items, threshold, undefined, undefined, true),
        );
      }
      for (const k of [1, 5, 13]) {
        const onCpu = await clusterRows(items, k, 1, 6, undefined, undefined, true);
        expect(await clusterRows(items, k, 1, 6, await search.assigner(), undefined, false)).toEqual(onCpu);
      }
      search.dispose();
    }
  },
);

test('duplicates: more pairs than the GPU buffer holds', async () => {
  // 1,200 vectors within 1e-4 of each other: 719,400 pairs.
  const random = new Random(2);
  const one = random.uniform(27);
  const items = itemsOf(
    Array.from({ length: 1200 }, () => one.map((value, i) => value + (i === 0 ? 0 : 1e-3 * random.next()))),
    'f16',
    'cosine',
  );
  const search = await GpuSearch.create(gpu, items);
  gpu.retain();
  const groups = await duplicateRows(items, 0.99, await search.pairs(), undefined, false);
  expect(groups).toEqual([Array.from({ length: 1200 }, (_, row) => row)]);
  search.dispose();
});

test('EmbeddingIndex on a device: the same hits as on the CPU, and a backend that is reported', async () => {
  const dim = 27;
  const vectors = embeddings(new Random(4), 21_000, dim);
  const options = { dim, storage: 'f16' } as const;
  const [onGpu, onCpu] = [
    new EmbeddingIndex({ ...options, device: gpu.device }),
    new EmbeddingIndex({ ...options, device: 'cpu' }),
  ];
  for (const index of [onGpu, onCpu])
    await index.addMany(vectors.map((vector, row) => ({ id: idOf(row), vector })));
  expect(onGpu.backend.kind).toBe('cpu');
  const queries = [3, 4, 5, 6, 7].map((row) => compared(vectors[row]!, 'cosine'));
  const found = await Promise.all([
    onGpu.search(queries, { topK: 30 }),
    onGpu.search(queries[0]!, { topK: 100 }),
    onGpu.neighbours(idOf(9)),
  ]);
  expect(onGpu.backend.kind).toBe('gpu');
  expect(found).toEqual([
    await onCpu.search(queries, { topK: 30 }),
    await onCpu.search(queries[0]!, { topK: 100 }),
    await onCpu.neighbours(idOf(9)),
  ]);
  const stop = new AbortController();
  const stopped = onGpu.search(queries, { signal: stop.signal });
  stop.abort(new Error('enough'));
  await expect(stopped).rejects.toThrow('enough');
  onGpu.dispose();
});

test('items are added and removed between searches, and while searches are queued', async () => {
  const dim = 27;
  const count = 21_000;
  const random = new Random(6);
  const vectors = embeddings(random, count + 40, dim);
  const [index, onCpu] = [
    new EmbeddingIndex({ dim, device: gpu.device }),
    new EmbeddingIndex({ dim, device: 'cpu' }),
  ];
  for (const each of [index, onCpu])
    await each.addMany(vectors.slice(0, count).map((vector, row) => ({ id: idOf(row), vector })));
  await index.search(vectors[0]!);
  expect(index.backend.kind).toBe('gpu');
  for (let i = 0; i < 10; i++) {
    // Adds rows at indexes that the GPU already holds and beyond them. Alternately keeps the number of items
    // and increases it by one.
    const rows = [0, 1, 2].slice(0, 2 + (i % 2)).map((more) => count + 3 * i + more);
    for (const each of [index, onCpu]) {
      await each.remove([idOf(i), idOf(count - 1 - i)]);
      for (const row of rows) await each.add(idOf(row), vectors[row]!);
    }
    for (const row of rows) {
      const hits = await index.search(vectors[row]!, { topK: 5 });
      expect(hits.map(({ id }) => id)).toContain(idOf(row));
      expect(hits).toEqual(await onCpu.search(vectors[row]!, { topK: 5 }));
    }
  }
  expect(index.backend.kind).toBe('gpu');
  // The filter of a search must see the items of that search, even if rows change while earlier searches run.
  const even = (id: string): boolean => Number(id.replaceAll(/\D/g, '')) % 2 === 0;
  const searches = [11, 12, 13, 14].map((row) =>
    index.search(vectors[row + 100]!, { topK: 50, filter: even }),
  );
  const changes = [
    index.remove(idOf(20)),
    index.add(idOf(count + 36), vectors[count + 36]!),
    index.remove(idOf(22)),
    index.add(idOf(count + 37), vectors[count + 37]!),
  ];
  for (const hits of await Promise.all(searches))
    expect(hits.map(({ id }) => id).filter((id) => !even(id))).toEqual([]);
  await Promise.all(changes);
  expect(index.backend.kind).toBe('gpu');
  index.dispose();
});

test('two searches that fail release their device once', async () => {
  const other = await acquireGpu(await requestDevice());
  const index = new EmbeddingIndex({ dim: 27, device: other.device });
  await index.addMany(
    embeddings(new Random(4), 21_000, 27).map((vector, row) => ({ id: idOf(row), vector })),
  );
  const query = index.vector(idOf(1));
  await index.search(query);
  const released = vi.spyOn(other, 'release');
  other.device.destroy();
  await other.device.lost;
  await Promise.all([index.search(query), index.search(query), index.search(query)]);
  index.dispose();
  await expect.poll(() => released.mock.calls.length).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 20)); // leaves time for a second release
  expect(released).toHaveBeenCalledTimes(1);
});

test('without a device option it uses any adapter except SwiftShader', async () => {
  const dim = 27;
  const index = new EmbeddingIndex({ dim });
  await index.addMany(
    embeddings(new Random(5), 21_000, dim).map((vector, row) => ({ id: idOf(row), vector })),
  );
  const [first] = await index.search(index.vector(idOf(7)));
  expect(first).toMatchObject({ id: idOf(7) });
  expect(index.backend).toMatchObject(
    /swiftshader/i.test(gpu.pipelines.adapter)
      ? { kind: 'cpu', reason: expect.stringContaining('SwiftShader') }
      : { kind: 'gpu' },
  );
  index.dispose();
});

test('a lost device: the same hits, from the CPU', async () => {
  const other = await acquireGpu(await requestDevice());
  const index = new EmbeddingIndex({ dim: 27, device: other.device });
  await index.addMany(
    embeddings(new Random(4), 21_000, 27).map((vector, row) => ({ id: idOf(row), vector })),
  );
  const query = index.vector(idOf(1));
  const before = await index.search(query);
  expect(index.backend.kind).toBe('gpu');
  other.device.destroy();
  await other.device.lost;
  expect(await index.search(query)).toEqual(before);
  expect(index.backend).toMatchObject({ kind: 'cpu', reason: expect.stringContaining('lost') });
});

test('GPU memory is freed', async () => {
  await expect.poll(() => gpu.memory.bytes).toBe(0);
});
