// Correspondences against float64, and their properties: a shifted copy, ties, both directions, options, errors.
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { correspondences } from '../../src/tasks/correspondences.ts';
import type { PatchFeatures } from '../../src/tasks/patchMatrix.ts';
import { sharedDevice, sharedGpu } from '../gpu/sharedDevice.ts';
import { settled, tiny } from '../gpu/tiny.ts';
import { Random } from '../random.ts';
import { cosines, nearestInColumns, nearestInRows } from '../reference/nearest_patch.ts';

/** Tolerance of a cosine, as documented for similarity maps. */
const COSINE = 1e-6;

let gpu: Gpu;
const made: GPUBuffer[] = [];
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterEach(() => {
  for (const buffer of made.splice(0)) gpu.memory.destroy(buffer);
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.bytes).toBe(0);
});

interface Shape {
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly batch?: number;
  readonly numRegisterTokens?: number;
}

/**
 * Features with these patch tokens (batch, rows · cols, embedDim). The other tokens are equal in all features, so
 * that reading one of them gives wrong matches.
 */
function featuresOf(
  patches: ArrayLike<number>,
  { rows, cols, embedDim, batch = 1, numRegisterTokens = 0 }: Shape,
): PatchFeatures {
  const before = 1 + numRegisterTokens;
  const numTokens = before + rows * cols;
  const all = new Float32Array(batch * numTokens * embedDim).fill(1e6);
  const image = rows * cols * embedDim;
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < image; i++) all[(b * numTokens + before) * embedDim + i] = patches[b * image + i]!;
  const buffer = gpu.memory.storageOf('features', all);
  made.push(buffer);
  return { gpu, buffer, batch, numTokens, numRegisterTokens, rows, cols, embedDim };
}

/** Runs with an estimate of the adapter's speed. A slow adapter gets many blocks and submits. */
async function atSpeed<T>(flopsPerSecond: number, run: () => Promise<T>): Promise<T> {
  Object.defineProperty(gpu, 'flopsPerSecond', { value: flopsPerSecond, configurable: true });
  try {
    return await run();
  } finally {
    Reflect.deleteProperty(gpu, 'flopsPerSecond');
  }
}

describe('against float64', () => {
  // (rows and columns of a, of b, channels): one patch, fewer patches than a tile, and parts of tiles
  test.each([
    [1, 1, 1, 1, 64],
    [3, 5, 7, 2, 64],
    [9, 8, 5, 13, 128],
    [11, 19, 12, 18, 64],
  ])('%i × %i and %i × %i patches of %i channels', async (rowsA, colsA, rowsB, colsB, embedDim) => {
    const random = new Random(rowsA * colsB);
    const [countA, countB] = [rowsA * colsA, rowsB * colsB];
    const tokensA = random.uniform(2 * countA * embedDim, 3);
    const tokensB = random.uniform(countB * embedDim, 0.1);
    const a = featuresOf(tokensA, { rows: rowsA, cols: colsA, embedDim, batch: 2 });
    const b = featuresOf(tokensB, { rows: rowsB, cols: colsB, embedDim, numRegisterTokens: 4 });
    const all = cosines(tokensA.subarray(countA * embedDim), tokensB, countA, countB, embedDim);
    const expectedA = nearestInRows(all, countA, countB);
    const expectedB = nearestInColumns(all, countA, countB);
    const options = { batchIndexA: 1, mutual: false };
    const whole = await correspondences(a, b, options);
    for (let patch = 0; patch < countA; patch++) {
      const found = whole.nearest(Math.floor(patch / colsA), patch % colsA);
      expect(Math.abs(found.score - expectedA[patch]!.score)).toBeLessThanOrEqual(COSINE);
      const cosine = all[patch * countB + found.row * colsB + found.col]!;
      expect(Math.abs(cosine - expectedA[patch]!.score)).toBeLessThanOrEqual(COSINE);
    }
    for (let patch = 0; patch < countB; patch++) {
      const found = whole.nearestInA(Math.floor(patch / colsB), patch % colsB);
      expect(Math.abs(found.score - expectedB[patch]!.score)).toBeLessThanOrEqual(COSINE);
      const cosine = all[(found.row * colsA + found.col) * countB + patch]!;
      expect(Math.abs(cosine - expectedB[patch]!.score)).toBeLessThanOrEqual(COSINE);
    }
    // Every patch of a has a pair, in descending order of scores.
    expect(whole.matches.length).toBe(countA);
    expect(new Set(whole.matches.map((each) => `${each.a.row} ${each.a.col}`)).size).toBe(countA);
    const scores = whole.matches.map(({ score }) => score);
    expect(scores).toEqual([...scores].sort((x, y) => y - x));
    // Slow adapters split the work into blocks of one tile or more. The bits are the same.
    for (const flops of [1, 1e8]) {
      const split = await atSpeed(flops, () => correspondences(a, b, options));
      expect(split.matches).toEqual(whole.matches);
    }
    // Exchanging the images exchanges the directions, bit for bit.
    const back = await correspondences(b, a, { batchIndexB: 1, mutual: false });
    for (const { a: from, b: to, score } of whole.matches)
      expect(back.nearestInA(from.row, from.col)).toEqual({ ...to, score });
    const mutual = await correspondences(a, b, { batchIndexA: 1 });
    expect(mutual.matches).toEqual(
      whole.matches.filter(({ a: from, b: to }) => {
        const { row, col } = whole.nearestInA(to.row, to.col);
        return row === from.row && col === from.col;
      }),
    );
  });
});

