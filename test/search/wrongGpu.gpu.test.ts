// Searches on devices that compute wrongly: the error is found, and an index then searches on the CPU.
import { expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import { headerOf } from '../../src/search/checks.ts';
import { clusterRows } from '../../src/search/clusters.ts';
import { checkedVector, encodeVector } from '../../src/search/codec.ts';
import { duplicateRows } from '../../src/search/duplicates.ts';
import { Items } from '../../src/search/items.ts';
import { GpuSearch } from '../../src/search/searchGpu.ts';
import { EmbeddingIndex } from '../../src/search.ts';
import { gpuOf, wrongDevice, type Mistake } from '../gpu/sabotage.ts';
import { Random } from '../random.ts';
import { compared, embeddings, idOf } from './reference.ts';

const DIM = 27;
const items = new Items(headerOf({ dim: DIM, storage: 'f16', metric: 'cosine' }));
for (const [row, vector] of embeddings(new Random(1), 3000, DIM).entries()) {
  const values = checkedVector(vector, { dim: DIM, metric: 'cosine' }, 'test');
  items.apply({ put: { id: idOf(row), vector: encodeVector(values, 'f16', 'test'), metadata: null } });
}
const queries = embeddings(new Random(2), 4, DIM).map((query) => ({
  vector: compared(query, 'cosine') as Float32Array<ArrayBuffer>,
}));
const limits = { topK: 10, allowed: undefined, threshold: -Infinity };

/** Runs `use` with a search on a device that makes a mistake. */
async function onWrongDevice(
  mistake: Mistake,
  use: (search: GpuSearch, gpu: Gpu) => Promise<void>,
): Promise<void> {
  const { device, changed } = await wrongDevice([mistake]);
  const gpu = await gpuOf(device);
  gpu.retain();
  const search = await GpuSearch.create(gpu, items);
  await use(search, gpu);
  expect(changed()).toBeGreaterThan(0);
  search.dispose();
  await expect.poll(() => gpu.memory.buffers).toBe(0);
  device.destroy();
}

const wrong = {
  name: 'DeviceError',
  code: 'KERNEL_WRONG',
  message: expect.stringMatching(/^search on .+: expected .+, found .+\. Please report/) as string,
};

// In each of these cases, the scores of the rows that the GPU proposes are right.
test.each<[what: string, numQueries: number, mistake: Mistake]>([
  [
    'scores half of the rows too low',
    1,
    [
      'scores[size.first + quad + PANEL_QUADS] = sum_b * scales(b);',
      'scores[size.first + quad + PANEL_QUADS] = sum_b * scales(b) - 2.0;',
    ],
  ],
  [
    'scores the fourth query too low for some rows',
    4,
    [
      'scores[at + 3u * size.stride] = sums.d * scale;',
      'scores[at + 3u * size.stride] = sums.d * scale - select(vec4f(), vec4f(2.0), quad % 8u == 3u);',
    ],
  ],
  [
    'makes the floor too high',
    1,
    ['max(select(score_of(order) - limit.x,', 'max(select(score_of(order) + 0.02,'],
  ],
  ['collects too few candidates', 1, ['if (wanted.z) {', 'if (wanted.z && quad % 2u == 0u) {']],
  [
    'collects a candidate twice',
    1,
    ['if (wanted.z) {', 'if (wanted.z) { collect(query, quad * 4u + 2u, score.z);'],
  ],
  [
    'collects rows that do not exist',
    1,
    ['vec2u(row, bitcast<u32>(score))', 'vec2u(row + 4000000u, bitcast<u32>(score))'],
  ],
])('the first search finds that a GPU %s', async (_, numQueries, mistake) => {
  await onWrongDevice(mistake, async (search) => {
    await expect(search.search(queries.slice(0, numQueries), limits, undefined)).rejects.toMatchObject(wrong);
  });
});

test('later searches check the scores of some rows', async () => {
  const { device } = await wrongDevice([]);
  const create = device.createBuffer.bind(device);
  let rows: GPUBuffer | undefined;
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    if (descriptor.label === 'search vectors 0') rows = buffer;
    return buffer;
  };
  const gpu = await gpuOf(device);
  gpu.retain();
  const search = await GpuSearch.create(gpu, items);
  const one = queries.slice(0, 1);
  for (let i = 0; i < 2; i++) expect(await search.search(one, limits, undefined)).toHaveLength(1);
  // The vectors of the rows 64 to 127 become 0 on the GPU, so their scores do.
  const panelBytes = 64 * 4 * 14;
  device.queue.writeBuffer(rows!, panelBytes, new Uint8Array(panelBytes));
  await expect(search.search(one, limits, undefined)).rejects.toMatchObject(wrong);
  search.dispose();
  await expect.poll(() => gpu.memory.buffers).toBe(0);
  device.destroy();
});

test('duplicates: pairs that the GPU leaves out', async () => {
  const mistake: Mistake = [
    'if (score < bitcast<f32>(size.lowest)) {',
    'if (score < bitcast<f32>(size.lowest) || b % 16u == 15u) {',
  ];
  await onWrongDevice(mistake, async (search) => {
    await expect(duplicateRows(items, 0.9999, await search.pairs(), undefined, false)).rejects.toMatchObject(
      wrong,
    );
  });
});

test('clusters: a centre that the GPU never chooses', async () => {
  const mistake: Mistake = ['best = with_center(best, center + 2u, scores.c * scale);', ''];
  await onWrongDevice(mistake, async (search) => {
    await expect(
      clusterRows(items, 5, 1, 6, await search.assigner(), undefined, false),
    ).rejects.toMatchObject(wrong);
  });
});

test('an index whose device computes wrongly: the same hits as on the CPU, and the reason', async () => {
  const { device } = await wrongDevice([['if (wanted.z) {', 'if (wanted.z && quad % 2u == 0u) {']]);
  const vectors = embeddings(new Random(4), 21_000, DIM);
  const onGpu = new EmbeddingIndex({ dim: DIM, device });
  const onCpu = new EmbeddingIndex({ dim: DIM, device: 'cpu' });
  for (const index of [onGpu, onCpu])
    await index.addMany(vectors.map((vector, row) => ({ id: idOf(row), vector })));
  expect(await onGpu.search(vectors[3]!)).toEqual(await onCpu.search(vectors[3]!));
  expect(onGpu.backend).toMatchObject({ kind: 'cpu', reason: wrong.message });
  for (const index of [onGpu, onCpu]) index.dispose();
  device.destroy();
});
