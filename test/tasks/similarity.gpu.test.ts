// Features.similarity against float64 and against PatchSimilarity, with the tokens of a tiny model.
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { OptionError } from '../../src/errors.ts';
import type { Features } from '../../src/features.ts';
import { patchArea } from '../../src/tasks/placement.ts';
import { PatchSimilarity } from '../../src/tasks/patchSimilarity.ts';
import type { SimilarityQuery } from '../../src/tasks/similarityQuery.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { requestDevice, settled, tiny } from '../gpu/tiny.ts';
import { noiseImage } from '../image/fixtures.ts';
import { maxError } from '../tolerance.ts';
import * as twins from '../reference/patch_similarity.ts';

let model: DINOv2;
let features: Features;
let other: Features;
beforeAll(async () => {
  const device = await sharedDevice();
  model = await DINOv2.synthetic({ ...tiny, numRegisterTokens: 4 }, { device, selfTest: false });
  const fit = { resize: 'fit', longestSide: 84 } as const;
  features = await model.features([noiseImage(120, 80), noiseImage(240, 160)], fit);
  other = await model.features(noiseImage(50, 100), { resize: 'fit', longestSide: 70 });
});
afterAll(async () => {
  features.dispose();
  other.dispose();
  model.dispose();
  await settled();
});

/** The map in float64: `weights` by patch of the query's image. */
async function exact(
  weights: Record<number, number>,
  from: { features: Features; batchIndex?: number },
  to: { features: Features; batchIndex?: number },
): Promise<Float64Array> {
  const { embedDim: dim } = features;
  const patchesOf = async ({ features: all, batchIndex = 0 }: typeof from): Promise<Float32Array> => {
    const count = all.rows * all.cols * dim;
    return (await all.patchTokens()).subarray(batchIndex * count, (batchIndex + 1) * count);
  };
  const chosen = Object.entries(weights).map(([token, weight]) => ({ token: Number(token), weight }));
  const unit = twins.similarityQuery(twins.similaritySums(await patchesOf(from), chosen, dim), dim);
  return twins.similarityMap(await patchesOf(to), unit, 0, to.features.rows * to.features.cols, dim);
}

const mean = (patches: readonly number[], sum = 1): Record<number, number> =>
  Object.fromEntries(patches.map((patch) => [patch, sum / patches.length]));

describe('a map on the GPU', () => {
  test('equals float64 for every kind of query, and is 1 at its own patch', async () => {
    const { rows, cols } = features;
    expect([rows, cols]).toEqual([4, 6]);
    const area = patchArea(features, { row: 2, col: 3 });
    const vector = (await features.patchTokens()).slice(7 * 64, 8 * 64);
    const cases: [SimilarityQuery, Record<number, number>][] = [
      [{ row: 2, col: 3 }, { 15: 1 }],
      [{ x: area.x + 1, y: area.y + 1 }, { 15: 1 }],
      [{ row: 1, col: 2, rows: 2, cols: 3 }, mean([8, 9, 10, 14, 15, 16])],
      [area, { 15: 1 }],
      [{ x: area.x - 5, y: area.y + 2, width: area.width, height: area.height }, mean([14, 15, 20, 21])],
      [{ row: 0, col: 0, rows, cols }, mean(Array.from({ length: 24 }, (_, i) => i))],
      [
        { positive: [{ row: 0, col: 1 }, area], negative: [{ row: 3, col: 5 }] },
        { 1: 0.5, 15: 0.5, 23: -1 },
      ],
      [vector, { 7: 1 }],
      [[...vector], { 7: 1 }],
    ];
    const similarity = await PatchSimilarity.read(features);
    for (const [query, weights] of cases) {
      using map = await features.similarity(query);
      expect([map.rows, map.cols, map.buffer.size]).toEqual([rows, cols, 4 * rows * cols]);
      const { values } = await map.read();
      expect(maxError(values, await exact(weights, { features }, { features }))).toBeLessThan(1e-5);
      expect(maxError(similarity.map(query).values, values)).toBeLessThan(2e-6);
      const own = Object.keys(weights);
      if (own.length === 1) expect(Math.abs(values[Number(own[0])]! - 1)).toBeLessThan(1e-6);
    }
  });

  test('of an image of a batch, another image of the batch, other features, and several', async () => {
    const query = { row: 1, col: 1 };
    const check = async (
      found: { read(): Promise<{ values: Float32Array }>; dispose(): void },
      batchIndex: number,
      to: { features: Features; batchIndex?: number },
    ): Promise<void> => {
      const expected = await exact({ 7: 1 }, { features, batchIndex }, to);
      expect(maxError((await found.read()).values, expected)).toBeLessThan(1e-5);
      found.dispose();
    };
    await check(await features.similarity(query, { batchIndex: 1 }), 1, { features, batchIndex: 1 });
    const across = { batchIndex: 1, againstBatchIndex: 0 };
    await check(await features.similarity(query, across), 1, { features, batchIndex: 0 });
    await check(await features.similarity(query, { against: other }), 0, { features: other });
    const maps = await features.similarity(query, { against: [other, features] });
    expect(maps).toHaveLength(2);
    await check(maps[0]!, 0, { features: other });
    await check(maps[1]!, 0, { features });
    expect(await features.similarity(query, { against: [] })).toEqual([]);
  });

  test('reads nothing back, gives the same bits again, and frees its memory', async () => {
    const before = model.gpuBytes;
    const mapped = vi.spyOn(GPUBuffer.prototype, 'mapAsync');
    const first = await features.similarity({ row: 3, col: 0 });
    const second = await features.similarity({ row: 3, col: 0 });
    expect(mapped).not.toHaveBeenCalled();
    mapped.mockRestore();
    expect((await second.read()).values).toEqual((await first.read()).values);
    expect(model.gpuBytes).toBe(before + 2 * 4 * 24);
    first.dispose();
    first.dispose();
    second.dispose();
    expect(model.gpuBytes).toBe(before);
    await expect(first.read()).rejects.toMatchObject({ code: 'DISPOSED' });
    expect(() => first.buffer).toThrow('disposed');
  });
});

