// Searches of 200,000 vectors. Only in the full tier, because they can take minutes.
import { beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import { EmbeddingIndex } from '../../src/search.ts';
import { Random } from '../random.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { bruteForce, compared, embeddings, idOf } from './reference.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});

test.each(['f32', 'f16', 'int8'] as const)(
  '200,000 vectors, %s: top-k equals brute force for k from 1 to 1,000',
  async (storage) => {
    const dim = 24;
    const random = new Random(1);
    const index = new EmbeddingIndex({ dim, storage, device: gpu.device });
    await index.addMany(embeddings(random, 200_000, dim).map((vector, row) => ({ id: idOf(row), vector })));
    const rows = index.ids().map((id) => ({ id, vector: index.vector(id) }));
    for (const topK of [1, 100, 1000]) {
      const query = compared(random.uniform(dim), 'cosine');
      const found = await index.search(query, { topK });
      expect(index.backend.kind).toBe('gpu');
      expect(found.map(({ id, score }) => ({ id, score }))).toEqual(bruteForce(rows, query, topK));
    }
    index.dispose();
  },
);

test('200,000 equal vectors: hits in the order of ids', async () => {
  const one = new Random(2).uniform(24);
  const index = new EmbeddingIndex({ dim: 24, device: gpu.device });
  await index.addMany(Array.from({ length: 200_000 }, (_, row) => ({ id: idOf(row), vector: one })));
  const found = await index.search(one, { topK: 1000 });
  expect(index.backend.kind).toBe('gpu');
  expect(found.map(({ id }) => id)).toEqual(index.ids().sort().slice(0, 1000));
  expect(await index.duplicates()).toEqual([index.ids()]);
  index.dispose();
});

test('rows in more than one buffer', async () => {
  // Rows added in three steps lie in three buffers.
  const dim = 128;
  const random = new Random(3);
  const index = new EmbeddingIndex({ dim, storage: 'f32', device: gpu.device });
  for (const [begin, end] of [
    [0, 5000],
    [5000, 7000],
    [7000, 40_000],
  ] as const) {
    await index.addMany(
      Array.from({ length: end - begin }, (_, i) => ({ id: idOf(begin + i), vector: random.uniform(dim) })),
    );
    const query = compared(random.uniform(dim), 'cosine');
    const rows = index.ids().map((id) => ({ id, vector: index.vector(id) }));
    expect((await index.search(query, { topK: 50 })).map(({ id, score }) => ({ id, score }))).toEqual(
      bruteForce(rows, query, 50),
    );
    expect(index.backend.kind).toBe('gpu');
  }
  index.dispose();
});
