import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import * as kernels from '../../src/gpu/kernels/pcaKernels.ts';
import { inLines } from '../../src/gpu/workgroups.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import * as twins from '../reference/pca.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { runKernel } from './runKernel.ts';

/**
 * Tolerance of a sum of `terms` products of numbers in [-1, 1): a random walk of √terms roundings of partial sums
 * that are about √terms in size.
 */
const SUM = (terms: number): Tolerance => ({ maxAbs: 2 * Math.max(4, terms) * ROUNDING, nmse: 1e-12 });
/** The tolerance of SUM for products with scores, which are up to √dim in size. */
const PRODUCT = (terms: number, dim: number): Tolerance => ({
  maxAbs: SUM(terms).maxAbs * Math.sqrt(dim),
  nmse: 1e-12,
});
/**
 * Tolerance of the entries of unit vectors. The error of the Gram matrix is about one rounding of its diagonal, and
 * its inverse multiplies that by the condition number, about 10 for eight normalised random vectors of 36 channels
 * or more. Cholesky is insensitive to the lengths of the vectors.
 */
const UNIT: Tolerance = { maxAbs: 10 * ROUNDING, nmse: 1e-12 };
/** The error of a score times 255, for a unit direction with scale 1. It can change the rounding to a byte. */
const TIP = 255 * 1e-5;

const CHUNKS = 5;
/**
 * (patches, channels): rows that end inside a chunk, a workgroup and a lane's pair, fewer rows than chunks, and
 * channels that do not fill a workgroup.
 */
const shapes = [
  [1, 4],
  [2, 36],
  [15, 128],
  [16, 260],
  [33, 384],
  [97, 36],
  [257, 132],
] as const;

let gpu: Gpu;
const worst = new WorstDistances();
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterAll(() => {
  worst.print();
  expect(gpu.memory.bytes).toBe(0);
});

const run = (...given: Parameters<typeof runKernel> extends [Gpu, ...infer Rest] ? Rest : never) =>
  runKernel(gpu, ...given);

function near(where: string, found: ArrayBuffer, expected: Float64Array, tolerance: Tolerance): void {
  worst.note(where, expectClose(where, new Float32Array(found), expected, tolerance), tolerance);
}

const sizeOf = (count: number, chosen = count): Uint32Array<ArrayBuffer> =>
  Uint32Array.of(count, Math.ceil(count / CHUNKS), chosen);