describe('a shifted copy', () => {
  test('planted tokens: each patch finds its copy with score 1, and patches without a copy are left out', async () => {
    const [rows, cols, embedDim] = [10, 12, 64];
    const [down, right] = [2, -3];
    const tokens = new Random(1).uniform((rows + 2) * (cols + 3) * embedDim);
    const wide = cols + 3;
    const cut = (top: number, left: number): Float32Array =>
      Float32Array.from({ length: rows * cols * embedDim }, (_, i) => {
        const [patch, channel] = [Math.floor(i / embedDim), i % embedDim];
        const [row, col] = [Math.floor(patch / cols), patch % cols];
        return tokens[((top + row) * wide + left + col) * embedDim + channel]!;
      });
    const a = featuresOf(cut(2, 0), { rows, cols, embedDim });
    const b = featuresOf(cut(0, 3), { rows, cols, embedDim });
    const { matches } = await correspondences(a, b, { threshold: 0.999 });
    expect(matches.length).toBe((rows - down) * (cols + right));
    for (const { a: from, b: to, score } of matches) {
      expect([to.row - from.row, to.col - from.col]).toEqual([down, right]);
      expect(Math.abs(score - 1)).toBeLessThanOrEqual(COSINE);
    }
  });

  test('a picture and the picture moved by whole patches, through a model', async () => {
    using model = await DINOv2.synthetic(tiny, { device: await sharedDevice(), selfTest: false });
    const [rows, cols, px, shift] = [6, 9, 14, 3];
    const random = new Random(4);
    const width = (cols + shift) * px;
    // A different pattern in each patch, so that a patch resembles only its own copy.
    const picture = random.uniform(3 * rows * px * width, 2);
    const cut = (left: number): Float32Array =>
      Float32Array.from({ length: 3 * rows * px * cols * px }, (_, i) => {
        const [line, x] = [Math.floor(i / (cols * px)), i % (cols * px)];
        return picture[line * width + left * px + x]!;
      });
    const size = { height: rows * px, width: cols * px };
    using a = await model.forward(cut(0), size);
    using b = await model.forward(cut(shift), size);
    const { matches } = await correspondences(a, b);
    // The first columns of `a` are not in `b`, so their pairs have no meaning. Every other patch finds its copy,
    // although position embeddings and attention change its token.
    const copied = matches.filter((each) => each.a.col >= shift);
    expect(copied.length).toBe(rows * (cols - shift));
    expect(copied.map(({ b: { row, col } }) => ({ row, col: col + shift }))).toEqual(
      copied.map((each) => each.a),
    );
  });
});

