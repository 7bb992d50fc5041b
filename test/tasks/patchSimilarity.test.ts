// Similarity maps against float64, and the properties of a cosine.
import { expect, test } from 'vitest';
import { ImageError, OptionError } from '../../src/errors.ts';
import { PatchSimilarity } from '../../src/tasks/patchSimilarity.ts';
import type { SimilarityQuery } from '../../src/tasks/similarityQuery.ts';
import { Random } from '../random.ts';

const random = new Random(5);

function reader(batch: number, rows: number, cols: number, embedDim: number) {
  const tokens = random.uniform(batch * rows * cols * embedDim, 3);
  return { batch, rows, cols, embedDim, patchTokens: () => Promise.resolve(tokens.slice()), tokens };
}

/** Cosine in float64 of the mean direction of some patches with one patch. */
function twin(
  tokens: Float32Array,
  dim: number,
  positive: number[],
  negative: number[],
  patch: number,
): number {
  const direction = (index: number): number[] => {
    const values = [...tokens.subarray(index * dim, (index + 1) * dim)];
    const length = Math.hypot(...values);
    return values.map((value) => value / length);
  };
  const query = Array.from({ length: dim }, () => 0);
  for (const [list, sign] of [
    [positive, 1],
    [negative, -1],
  ] as const)
    for (const index of list)
      direction(index).forEach((value, i) => (query[i]! += (sign * value) / list.length));
  const length = Math.hypot(...query);
  return direction(patch).reduce((sum, value, i) => sum + (value * query[i]!) / length, 0);
}

test.each([
  [1, 4, 5, 384],
  [2, 3, 7, 64],
  [3, 1, 1, 4],
  [2, 6, 2, 1536],
])(
  'maps of %i images of %i × %i patches with %i values equal float64 to 1e-6',
  async (batch, rows, cols, dim) => {
    const features = reader(batch, rows, cols, dim);
    const patches = rows * cols;
    for (let batchIndex = 0; batchIndex < batch; batchIndex++) {
      const similarity = await PatchSimilarity.read(features, { batchIndex });
      const tokens = features.tokens.subarray(batchIndex * patches * dim, (batchIndex + 1) * patches * dim);
      const at = (index: number) => ({ row: Math.floor(index / cols), col: index % cols });
      const [first, second] = [random.integer(0, patches - 1), random.integer(0, patches - 1)];
      const queries: [SimilarityQuery, number[], number[]][] = [
        [at(first), [first], []],
        [{ row: 0, col: 0, rows, cols }, Array.from({ length: patches }, (_, i) => i), []],
        [tokens.slice(second * dim, (second + 1) * dim), [second], []],
      ];
      if (first !== second)
        queries.push([{ positive: [at(first)], negative: [at(second)] }, [first], [second]]);
      for (const [query, positive, negative] of queries) {
        const map = similarity.map(query);
        expect([map.rows, map.cols]).toEqual([rows, cols]);
        for (let patch = 0; patch < patches; patch++)
          expect(Math.abs(map.values[patch]! - twin(tokens, dim, positive, negative, patch))).toBeLessThan(
            1e-6,
          );
      }
      expect(Math.abs(similarity.map(at(first)).at(at(first).row, at(first).col) - 1)).toBeLessThan(1e-6);
      expect(similarity.nearest(at(first))).toMatchObject(at(first));
    }
  },
);

test('a part of one image is found in another image', async () => {
  const [a, b] = [reader(1, 4, 4, 64), reader(1, 5, 6, 64)];
  b.tokens.set(
    a.tokens.subarray(9 * 64, 10 * 64).map((value) => value * 2.5),
    17 * 64,
  );
  const [first, second] = [await PatchSimilarity.read(a), await PatchSimilarity.read(b)];
  const match = second.nearest(first.vector({ row: 2, col: 1 }));
  expect(match).toMatchObject({ row: 2, col: 5 });
  expect(match.score).toBeCloseTo(1, 6);
});

test('a token of zeros has the similarity 0', async () => {
  const features = reader(1, 1, 3, 8);
  features.tokens.fill(0, 8, 16);
  const similarity = await PatchSimilarity.read(features);
  expect([...similarity.map({ row: 0, col: 1 }).values]).toEqual([0, 0, 0]);
  expect(similarity.map({ row: 0, col: 0 }).at(0, 1)).toBe(0);
});

test('values that are not finite are refused', async () => {
  const features = reader(1, 2, 2, 8);
  features.tokens[11] = NaN;
  await expect(PatchSimilarity.read(features)).rejects.toMatchObject({ code: 'INPUT_NOT_FINITE' });
  const similarity = await PatchSimilarity.read(reader(1, 2, 2, 8));
  expect(() => similarity.map([1, 2, 3, Infinity, 0, 0, 0, 0])).toThrow(ImageError);
});

test.each<[string, SimilarityQuery]>([
  ['a row that is not in the image', { row: 2, col: 0 }],
  ['a negative column', { row: 0, col: -1 }],
  ['half a row', { row: 0.5, col: 0 }],
  ['a rectangle that leaves the image', { row: 1, col: 1, rows: 2, cols: 1 }],
  ['an empty rectangle', { row: 0, col: 0, rows: 0, cols: 1 }],
  ['a rectangle of a million rows', { row: 0, col: 0, rows: 1_000_000, cols: 1 }],
  ['no positive example', { positive: [] }],
  ['a vector of another model', new Float32Array(7)],
])('%s is refused', async (_, query) => {
  const similarity = await PatchSimilarity.read(reader(1, 2, 2, 8));
  expect(() => similarity.map(query)).toThrow(OptionError);
});

test.each([-1, 2, 0.5, NaN])('batchIndex %s is refused', async (batchIndex) => {
  await expect(PatchSimilarity.read(reader(2, 2, 2, 8), { batchIndex })).rejects.toMatchObject({
    code: 'OPTION_VALUE',
  });
});
