// Segmentation from clicks: against float64, and on planted tokens and pictures of two textures.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { fitLogistic } from '../../src/numerics/logistic.ts';
import type { PatchFeatures } from '../../src/tasks/patchMatrix.ts';
import {
  PatchSegmenter,
  type SegmenterFitOptions,
  type SegmenterJSON,
} from '../../src/tasks/segmentation.ts';
import { settled } from '../gpu/tiny.ts';
import { sharedDevice, sharedGpu } from '../gpu/sharedDevice.ts';
import { tinyConfig } from '../model/outputs.ts';
import { Random } from '../random.ts';
import { segmentPatches } from '../reference/segment_patches.ts';
import { pictureOf, plantedFeatures, stripes, type Shape } from './plantedFeatures.ts';

const gpu = await sharedGpu();
const made: GPUBuffer[] = [];
afterEach(async () => {
  for (const buffer of made.splice(0)) gpu.memory.destroy(buffer);
  await settled();
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.buffers).toBe(0);
});

function planted(patches: ArrayLike<number>, shape: Shape): PatchFeatures {
  const features = plantedFeatures(gpu, patches, shape);
  made.push(features.buffer);
  return features;
}

/** Tokens of two textures, left and right of the middle column: a direction each, and noise. */
function twoTextures(seed: number, { rows, cols, embedDim, batch = 1 }: Shape): Float32Array {
  const random = new Random(seed);
  const directions = [random.uniform(embedDim), random.uniform(embedDim)];
  const out = new Float32Array(batch * rows * cols * embedDim);
  for (let patch = 0; patch < batch * rows * cols; patch++) {
    const direction = directions[patch % cols < cols / 2 ? 0 : 1]!;
    const scale = 1 + 20 * random.next(); // lengths do not matter
    for (let i = 0; i < embedDim; i++)
      out[patch * embedDim + i] = scale * (direction[i]! + 1.2 * (2 * random.next() - 1));
  }
  return out;
}

async function valuesOf(
  segmenter: PatchSegmenter,
  features: PatchFeatures,
  batchIndex = 0,
): Promise<Float32Array> {
  using map = await segmenter.map(features, { batchIndex });
  expect([map.rows, map.cols]).toEqual([features.rows, features.cols]);
  return (await map.read()).values;
}

const shape = { rows: 6, cols: 8, embedDim: 64, batch: 2, numRegisterTokens: 4 };
const tokens = twoTextures(3, shape);
const clicks = {
  positive: [
    { row: 1, col: 1 },
    { row: 4, col: 2 },
    { row: 3, col: 0, batchIndex: 1 },
  ],
  negative: [
    { row: 1, col: 6 },
    { row: 4, col: 5 },
    { row: 0, col: 7, batchIndex: 1 },
  ],
};

describe('planted tokens', () => {
  test('fit and map equal float64', async () => {
    const features = planted(tokens, shape);
    const segmenter = await PatchSegmenter.fit(features, clicks);
    const { embedDim, rows, cols } = shape;
    const all = [...clicks.positive, ...clicks.negative];
    const x = new Float64Array(all.length * embedDim);
    all.forEach(({ row, col, batchIndex = 0 }, i) => {
      const begin = (batchIndex * rows * cols + row * cols + col) * embedDim;
      const token = Float64Array.from(tokens.subarray(begin, begin + embedDim));
      const length = Math.hypot(...token);
      x.set(
        token.map((value) => value / length),
        i * embedDim,
      );
    });
    const expected = fitLogistic(x, embedDim, Uint8Array.of(1, 1, 1, 0, 0, 0), 0.01);
    segmenter.weights.forEach((value, i) =>
      expect(Math.abs(value - expected.weights[i]!)).toBeLessThan(1e-6),
    );
    expect(Math.abs(segmenter.bias - expected.bias)).toBeLessThan(1e-6);
    for (const batchIndex of [0, 1]) {
      const size = rows * cols * embedDim;
      const twin = segmentPatches(
        tokens.subarray(batchIndex * size, (batchIndex + 1) * size),
        segmenter.weights,
        segmenter.bias,
      );
      (await valuesOf(segmenter, features, batchIndex)).forEach((value, i) =>
        expect(Math.abs(value - twin[i]!)).toBeLessThan(1e-5),
      );
    }
  });

  test('six clicks separate two textures in this image, the other image of the batch, and others', async () => {
    const features = planted(tokens, shape);
    const segmenter = await PatchSegmenter.fit(features, {
      positive: [1, 2, 3].map((row) => ({ row, col: 1 })),
      negative: [1, 2, 3].map((row) => ({ row, col: 6 })),
    });
    for (const batchIndex of [0, 1])
      (await valuesOf(segmenter, features, batchIndex)).forEach((value, patch) =>
        expect(value > 0.5, `patch ${patch}: ${value}`).toBe(patch % 8 < 4),
      );
  });

  test('clicks in several features, five positive and one negative', async () => {
    const [first, second] = [
      planted(tokens, shape),
      planted(tokens.subarray(0, 6 * 8 * 64), { ...shape, batch: 1, numRegisterTokens: 0 }),
    ];
    const segmenter = await PatchSegmenter.fit([first, second], {
      positive: [0, 1, 2, 3, 4].map((row) => ({ row, col: 2, image: row % 2 })),
      negative: [{ row: 3, col: 6, image: 1 }],
    });
    (await valuesOf(segmenter, second)).forEach((value, patch) =>
      expect(value > 0.5, `patch ${patch}: ${value}`).toBe(patch % 8 < 4),
    );
  });

  test('a larger penalty gives probabilities closer to 0.5', async () => {
    const features = planted(tokens, shape);
    const spread = async (regularization?: number): Promise<number> => {
      const values = await valuesOf(
        await PatchSegmenter.fit(features, { ...clicks, regularization }),
        features,
      );
      return Math.max(...values) - Math.min(...values);
    };
    const [weak, normal, strong] = [await spread(1e-4), await spread(), await spread(1)];
    expect(weak).toBeGreaterThan(normal);
    expect(normal).toBeGreaterThan(strong);
  });

  test('only the tokens of the clicked patches are read, and a map reads nothing', async () => {
    const features = planted(tokens, shape);
    const read = vi.spyOn(gpu, 'read');
    const segmenter = await PatchSegmenter.fit(features, clicks);
    expect(read.mock.calls.map(([, offset, bytes]) => [offset, bytes])).toEqual([[0, 6 * 64 * 4]]);
    read.mockClear();
    const map = await segmenter.map(features);
    expect(read).not.toHaveBeenCalled();
    map.dispose();
    read.mockRestore();
  });
});

