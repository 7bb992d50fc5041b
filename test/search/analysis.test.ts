import { describe, expect, test } from 'vitest';
import { symmetricEigen } from '../../src/numerics/eigen.ts';
import { EmbeddingIndex, type IndexOptions } from '../../src/search.ts';
import { Random } from '../random.ts';
import { embeddings, idOf } from './reference.ts';

async function filled(options: IndexOptions, vectors: readonly Float32Array[]): Promise<EmbeddingIndex> {
  const index = new EmbeddingIndex({ device: 'cpu', ...options });
  await index.addMany(vectors.map((vector, row) => ({ id: idOf(row), vector })));
  return index;
}

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** Groups ids by comparing all pairs until no group changes. */
function groupsByForce(index: EmbeddingIndex, threshold: number): string[][] {
  const ids = index.ids();
  const vectors = ids.map((id) => index.vector(id));
  const label = ids.map((_, i) => i);
  for (let changed = true; changed;) {
    changed = false;
    for (let a = 0; a < ids.length; a++) {
      for (let b = a + 1; b < ids.length; b++) {
        if (label[a] === label[b] || dot(vectors[a]!, vectors[b]!) < threshold) continue;
        [label[a], label[b]] = [Math.min(label[a]!, label[b]!), Math.min(label[a]!, label[b]!)];
        changed = true;
      }
    }
  }
  const groups = new Map<number, string[]>();
  ids.forEach((id, i) => groups.set(label[i]!, [...(groups.get(label[i]!) ?? []), id]));
  return [...groups.values()].filter(({ length }) => length > 1);
}

describe('duplicates', () => {
  test.each([0.5, 0.9, 0.999])(
    'threshold %f: the groups found by comparing all pairs, in insertion order',
    async (threshold) => {
      const index = await filled({ dim: 12 }, embeddings(new Random(3), 150, 12));
      await index.remove(idOf(7)); // the last row moves into the gap, but keeps its place in the order
      expect(await index.duplicates({ threshold })).toEqual(groupsByForce(index, threshold));
    },
  );

  test('thousands of equal vectors are one group', async () => {
    const one = new Random(1).uniform(8);
    const index = await filled(
      { dim: 8 },
      Array.from({ length: 4000 }, () => one),
    );
    expect(await index.duplicates()).toEqual([index.ids()]);
  });

  test('a NaN threshold is refused; an empty index has no duplicates', async () => {
    const index = await filled({ dim: 8 }, []);
    await expect(index.duplicates({ threshold: NaN })).rejects.toMatchObject({ code: 'INDEX_OPTIONS' });
    expect(await index.duplicates()).toEqual([]);
  });
});

test('neighbours: the same as search, without the item itself', async () => {
  const index = await filled({ dim: 12 }, embeddings(new Random(3), 150, 12));
  const id = idOf(20);
  const hits = await index.neighbours(id, { topK: 5 });
  const by = index
    .ids()
    .filter((other) => other !== id)
    .map((other) => ({ id: other, score: dot(index.vector(id), index.vector(other)) }));
  by.sort((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1));
  expect(hits.map(({ id: found }) => found)).toEqual(by.slice(0, 5).map(({ id: found }) => found));
  await expect(index.neighbours('absent')).rejects.toMatchObject({ code: 'INDEX_UNKNOWN_ID' });
});