describe.each(shapes)('%i patches of %i channels', (count, dim) => {
  const random = new Random(1000 * count + dim);
  const constants = { EMBED_DIM: dim, NUM_CHUNKS: CHUNKS };
  const columns = Math.ceil(dim / 256);
  const x = random.uniform(count * dim);
  const chosen = Uint32Array.from({ length: count }, (_, i) => (i === 0 ? 1 : random.integer(0, 1)));
  const chosenCount = chosen.reduce((sum, value) => sum + value, 0);
  const vectors = random.uniform(8 * dim);
  const scores = random.uniform(8 * count, Math.sqrt(dim));

  test('pca_column_sums', async () => {
    const { sums } = await run(kernels.pcaColumnSums, constants, [columns, CHUNKS], {
      size: sizeOf(count, chosenCount),
      chosen,
      x,
      sums: CHUNKS * dim,
    });
    near('pca_column_sums', sums!, twins.pcaColumnSums(x, chosen, dim, CHUNKS), SUM(count));
  });

  test('pca_center', async () => {
    const sums = Float32Array.from(twins.pcaColumnSums(x, chosen, dim, CHUNKS));
    const out = await run(kernels.pcaCenter, constants, [columns, CHUNKS], {
      size: sizeOf(count, chosenCount),
      chosen,
      all_sums: sums,
      x_centered: x,
      mean: dim,
      squares: CHUNKS * dim,
    });
    const expected = twins.pcaCenter(x, chosen, dim, CHUNKS);
    near('pca_center: mean', out['mean']!, expected.mean, SUM(CHUNKS));
    near('pca_center: squares', out['squares']!, expected.squares, SUM(count));
    // A single patch equals the mean, so the result is zero and a relative error is meaningless.
    near('pca_center: x', out['x_centered']!, expected.x, {
      ...SUM(CHUNKS),
      nmse: chosenCount > 1 ? 1e-12 : 0,
    });
  });

  test('pca_scores', async () => {
    const out = await run(kernels.pcaScores, constants, inLines(Math.ceil(count / 32)), {
      size: sizeOf(count),
      x,
      vectors,
      scores: count * 8,
    });
    near('pca_scores', out['scores']!, twins.pcaScores(x, vectors, dim), SUM(dim));
  });

  test('pca_partials', async () => {
    const out = await run(kernels.pcaPartials, constants, [columns, CHUNKS], {
      size: sizeOf(count),
      x,
      all_scores: scores,
      partials: CHUNKS * 8 * dim,
    });
    near('pca_partials', out['partials']!, twins.pcaPartials(x, scores, dim, CHUNKS), PRODUCT(count, dim));
  });

  test('pca_product', async () => {
    const partials = random.uniform(CHUNKS * 8 * dim);
    const out = await run(kernels.pcaProduct, constants, [Math.ceil((8 * dim) / 256), 1], {
      all_partials: partials,
      product: 8 * dim,
    });
    near('pca_product', out['product']!, twins.pcaProduct(partials, CHUNKS), SUM(CHUNKS));
  });

  // Eight orthonormal vectors need at least eight channels.
  if (dim >= 8) {
    test('pca_orthonormalize', async () => {
      const product = vectors.map((value, i) => value * 10 ** (Math.floor(i / dim) - 3)); // the lengths span eight orders of magnitude
      const out = await run(kernels.pcaOrthonormalize, constants, [1, 1], { product, vectors: 8 * dim });
      near('pca_orthonormalize', out['vectors']!, twins.pcaOrthonormalize(product, dim), UNIT);
    });
  }

  test('pca_color: a token with NaN or infinity is transparent', async () => {
    const table = new Float32Array(5 * dim + 8).fill(0.1);
    const broken = Float32Array.from(x);
    broken[0] = NaN;
    if (count > 1) broken[2 * dim - 1] = -Infinity;
    const out = await run(kernels.pcaColor, constants, inLines(Math.ceil(count / 16)), {
      image: Uint32Array.of(0, count, 0xff000000, 0, 0),
      x: broken,
      basis: table,
      rgba: count,
    });
    const colors = new Uint32Array(out['rgba']!);
    expect([...colors.subarray(0, 2)]).toEqual(count > 1 ? [0, 0] : [0]);
    if (count > 2) expect(colors[2]! >>> 24).toBe(255);
  });

  test('pca_color', async () => {
    const table = new Float32Array(5 * dim + 8);
    table.set(random.uniform(5 * dim, 1 / Math.sqrt(dim)));
    table.set([1, 0.5, 0.4, 0.3, 0, 0.4, 0.5, 0.6], 5 * dim);
    const values = twins.pcaColor(x, table, dim);
    for (const [masked, sigmoid] of [
      [0, 0],
      [1, 0],
      [1, 1],
    ] as const) {
      const out = await run(kernels.pcaColor, constants, inLines(Math.ceil(count / 16)), {
        image: Uint32Array.of(0, count, 0x80112233, masked, sigmoid),
        x,
        basis: table,
        rgba: count,
      });
      const bytes = new Uint8Array(out['rgba']!);
      for (let patch = 0; patch < count; patch++) {
        const [mask, ...channels] = values.subarray(4 * patch, 4 * patch + 4) as unknown as [
          number,
          ...number[],
        ];
        if (Math.abs(mask) < 1e-5) continue; // rounding may change the sign
        if (masked === 1 && mask < 0) {
          expect([...bytes.subarray(4 * patch, 4 * patch + 4)]).toEqual([0x33, 0x22, 0x11, 0x80]);
          continue;
        }
        channels.forEach((value, channel) => {
          const exact = 255 * (sigmoid ? 1 / (1 + Math.exp(2 - 4 * value)) : Math.min(1, Math.max(0, value)));
          expect(Math.abs(bytes[4 * patch + channel]! - exact)).toBeLessThanOrEqual(0.5 + TIP);
        });
        expect(bytes[4 * patch + 3]).toBe(255);
      }
    }
  });
});

