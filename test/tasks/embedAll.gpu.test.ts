// embed and embedAll with images of several sizes. Images of one size share a forward, which must not change the bits.
import { afterAll, expect, test } from 'vitest';
import { DINOv2, type Embedded, type RawImage } from '../../src/index.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { tinyConfig } from '../model/outputs.ts';
import { Random } from '../random.ts';

const model = await DINOv2.synthetic(tinyConfig('registers'), {
  device: await sharedDevice(),
  selfTest: false,
});
afterAll(() => model.dispose());

const random = new Random(5);
const image = (width: number, height: number): RawImage => ({
  data: Uint8Array.from({ length: width * height * 3 }, () => random.integer(0, 255)),
  width,
  height,
});
const images = [image(90, 60), image(60, 90), image(80, 80), image(91, 61), image(62, 92), image(200, 20)];
const options = { resize: 'fit', longestSide: 84, pooling: 'cls+mean', normalize: false } as const;
const broken: RawImage = { data: new Uint8Array(5), width: 3, height: 3 };

const alone: Float32Array[] = [];
for (const each of images) alone.push(await model.embed(each, options));

test('embed() groups images by size, keeps order and bits, and compiles nothing for a new size', async () => {
  const before = model.gpuBytes;
  const vectors = await model.embed(images, options);
  expect(vectors).toEqual(alone);
  expect(await model.embed([], options)).toEqual([]);
  expect(new Set(vectors.map((vector) => vector[0])).size).toBe(images.length);
  expect(model.gpuBytes).toBeLessThanOrEqual(before + 1_000_000); // programs for new batch sizes, but no pixels and no features
  await expect(model.embed([images[0]!, broken], options)).rejects.toMatchObject({
    code: expect.any(String) as string,
  });
});

test.each([1, 2, 4, 100])('embedAll() in batches of %i gives the same bits', async (batchSize) => {
  const found: Embedded[] = [];
  for await (const result of model.embedAll([...images.slice(0, 2), broken, ...images.slice(2)], {
    ...options,
    batchSize,
  }))
    found.push(result);
  expect(found.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(found.flatMap(({ embedding }) => (embedding ? [embedding] : []))).toEqual(alone);
  expect(found[2]!.error?.name).toBe('ImageError');
});

test('embedAll() rejects invalid options at once, and frees all buffers if the loop is left early', async () => {
  const first = (extra: object): Promise<unknown> => model.embedAll(images, { ...options, ...extra }).next();
  await expect(first({ batchSize: 0 })).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  await expect(first({ longestSide: 3 })).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  await expect(first({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough');
  const { gpuBytes } = model; // includes the programs for these batch sizes from the test above
  for await (const { index } of model.embedAll(images, { ...options, batchSize: 2 })) if (index === 0) break;
  await expect.poll(() => model.gpuBytes).toBe(gpuBytes);
});