describe('clusters', () => {
  const random = new Random(5);
  const centers = Array.from({ length: 4 }, () => random.uniform(24));
  const vectors = Array.from({ length: 200 }, (_, row) =>
    centers[row % 4]!.map((value) => value + 0.05 * (2 * random.next() - 1)),
  );

  test('finds the clusters of the data; the same for the same seed', async () => {
    const index = await filled({ dim: 24 }, vectors);
    const found = await index.clusters(4);
    expect(found.ids.map((ids) => [...ids].sort())).toEqual(
      expect.arrayContaining(
        [0, 1, 2, 3].map((c) => Array.from({ length: 50 }, (_, i) => idOf(4 * i + c)).sort()),
      ),
    );
    expect(await index.clusters(4)).toEqual(found);
    for (const [c, centroid] of found.centroids.entries()) {
      expect(Math.hypot(...centroid)).toBeCloseTo(1, 6);
      const scores = found.ids[c]!.map((id) => dot(centroid, index.vector(id)));
      expect(scores).toEqual([...scores].sort((a, b) => b - a));
    }
  });

  test('every item is in the cluster with the nearest centre, and every centre is the mean direction of its items', async () => {
    const index = await filled({ dim: 24, storage: 'f32' }, embeddings(new Random(6), 300, 24));
    const { ids, centroids } = await index.clusters(7, { seed: 3, maxIterations: 200 });
    expect(ids.flat().sort()).toEqual(index.ids().sort());
    for (const [c, members] of ids.entries()) {
      for (const id of members) {
        const scores = centroids.map((centroid) => dot(centroid, index.vector(id)));
        expect(Math.max(...scores) - scores[c]!).toBeLessThan(1e-6);
      }
      const sum = new Float64Array(24);
      for (const id of members) index.vector(id).forEach((value, i) => (sum[i]! += value));
      const norm = Math.hypot(...sum);
      centroids[c]!.forEach((value, i) => expect(value).toBeCloseTo(sum[i]! / norm, 5));
    }
  });

  test('no more clusters than distinct directions; k = 0 is refused', async () => {
    const index = await filled({ dim: 2, metric: 'dot' }, [
      Float32Array.of(1, 0),
      Float32Array.of(3, 0),
      Float32Array.of(0, 2),
    ]);
    const { ids } = await index.clusters(10);
    expect(ids.map((each) => [...each].sort())).toEqual([[idOf(0), idOf(1)].sort(), [idOf(2)]]);
    await expect(index.clusters(0)).rejects.toMatchObject({ code: 'INDEX_OPTIONS' });
    expect(await (await filled({ dim: 2 }, [])).clusters(3)).toEqual({ ids: [], centroids: [] });
  });
});

describe('map', () => {
  test.each([
    [3, 2, 'dot'],
    [40, 5, 'cosine'],
    [300, 36, 'cosine'],
  ] as const)(
    '%i vectors of %i: the principal components of their covariance',
    async (count, dim, metric) => {
      const index = await filled({ dim, metric, storage: 'f32' }, embeddings(new Random(count), count, dim));
      const points = await index.map();
      const vectors = index.ids().map((id) => index.vector(id));
      const mean = Array.from(
        { length: dim },
        (_, i) => vectors.reduce((sum, vector) => sum + vector[i]!, 0) / count,
      );
      const covariance = Array.from(
        { length: dim * dim },
        (_, at) =>
          vectors.reduce(
            (sum, vector) =>
              sum +
              (vector[Math.floor(at / dim)]! - mean[Math.floor(at / dim)]!) *
                (vector[at % dim]! - mean[at % dim]!),
            0,
          ) / count,
      );
      const { vectors: components } = symmetricEigen(covariance, dim);
      expect(points.map(({ id }) => id)).toEqual(index.ids());
      for (const [k, axis] of (['x', 'y'] as const).entries()) {
        const expected = vectors.map((vector) =>
          vector.reduce((sum, value, i) => sum + (value - mean[i]!) * components[k]![i]!, 0),
        );
        const sign = Math.sign(points.reduce((sum, point, i) => sum + point[axis] * expected[i]!, 0));
        points.forEach((point, i) => expect(point[axis]).toBeCloseTo(sign * expected[i]!, 6));
      }
      expect(await index.map()).toEqual(points);
    },
  );

  test('one vector, equal vectors, no vectors', async () => {
    expect(await (await filled({ dim: 4 }, [])).map()).toEqual([]);
    for (const count of [1, 5]) {
      const points = await (
        await filled(
          { dim: 4 },
          Array.from({ length: count }, () => Float32Array.of(1, 2, 3, 4)),
        )
      ).map();
      for (const { x, y } of points) expect(Math.hypot(x, y)).toBeLessThan(1e-12);
    }
  });
});