describe('equal scores', () => {
  test('the first patch in reading order wins, in any number of blocks', async () => {
    const embedDim = 64;
    const random = new Random(9);
    const [first, second] = [random.uniform(embedDim), random.uniform(embedDim)];
    const plant = (rows: number, cols: number, chosen: readonly number[]): PatchFeatures =>
      featuresOf(
        Array.from({ length: rows * cols }, (_, i) => [...(chosen.includes(i) ? second : first)]).flat(),
        { rows, cols, embedDim },
      );
    const a = plant(15, 10, [69, 70, 149]);
    const b = plant(10, 14, [66, 65, 139]);
    for (const flops of [1, 1e12]) {
      const found = await atSpeed(flops, () => correspondences(a, b));
      expect(found.nearest(7, 0)).toMatchObject({ row: 4, col: 9 });
      expect(found.nearest(14, 8)).toMatchObject({ row: 0, col: 0 });
      expect(found.nearestInA(9, 13)).toMatchObject({ row: 6, col: 9 });
      expect(found.matches.map((each) => [each.a.row, each.a.col, each.b.row, each.b.col])).toEqual(
        expect.arrayContaining([
          [0, 0, 0, 0],
          [6, 9, 4, 9],
        ]),
      );
      expect(found.matches.length).toBe(2);
    }
  });

  test('a token of zeros has score 0 with every patch', async () => {
    const shape = { rows: 2, cols: 2, embedDim: 64 };
    const found = await correspondences(
      featuresOf(new Float32Array(4 * 64), shape),
      featuresOf(new Random(2).uniform(4 * 64), shape),
    );
    expect(found.nearest(1, 1)).toEqual({ row: 0, col: 0, score: 0 });
    expect(found.matches).toEqual([{ a: { row: 0, col: 0 }, b: { row: 0, col: 0 }, score: 0 }]);
  });
});

describe('options', () => {
  const shape = { rows: 4, cols: 5, embedDim: 64 };
  const tokens = new Random(3).uniform(20 * 64);

  test('the same features twice: each patch is its own pair', async () => {
    const a = featuresOf(tokens, shape);
    const { matches } = await correspondences(a, a);
    expect(matches.length).toBe(20);
    for (const each of matches) {
      expect(each.b).toEqual(each.a);
      expect(Math.abs(each.score - 1)).toBeLessThanOrEqual(COSINE);
    }
  });

  test('topK, threshold and region select among the pairs', async () => {
    const [a, b] = [featuresOf(tokens, shape), featuresOf(new Random(8).uniform(20 * 64), shape)];
    const all = (await correspondences(a, b, { mutual: false })).matches;
    expect(all.length).toBe(20);
    expect((await correspondences(a, b, { mutual: false, topK: 3 })).matches).toEqual(all.slice(0, 3));
    const threshold = all[7]!.score;
    expect((await correspondences(a, b, { mutual: false, threshold })).matches).toEqual(all.slice(0, 8));
    const region = { row: 1, col: 2, rows: 2, cols: 3 };
    const inside = all.filter(({ a: { row, col } }) => row >= 1 && row < 3 && col >= 2);
    expect(inside.length).toBe(6);
    expect((await correspondences(a, b, { mutual: false, region })).matches).toEqual(inside);
  });

  test.each([
    [{ topK: 0 }, 'topK: expected a whole number of at least 1, found 0.'],
    [{ topK: 1.5 }, 'topK: expected a whole number of at least 1, found 1.5.'],
    [{ threshold: NaN }, 'threshold: expected a finite number, found NaN.'],
    [{ mutual: 'yes' }, 'mutual: expected true or false, found yes.'],
    [{ batchIndexA: 1 }, 'batchIndexA: expected a whole number from 0 to 0, found 1.'],
    [{ batchIndexB: -1 }, 'batchIndexB: expected a whole number from 0 to 0, found -1.'],
    [
      { region: { row: 2, col: 0, rows: 3, cols: 1 } },
      'region: expected a rectangle within the 4 × 5 grid (rows × columns) of a, found row 2, col 0, rows 3, cols 1.',
    ],
    [{ region: { row: 0, col: 0, rows: 0, cols: 1 } }, 'region: expected a rectangle'],
  ])('%j is rejected', async (options, message) => {
    const a = featuresOf(tokens, shape);
    await expect(correspondences(a, a, options as object)).rejects.toMatchObject({
      code: 'OPTION_VALUE',
      message: expect.stringContaining(`correspondences: ${message}`),
    });
  });

  test('nearest rejects patches outside the grid', async () => {
    const found = await correspondences(
      featuresOf(tokens, shape),
      featuresOf(tokens.subarray(0, 6 * 64), { ...shape, rows: 2, cols: 3 }),
    );
    expect(() => found.nearest(0, 5)).toThrow('expected a patch of the 4 × 5 grid');
    expect(() => found.nearestInA(2, 0)).toThrow('expected a patch of the 2 × 3 grid');
  });
});