test('six clicks separate two textures of a picture through a model, and in another picture of them', async () => {
  using model = await DINOv2.synthetic(tinyConfig('registers'), {
    device: await sharedDevice(),
    selfTest: false,
  });
  const random = new Random(7);
  const left = stripes(random, { angle: 0.3, period: 9, color: [170, 110, 80] });
  const right = stripes(random, { angle: 1.9, period: 6, color: [90, 120, 140] });
  const picture = (border: number) =>
    pictureOf(140, 112, (x, y) => (x + 0.2 * y < border ? left(x, y) : right(x, y)));
  const options = { resize: 'square', size: 112 } as const;
  using features = await model.features(picture(80), options);
  using other = await model.features(picture(50), options);
  const segmenter = await PatchSegmenter.fit(features, {
    positive: [0, 3, 7].map((row) => ({ row, col: 1 })),
    negative: [0, 3, 7].map((row) => ({ row, col: 6 })),
  });
  const byPixel = await PatchSegmenter.fit(features, {
    positive: [0, 3, 7].map((row) => ({ x: 1.5 * (140 / 8), y: (row + 0.1) * 14 })),
    negative: [0, 3, 7].map((row) => ({ x: 6.5 * (140 / 8), y: (row + 0.9) * 14 })),
  });
  expect(byPixel).toEqual(segmenter);
  await expect(
    PatchSegmenter.fit(features, { positive: [{ x: 150, y: 5 }], negative: [{ x: 5, y: 5 }] }),
  ).rejects.toThrow(/a pixel that a patch contains \(see patchAt\), found x 150, y 5/);
  for (const [each, border] of [
    [features, 80],
    [other, 50],
  ] as const) {
    const values = await valuesOf(segmenter, each);
    let checked = 0;
    values.forEach((value, patch) => {
      // The centre of the patch, in pixels of the picture, and its distance from the border in patches.
      const [x, y] = [((patch % 8) + 0.5) * (140 / 8), (Math.floor(patch / 8) + 0.5) * (112 / 8)];
      const distance = (border - x - 0.2 * y) / (140 / 8);
      if (Math.abs(distance) < 1) return;
      checked += 1;
      expect(value > 0.5, `patch ${patch}: ${value}`).toBe(distance > 0);
    });
    expect(checked).toBeGreaterThan(40);
  }
});

