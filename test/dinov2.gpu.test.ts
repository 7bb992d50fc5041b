// End to end on Dawn in Node: from an image to its features.
import { readFile } from 'node:fs/promises';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSafetensors } from '../src/safetensors.ts';
import { DINOv2, PCA, type RawImage } from '../src/index.ts';
import { sharedDevice } from './gpu/sharedDevice.ts';
import { maxError, referenceFolder } from './parity.ts';

const photo = async (name: string): Promise<RawImage> => {
  const { data, width, height } = PNG.sync.read(
    await readFile(new URL(`../demo/photos/${name}.png`, import.meta.url)),
  );
  return { data: new Uint8Array(data), width, height };
};

const expectedPixels = async (name: string): Promise<Float32Array> => {
  const bytes = new Uint8Array(
    await readFile(new URL(`./fixtures/photos/expected/${name}.pixel_values.safetensors`, import.meta.url)),
  );
  const { begin, end } = [...parseSafetensors(bytes).tensors.values()][0]!;
  return new Float32Array(bytes.slice(begin, end).buffer);
};

/** The self-test is off because it has its own tests. */
const options = { device: await sharedDevice(), selfTest: false } as const;
let model: DINOv2;
beforeAll(async () => {
  const folder = new URL('tiny-registers/', referenceFolder);
  model = await DINOv2.fromFiles(
    { weights: new Blob([await readFile(new URL('model.safetensors', folder))]) },
    options,
  );
});
afterAll(() => model.dispose());

test('a checkpoint without config.json gets its configuration from its tensors', () => {
  expect(model.config).toMatchObject({
    embedDim: 128,
    depth: 2,
    numHeads: 2,
    numRegisterTokens: 4,
    imageSize: 70,
    posEmbed: 'antialias',
  });
});

describe('features of a photograph', () => {
  test('equal those of the pixels that Python computes, bit for bit', async () => {
    using found = await model.features(await photo('chelsea'));
    using expected = await model.forward(await expectedPixels('chelsea'), { height: 224, width: 224 });
    expect(found).toMatchObject({ batch: 1, rows: 16, cols: 16, numTokens: 261, embedDim: 128 });
    expect(maxError(await found.lastHiddenState(), await expected.lastHiddenState())).toBe(0);
  });

  test('are bit-identical in a batch and split into cls, register and patch tokens', async () => {
    const images = [await photo('chelsea'), await photo('coffee')];
    using both = await model.features(images);
    const all = await both.lastHiddenState();
    const perImage = all.length / 2;
    for (const [index, image] of images.entries()) {
      using alone = await model.features(image);
      expect(
        maxError(await alone.lastHiddenState(), all.subarray(index * perImage, (index + 1) * perImage)),
      ).toBe(0);
    }
    expect((await both.clsToken()).length).toBe(2 * 128);
    expect(
      maxError(await both.clsToken(), [...all.subarray(0, 128), ...all.subarray(perImage, perImage + 128)]),
    ).toBe(0);
    expect((await both.registerTokens()).length).toBe(2 * 4 * 128);
    expect(maxError((await both.patchTokens()).subarray(0, 128), all.subarray(5 * 128, 6 * 128))).toBe(0);
  });

  test("'fit' keeps the aspect ratio", async () => {
    using features = await model.features(await photo('chelsea'), { resize: 'fit', longestSide: 140 }); // 451 × 300
    expect(features).toMatchObject({ rows: 7, cols: 10, numTokens: 1 + 4 + 70 });
  });

  test('pixels() returns the pixels that the model receives', async () => {
    const { data, batch, height, width } = await model.pixels(await photo('coffee'));
    expect([batch, height, width]).toEqual([1, 224, 224]);
    expect(maxError(data, await expectedPixels('coffee'))).toBe(0);
  });

  test('embed() returns one unit vector per image', async () => {
    const vectors = await model.embed([await photo('chelsea'), await photo('coffee')]);
    expect(vectors.map((vector) => vector.length)).toEqual([128, 128]);
    for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 6);
    const alone = await model.embed(await photo('coffee'), { pooling: 'cls+mean', normalize: false });
    expect(alone.length).toBe(256);
  });

  test('can be drawn as a PCA picture', async () => {
    using features = await model.features(await photo('chelsea'));
    const pca = await PCA.fit(features);
    const rgba = await pca.rgb(features);
    expect(rgba.length).toBe(16 * 16 * 4);
    expect(new Set(rgba).size).toBeGreaterThan(10);
  });
});

test('images of one colour: finite tokens, the same bits each time, and different ones for each colour', async () => {
  const tokensOf = async (value: number): Promise<Float32Array> => {
    const data = new Uint8Array(56 * 56 * 3).fill(value);
    using features = await model.features({ data, width: 56, height: 56 }, { resize: 'square', size: 56 });
    return features.lastHiddenState();
  };
  const [black, grey, white] = [await tokensOf(0), await tokensOf(128), await tokensOf(255)];
  for (const tokens of [black, grey, white]) expect(tokens.every(Number.isFinite)).toBe(true);
  expect(await tokensOf(0)).toEqual(black);
  expect(await tokensOf(255)).toEqual(white);
  expect(maxError(black, grey)).toBeGreaterThan(1e-3);
  expect(maxError(grey, white)).toBeGreaterThan(1e-3);
});

describe('invalid input', () => {
  test.each([
    [
      'too few pixels',
      () => model.forward(new Float32Array(5), { height: 14, width: 14 }),
      /expected 1 × 3 × 14 × 14 = 588 values, found 5/,
    ],
    [
      'a height that is no multiple of the patch size',
      () => model.forward(new Float32Array(3 * 13 * 14), { height: 13, width: 14 }),
      /at least one patch of 14 × 14/,
    ],
    [
      'NaN',
      () => model.forward(new Float32Array(588).fill(NaN), { height: 14, width: 14 }),
      /finite pixels, found NaN at index 0/,
    ],
    [
      'a layer out of range',
      () => model.forward(new Float32Array(588), { height: 14, width: 14 }, { layers: [3] }),
      /from 0 to 2, or from -3 to -1 .*found 3/,
    ],
  ])('%s', async (_, run, message) => {
    await expect(Promise.resolve().then(run)).rejects.toThrow(message);
  });

  test('a hidden state that was not requested, and features after dispose()', async () => {
    const features = await model.forward(new Float32Array(588), { height: 14, width: 14 }, { layers: [1] });
    await features.hiddenState(1);
    await expect(Promise.resolve().then(() => features.hiddenState(2))).rejects.toThrow(
      /did not store layers 2 \(stored: 1\)/,
    );
    features.dispose();
    await expect(Promise.resolve().then(() => features.clsToken())).rejects.toMatchObject({
      code: 'DISPOSED',
    });
  });
});

test('fp16 weights: every token within a cosine of 0.99999 of fp32', async () => {
  const folder = new URL('tiny-registers/', referenceFolder);
  using half = await DINOv2.fromFiles(
    { weights: new Blob([await readFile(new URL('model.safetensors', folder))]) },
    { ...options, dtype: 'fp16' },
  );
  const image = await photo('chelsea');
  using found = await half.features(image);
  using expected = await model.features(image);
  const { minCosine } = await import('./tolerance.ts');
  expect(
    minCosine(await found.lastHiddenState(), await expected.lastHiddenState(), 128),
  ).toBeGreaterThanOrEqual(0.99999);
});