describe('searchByPart', () => {
  const dim = 16;
  const random = new Random(11);
  const image = (rows: number, cols: number) => ({ rows, cols, tokens: random.uniform(rows * cols * dim) });

  test.each(['f16', 'int8'] as const)(
    '%s: finds the image a region was cut from, and its position',
    async (patches) => {
      const index = new EmbeddingIndex({ dim, patches, device: 'cpu' });
      const images = [image(8, 9), image(8, 8), image(5, 12), image(8, 8)];
      for (const [i, each] of images.entries())
        await index.add(`${i}`, random.uniform(dim), { i }, { patches: each });
      await index.add('without', random.uniform(dim));
      // The query contains a part of image 2, at another position in another grid.
      const query = image(6, 6);
      for (let r = 0; r < 2; r++) {
        for (let c = 0; c < 3; c++)
          query.tokens.set(
            images[2]!.tokens.subarray(((r + 1) * 12 + c + 7) * dim, ((r + 1) * 12 + c + 8) * dim),
            ((r + 3) * 6 + c + 2) * dim,
          );
      }
      const hits = await index.searchByPart({ ...query, region: { row: 3, col: 2, rows: 2, cols: 3 } });
      expect(hits.map(({ id }) => id).sort()).toEqual(['0', '1', '2', '3']);
      const [first] = hits;
      expect(first).toMatchObject({ id: '2', metadata: { i: 2 }, grid: { rows: 5, cols: 12 } });
      const { row, col, rows, cols } = first!.box;
      expect(row >= 1 && col >= 7 && row + rows <= 3 && col + cols <= 10).toBe(true); // the box lies within the original region
      expect(
        await index.searchByPart(
          { ...query, region: { row: 3, col: 2, rows: 2, cols: 3 } },
          { filter: (id) => id !== '2', topK: 2 },
        ),
      ).toHaveLength(2);
      expect((await index.searchByPart(query, { threshold: 2 })).length).toBe(0);
    },
  );

  test('an image of equal patches scores the value of one patch', async () => {
    const index = new EmbeddingIndex({ dim: 2, patches: 'f16', device: 'cpu' });
    const tokens = Float32Array.from({ length: 2 * 12 }, (_, i) => (i % 2 === 0 ? 1 : 0));
    await index.add('a', [1, 0], null, { patches: { rows: 3, cols: 4, tokens } });
    const [hit] = await index.searchByPart({ rows: 1, cols: 1, tokens: Float32Array.of(0.6, 0.8) });
    expect(hit!.score).toBeCloseTo(0.6, 6);
    expect(hit!.box).toEqual({ row: 0, col: 0, rows: 1, cols: 1 });
  });

  test.each([
    ['outside', { row: 0, col: 0, rows: 3, cols: 1 }],
    ['empty', { row: 0, col: 0, rows: 0, cols: 1 }],
    ['not whole', { row: 0.5, col: 0, rows: 1, cols: 1 }],
  ])('a region that is %s is refused', async (_, region) => {
    const index = new EmbeddingIndex({ dim: 2, patches: 'f16', device: 'cpu' });
    await expect(
      index.searchByPart({ rows: 2, cols: 1, tokens: new Float32Array(4).fill(1), region }),
    ).rejects.toMatchObject({ code: 'INDEX_PATCHES' });
  });

  test('an index without patches throws INDEX_PATCHES', async () => {
    const index = new EmbeddingIndex({ dim: 2, device: 'cpu' });
    await expect(
      index.searchByPart({ rows: 1, cols: 1, tokens: Float32Array.of(1, 1) }),
    ).rejects.toMatchObject({ code: 'INDEX_PATCHES' });
  });
});