describe('errors', () => {
  const shape = { rows: 3, cols: 4, embedDim: 64 };
  const planted = (patch: number, value: number): Float32Array => {
    const tokens = new Random(3).uniform(12 * 64);
    tokens[patch * 64 + 9] = value;
    return tokens;
  };

  test.each([NaN, Infinity, -Infinity])('%d in a token is reported with its patch', async (value) => {
    const good = featuresOf(planted(0, 1), shape);
    const bad = featuresOf(planted(7, value), shape);
    for (const [name, a, b] of [
      ['a', bad, good],
      ['b', good, bad],
    ] as const)
      await expect(correspondences(a, b)).rejects.toMatchObject({
        code: 'INPUT_NOT_FINITE',
        message: expect.stringContaining(`found NaN or infinity in ${name}, in the patch at row 1, col 3.`),
      });
  });

  test('features of another model, of another device, and no features', async () => {
    const a = featuresOf(planted(0, 1), shape);
    const wide = featuresOf(new Float32Array(12 * 128), { ...shape, embedDim: 128 });
    const elsewhere = { ...a, gpu: Object.create(gpu, { device: { value: {} } }) as Gpu };
    for (const [b, message] of [
      [wide, 'expected features from one model, found 64 and 128 channels.'],
      [elsewhere, 'expected features on one device'],
      [undefined, 'expected features of two images, as model.features() returns them, found nothing.'],
    ] as const)
      await expect(correspondences(a, b as PatchFeatures)).rejects.toMatchObject({
        code: 'OPTION_VALUE',
        message: expect.stringContaining(`correspondences: ${message}`),
      });
    await expect(correspondences(a, a, { topk: 1 } as object)).rejects.toMatchObject({ code: 'OPTION_NAME' });
  });

  test('an abort between two submits, and features that are disposed of', async () => {
    const a = featuresOf(planted(0, 1), shape);
    const reason = new Error('stop');
    await expect(correspondences(a, a, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const large = featuresOf(new Random(1).uniform(500 * 64), { rows: 20, cols: 25, embedDim: 64 });
    const controller = new AbortController();
    const running = atSpeed(1, () => correspondences(large, large, { signal: controller.signal }));
    setTimeout(() => controller.abort(reason), 0);
    await expect(running).rejects.toBe(reason);

    const model = await DINOv2.synthetic(tiny, { device: await sharedDevice(), selfTest: false });
    const features = await model.forward(new Float32Array(3 * 28 * 28), { height: 28, width: 28 });
    const found = correspondences(features, features);
    features.dispose();
    await expect(found).rejects.toMatchObject({ code: 'DISPOSED' });
    await expect(correspondences(features, features)).rejects.toMatchObject({ code: 'DISPOSED' });
    model.dispose();
    await settled();
  });
});

test('37 × 37 patches of ViT-g stay within the default limits, with one read from the GPU', async () => {
  const [side, embedDim] = [37, 1536];
  const tokens = new Random(6).uniform(side * side * embedDim);
  const a = featuresOf(tokens, { rows: side, cols: side, embedDim });
  await correspondences(a, a); // the first call tests the matrix product
  let mapped = 0;
  const { mapAsync } = GPUBuffer.prototype;
  GPUBuffer.prototype.mapAsync = function (...args) {
    mapped += 1;
    return mapAsync.apply(this, args);
  };
  try {
    const { matches } = await correspondences(a, a);
    expect(matches.length).toBe(side * side);
    expect(matches.every((each) => each.a.row === each.b.row && each.a.col === each.b.col)).toBe(true);
  } finally {
    GPUBuffer.prototype.mapAsync = mapAsync;
  }
  expect(mapped).toBe(1);
});