describe('JSON', () => {
  test('round trip: the same bits', async () => {
    const features = planted(tokens, shape);
    const segmenter = await PatchSegmenter.fit(features, clicks);
    const again = PatchSegmenter.fromJSON(JSON.parse(JSON.stringify(segmenter)) as SegmenterJSON);
    expect(again).toEqual(segmenter);
    expect(await valuesOf(again, features)).toEqual(await valuesOf(segmenter, features));
    expect(JSON.stringify(await PatchSegmenter.fit(features, clicks))).toBe(JSON.stringify(segmenter));
  });

  const valid: SegmenterJSON = {
    format: 'dinov2-webgpu/segmenter',
    version: 1,
    embedDim: 4,
    weights: [1, 2, 3, 4],
    bias: 0.5,
  };
  test.each([
    ['null', null],
    ['a string', 'x'],
    ['an empty object', {}],
    ['a PCA', { ...valid, format: 'dinov2-webgpu/pca' }],
    ['another version', { ...valid, version: 2 }],
    ['a length that is no multiple of 4', { ...valid, embedDim: 3, weights: [1, 2, 3] }],
    ['a length as text', { ...valid, embedDim: '4' }],
    ['too few weights', { ...valid, weights: [1, 2, 3] }],
    ['a weight as text', { ...valid, weights: [1, 2, 3, '4'] }],
    ['a missing weight', { ...valid, weights: [1, 2, 3, null] }],
    ['a weight beyond f32', { ...valid, weights: [1, 2, 3, 1e39] }],
    ['weights that are no array', { ...valid, weights: { length: 4 } }],
    ['no bias', { ...valid, bias: undefined }],
    ['a bias that is not finite', { ...valid, bias: Infinity }],
  ])('%s is refused', (_, json) => {
    expect(PatchSegmenter.fromJSON(valid)).toBeInstanceOf(PatchSegmenter);
    expect(() => PatchSegmenter.fromJSON(json as SegmenterJSON)).toThrow(
      expect.objectContaining({ code: 'OPTION_VALUE' }),
    );
  });
});

describe('refused', () => {
  const one = { row: 0, col: 0 };
  test.each<[string, SegmenterFitOptions, RegExp]>([
    ['no positive patch', { positive: [], negative: [one] }, /positive: expected at least one patch/],
    [
      'no negative patch',
      { positive: [one], negative: [] },
      /negative: expected at least one patch.*similarity/,
    ],
    ['no list of negatives', { positive: [one] } as never, /negative/],
    ['a patch alone', { positive: one, negative: [one] } as never, /found object/],
    ['a row that does not exist', { positive: [{ row: 6, col: 0 }], negative: [one] }, /6 × 8 grid.*row 6/],
    [
      'a rectangle of patches',
      { positive: [{ ...one, rows: 2, cols: 2 } as never], negative: [one] },
      /rectangle/,
    ],
    ['half a column', { positive: [one], negative: [{ row: 0, col: 0.5 }] }, /col 0.5/],
    [
      'an image of the batch that does not exist',
      { positive: [{ ...one, batchIndex: 2 }], negative: [one] },
      /0 to 1, found 2/,
    ],
    ['features that do not exist', { positive: [{ ...one, image: 1 }], negative: [one] }, /0 to 0, found 1/],
    ['a penalty of 0', { positive: [one], negative: [one], regularization: 0 }, /regularization/],
    [
      '513 patches',
      { positive: Array.from({ length: 512 }, () => one), negative: [one] },
      /at most 512.*513/,
    ],
  ])('%s', async (_, options, message) => {
    const error = await PatchSegmenter.fit(planted(tokens, shape), options).catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'OPTION_VALUE', message: expect.stringMatching(message) as string });
  });

  test('a pixel, if the features have no placements', async () => {
    await expect(
      PatchSegmenter.fit(planted(tokens, shape), { positive: [{ x: 3, y: 4 }], negative: [one] }),
    ).rejects.toThrow(/no placements, found x 3, y 4/);
  });

  test('no features, features of two models, unknown options, NaN, an aborted signal', async () => {
    const features = planted(tokens, shape);
    const other = planted(new Float32Array(32), { rows: 1, cols: 1, embedDim: 32 });
    const codes = async (promise: Promise<unknown>): Promise<unknown> =>
      promise.then(
        () => 'no error',
        (error: { code?: string }) => error.code ?? error,
      );
    expect(await codes(PatchSegmenter.fit([], clicks))).toBe('OPTION_VALUE');
    expect(await codes(PatchSegmenter.fit([features, other], clicks))).toBe('OPTION_VALUE');
    expect(await codes(PatchSegmenter.fit(features, undefined as never))).toBe('OPTION_VALUE');
    expect(await codes(PatchSegmenter.fit(features, { ...clicks, penalty: 1 } as never))).toBe('OPTION_NAME');
    const segmenter = await PatchSegmenter.fit(features, clicks);
    expect(await codes(segmenter.map(other))).toBe('OPTION_VALUE');
    expect(await codes(segmenter.map(features, { batchIndex: 2 }))).toBe('OPTION_VALUE');
    const signal = AbortSignal.abort('enough');
    expect(await codes(PatchSegmenter.fit(features, { ...clicks, signal }))).toBe('enough');
    expect(await codes(segmenter.map(features, { signal }))).toBe('enough');
    const broken = planted(tokens.with(64 * 9 + 5, NaN), shape); // row 1, col 1
    expect(await codes(PatchSegmenter.fit(broken, clicks))).toBe('INPUT_NOT_FINITE');
  });
});