test('pca_scores and pca_color give the same result on several lines of workgroups', async () => {
  const [count, dim] = [100, 8];
  const random = new Random(5);
  const x = random.uniform(count * dim);
  const vectors = random.uniform(8 * dim);
  const constants = { EMBED_DIM: dim, NUM_CHUNKS: CHUNKS };
  const scores = await run(kernels.pcaScores, constants, [3, 2], {
    size: sizeOf(count),
    x,
    vectors,
    scores: count * 8,
  });
  near('pca_scores', scores['scores']!, twins.pcaScores(x, vectors, dim), SUM(dim));
  const basis = random.uniform(5 * dim + 8);
  const image = Uint32Array.of(0, count, 0, 0, 0);
  const lines = await run(kernels.pcaColor, constants, [4, 2], { image, x, basis, rgba: count });
  const line = await run(kernels.pcaColor, constants, [7, 1], { image, x, basis, rgba: count });
  expect(new Uint32Array(lines['rgba']!)).toEqual(new Uint32Array(line['rgba']!));
  expect(inLines(65_535)).toEqual([65_535, 1]);
  expect(inLines(65_536)).toEqual([32_768, 2]);
});

describe('pca_orthonormalize with linearly dependent vectors', () => {
  const dim = 128;
  const constants = { EMBED_DIM: dim, NUM_CHUNKS: CHUNKS };
  const random = new Random(9);
  const orthonormalize = async (product: Float32Array<ArrayBuffer>): Promise<Float32Array> =>
    new Float32Array(
      (await run(kernels.pcaOrthonormalize, constants, [1, 1], { product, vectors: 8 * dim }))['vectors']!,
    );
  const lengths = (vectors: Float32Array): number[] =>
    Array.from({ length: 8 }, (_, k) => Math.hypot(...vectors.subarray(k * dim, (k + 1) * dim)));

  test('zero vectors stay zero', async () => {
    expect([...(await orthonormalize(new Float32Array(8 * dim)))].every((value) => value === 0)).toBe(true);
  });

  test('eight equal vectors give one of length 1, and no longer or non-finite ones', async () => {
    const one = random.uniform(dim);
    const [first, ...others] = lengths(
      await orthonormalize(Float32Array.from({ length: 8 * dim }, (_, i) => one[i % dim]!)),
    );
    expect(first).toBeCloseTo(1, 5);
    for (const length of others) expect(length).toBeLessThan(0.5); // `ritzPairs` drops vectors shorter than that
  });

  test('nearly equal vectors, as after a step with one dominant direction, converge after some steps', async () => {
    // Eigenvalues 1, 1e-4, 1e-4 / 2, …: the first Gram matrix cannot resolve the second in f32.
    const values = Array.from({ length: dim }, (_, i) => (i === 0 ? 1 : 1e-4 / i));
    let vectors = random.uniform(8 * dim);
    for (let step = 0; step < 12; step++)
      vectors = (await orthonormalize(
        vectors.map((value, i) => value * values[i % dim]!),
      )) as Float32Array<ArrayBuffer>;
    expect(lengths(vectors)).toEqual(Array.from({ length: 8 }, () => expect.closeTo(1, 4)));
    // After 12 steps, with a ratio of 4/9 between the ninth and the fourth eigenvalue, the first three have converged.
    for (let k = 0; k < 3; k++) expect(Math.abs(vectors[k * dim + k]!)).toBeGreaterThan(0.99);
  });
});