describe('refuses', () => {
  test.each<[string, SimilarityQuery, object?]>([
    ['a patch outside of the image', { row: 4, col: 0 }],
    ['half a patch', { row: 0.5, col: 0 }],
    ['a region that leaves the image', { row: 3, col: 0, rows: 2, cols: 1 }],
    ['a point outside of the image', { x: 121, y: 5 }],
    ['an area outside of the image', { x: 130, y: 5, width: 10, height: 10 }],
    ['an empty area', { x: 10, y: 5, width: 0, height: 10 }],
    ['no positive example', { positive: [] }],
    ['equal positive and negative examples', { positive: [{ row: 0, col: 0 }], negative: [{ x: 1, y: 1 }] }],
    ['a vector of another model', [1, 2, 3]],
    ['a vector of zeros', new Float32Array(64)],
    ['an image that is not in the batch', { row: 0, col: 0 }, { batchIndex: 2 }],
    ['a compared image that is not in the batch', { row: 0, col: 0 }, { againstBatchIndex: 2 }],
    ['something else than features', { row: 0, col: 0 }, { against: 'features' }],
    ['an unknown option', { row: 0, col: 0 }, { agianst: undefined }],
  ])('%s', async (_, query, options) => {
    await expect(features.similarity(query, options)).rejects.toThrow(OptionError);
  });

  test('a vector that is not finite, an aborted signal, and features that were disposed of', async () => {
    const vector = new Float32Array(64).fill(NaN);
    await expect(features.similarity(vector)).rejects.toMatchObject({ code: 'INPUT_NOT_FINITE' });
    const signal = AbortSignal.abort(new Error('stop'));
    await expect(features.similarity({ row: 0, col: 0 }, { signal })).rejects.toThrow('stop');
    const gone = await model.features(noiseImage(50, 50), { cropSize: 28 });
    gone.dispose();
    await expect(gone.similarity({ row: 0, col: 0 })).rejects.toMatchObject({ code: 'DISPOSED' });
    await expect(features.similarity({ row: 0, col: 0 }, { against: gone })).rejects.toMatchObject({
      code: 'DISPOSED',
    });
  });

  test('features on another device', async () => {
    const device = await requestDevice();
    const far = await DINOv2.synthetic(tiny, { device, selfTest: false });
    const there = await far.features(noiseImage(50, 50), { cropSize: 28 });
    await expect(features.similarity({ row: 0, col: 0 }, { against: there })).rejects.toThrow(
      'another device',
    );
    there.dispose();
    far.dispose();
    await settled();
    device.destroy();
  });
});

test('a token that is not finite is reported when the map is read', async () => {
  const bad = await model.features(noiseImage(50, 50), { cropSize: 28 });
  const at = 4 * 64 * (1 + 4 + 2); // the first value of patch 2
  model.device.queue.writeBuffer(bad.buffer, at, Float32Array.of(NaN));
  using map = await bad.similarity({ row: 0, col: 0 });
  await expect(map.read()).rejects.toMatchObject({
    code: 'INPUT_NOT_FINITE',
    message: expect.stringContaining('row 1, col 0') as string,
  });
  bad.dispose();
});
