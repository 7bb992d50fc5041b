// All outputs of a DINOv2 compared with transformers and with facebookresearch's code
// (scripts/make-fixtures/make_outputs.py).
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { DINOv2, ImageClassifier, type RawImage } from '../../src/index.ts';
import { parameters } from '../../src/model/parameters.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { FP32_MAX_ERROR, maxError, readTensors, referenceFolder } from '../parity.ts';
import {
  CLASSES,
  compareFacebook,
  compareHuggingFace,
  fileOf,
  headsOf,
  loadClassifier,
  pixelsOf,
  tinyConfig,
  type Kind,
} from './outputs.ts';

/** Without the self-test, which has its own tests. */
const options = { device: await sharedDevice(), selfTest: false } as const;

const report: string[] = [];
afterAll(() => console.log(report.join('\n')));

describe.each<Kind>(['plain', 'registers'])('tiny-%s', (kind) => {
  const config = tinyConfig(kind);

  describe('equals transformers', () => {
    let model: DINOv2;
    beforeAll(async () => {
      model = await loadClassifier(config, kind, options);
    });
    afterAll(() => model.dispose());

    test.each([
      [70, 70, 1],
      [56, 98, 3],
      [126, 42, 1],
      [100, 61, 1],
      [14, 14, 1],
      [28, 182, 1],
    ])('%i × %i, batch %i', async (height, width, batch) => {
      const errors = await compareHuggingFace(model, `tiny-${kind}`, { height, width, batch });
      report.push(`hf ${kind} ${height}×${width} b${batch}: ${errors}`);
      expect(errors.worst, JSON.stringify(errors.byName)).toBeLessThanOrEqual(FP32_MAX_ERROR);
    });

    test('the classifier names its classes', async () => {
      const image: RawImage = {
        data: Uint8Array.from({ length: 300 * 280 * 3 }, (_, i) => (i * 7 + (i >> 8)) % 256),
        width: 300,
        height: 280,
      };
      const { classifier } = model;
      expect(classifier).toMatchObject({ numClasses: CLASSES, blocks: 1, layers: [] });
      const pixels = { cropSize: 70, orientation: 'ignore' } as const;
      const all = await classifier!.classify(image, { topK: 100, ...pixels });
      expect(all.map(({ index }) => index).sort((a, b) => a - b)).toEqual(
        Array.from({ length: CLASSES }, (_, i) => i),
      );
      for (const { label, index } of all) expect(label).toBe(`class ${index}`);
      expect(all.reduce((sum, { score }) => sum + score, 0)).toBeCloseTo(1, 12);
      for (const [i, { logit, score }] of all.entries()) {
        if (i > 0) expect(logit).toBeLessThanOrEqual(all[i - 1]!.logit);
        expect(score / all[0]!.score).toBeCloseTo(Math.exp(logit - all[0]!.logit), 12);
      }
      const both = await classifier!.classify([image, image], { topK: 2, ...pixels });
      expect(both).toEqual([all.slice(0, 2), all.slice(0, 2)]);
    });

    test('images of several sizes give the same bits, although those of one size share a forward', async () => {
      const photo = (width: number, height: number, seed: number): RawImage => ({
        data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * seed + (i >> 7)) % 256),
        width,
        height,
      });
      const images = [photo(90, 60, 3), photo(60, 90, 5), photo(90, 60, 11)];
      const fit = { resize: 'fit', longestSide: 84, orientation: 'ignore' } as const;
      const before = model.gpuBytes;
      const groups = await model.featuresBySize(images, { ...fit, layers: [2] });
      expect(groups.map(({ indices }) => indices)).toEqual([[0, 2], [1]]);
      for (const { indices, features } of groups) {
        const perImage = features.numTokens * features.embedDim;
        const [last, second] = [await features.lastHiddenState(), await features.hiddenState(2)];
        for (const [i, index] of indices.entries()) {
          using alone = await model.features(images[index]!, { ...fit, layers: [2] });
          expect([features.rows, features.cols]).toEqual([alone.rows, alone.cols]);
          expect(
            maxError(last.subarray(i * perImage, (i + 1) * perImage), await alone.lastHiddenState()),
          ).toBe(0);
          expect(
            maxError(second.subarray(i * perImage, (i + 1) * perImage), await alone.hiddenState(2)),
          ).toBe(0);
        }
        features.dispose();
      }
      const together = await model.classifier!.classify(images, { topK: 3, ...fit });
      for (const [i, image] of images.entries())
        expect(together[i]).toEqual(await model.classifier!.classify(image, { topK: 3, ...fit }));
      // features() accepts only images of one size; the failed call must leave no buffer.
      await expect(model.features(images, fit)).rejects.toThrow(
        /images of one size after resizing, found image 0 with 84 × 56 and image 1 with 56 × 84.*featuresBySize/,
      );
      const held = model.gpuBytes;
      const broken = { data: new Uint8Array(5), width: 90, height: 60 };
      await expect(model.featuresBySize([...images, broken], fit)).rejects.toMatchObject({
        name: 'ImageError',
      });
      await expect(model.featuresBySize(images, { ...fit, layers: [99] })).rejects.toMatchObject({
        code: 'OPTION_VALUE',
      });
      expect(model.gpuBytes).toBe(held);
      expect(held).toBeGreaterThanOrEqual(before);
    });
  });

  describe('equals facebookresearch', () => {
    let model: DINOv2;
    let heads: readonly ImageClassifier[];
    beforeAll(async () => {
      model = await DINOv2.synthetic(config, {
        posEmbed: kind === 'plain' ? 'offset' : 'antialias',
        ...options,
      });
      heads = await headsOf(model);
    });
    afterAll(() => model.dispose());

    test.each([
      [70, 70, 1],
      [56, 98, 3],
      [126, 42, 1],
      [28, 182, 1],
    ])('%i × %i, batch %i', async (height, width, batch) => {
      const errors = await compareFacebook(model, heads, `tiny-${kind}`, { height, width, batch });
      report.push(`fb ${kind} ${height}×${width} b${batch}: ${errors}`);
      expect(errors.worst, JSON.stringify(errors.byName)).toBeLessThanOrEqual(FP32_MAX_ERROR);
    });
  });
});

describe.each(['plain', 'registers', 'swiglu'])(
  'tiny-%s, loaded from its file: every complete attention matrix',
  (kind) => {
    let model: DINOv2;
    beforeAll(async () => {
      const folder = new URL(`tiny-${kind}/`, referenceFolder);
      const [config, weights] = await Promise.all([
        readFile(new URL('config.json', folder), 'utf8'),
        readFile(new URL('model.safetensors', folder)),
      ]);
      model = await DINOv2.fromFiles({ config, weights: new Uint8Array(weights) }, options);
    });
    afterAll(() => model.dispose());

    test.each([
      [70, 70, 1],
      [56, 98, 2],
      [14, 14, 1],
      [100, 61, 1],
    ])('%i × %i, batch %i', async (height, width, batch) => {
      const expected = await readTensors(`tiny-${kind}/expected.${height}x${width}.b${batch}.safetensors`);
      using features = await model.forward(
        pixelsOf(height, width, batch),
        { height, width, batch },
        { attentions: [0, 1] },
      );
      const worst: number[] = [];
      for (const layer of [0, 1]) {
        const { values } = expected.get(`attentions.${layer}`)!;
        const perImage = values.length / batch;
        const { numTokens, numHeads } = features;
        for (let batchIndex = 0; batchIndex < batch; batchIndex++) {
          const image = values.subarray(batchIndex * perImage, (batchIndex + 1) * perImage);
          worst.push(maxError(await features.attention(layer, { query: 'all', batchIndex }), image));
          const mean = Float32Array.from({ length: numTokens }, (_, token) => {
            let sum = 0;
            for (let head = 0; head < numHeads; head++) sum += image[head * numTokens ** 2 + token]!;
            return sum / numHeads;
          });
          worst.push(maxError(await features.attention(layer, { head: 'mean', batchIndex }), mean));
        }
      }
      report.push(
        `attentions of tiny-${kind} ${height}×${width} b${batch}: ${Math.max(...worst).toExponential(1)}`,
      );
      for (const error of worst) expect(error).toBeLessThanOrEqual(FP32_MAX_ERROR);
    });
  },
);

describe('outputs that were not requested or do not exist', () => {
  const [height, width] = [28, 42];
  let model: DINOv2;
  beforeAll(async () => {
    model = await DINOv2.synthetic(tinyConfig('plain'), options);
  });
  afterAll(() => model.dispose());

  test('are errors that name the kept layers and the option to pass', async () => {
    using features = await model.forward(
      pixelsOf(height, width, 1),
      { height, width },
      { layers: [2], attentions: [1] },
    );
    await expect(features.hiddenState(3)).rejects.toThrow(
      /did not store layers 3 \(stored: 2\)\. Pass \{ layers: \[3\] \}/,
    );
    await expect(features.getIntermediateLayers(2)).rejects.toThrow(
      /did not store layers 4 \(stored: 2\)\. Pass \{ layers: \[4\] \}/,
    );
    await expect(features.getIntermediateLayers([0, 1], { norm: false })).rejects.toThrow(
      /store layers 1 \(stored: 2\)\. Pass \{ layers: \[1, 2\] \}/,
    );
    for (const layer of [-7, 6, 1.5])
      await expect(features.hiddenState(layer)).rejects.toThrow(
        `hiddenState: expected a layer from 0 to 5, or from -6 to -1 (counted from the end), found ${layer}.`,
      );
    for (const block of [-6, 5, 0.5]) {
      await expect(features.attention(block)).rejects.toThrow(
        `attention: expected a block from 0 to 4, or from -5 to -1 (counted from the end), found ${block}.`,
      );
      await expect(features.attentionMap(block)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    }
    await expect(features.attention(-1)).rejects.toThrow(
      /did not store attentions 4 \(stored: 1\)\. Pass \{ attentions: \[4\] \}/,
    );
    await expect(features.attention(0)).rejects.toThrow(
      /did not store attentions 0 \(stored: 1\)\. Pass \{ attentions: \[0\] \}/,
    );
    // The last hidden state is kept without a request.
    expect(await features.hiddenState(5, { norm: true })).toEqual(await features.lastHiddenState());
    expect((await features.getIntermediateLayers())[0]).toEqual(await features.patchTokens());
    for (const n of [0, 6, 1.5, -1, NaN, Infinity, [], [1, 1], [5], [0.5], [-6], [4, -1]])
      await expect(features.getIntermediateLayers(n), JSON.stringify(n)).rejects.toMatchObject({
        code: 'OPTION_VALUE',
      });
    for (const options of [
      { head: 2 },
      { head: -1 },
      { head: '1' as never },
      { head: null as never },
      { batchIndex: 1 },
      { query: { row: 2, col: 0 } },
      { query: { row: 0, col: 3 } },
      { query: { register: 0 } },
      { query: 'patch' as never },
    ]) {
      await expect(features.attention(1, options), JSON.stringify(options)).rejects.toMatchObject({
        code: 'OPTION_VALUE',
      });
    }
    await expect(features.attention(1, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    );
  });

  test('negative numbers count from the end; repeated layers are stored once', async () => {
    const size = { height, width };
    using features = await model.forward(pixelsOf(height, width, 1), size, {
      layers: [-1, 5, -6, 0, -1],
      attentions: [-1, 4, -5],
    });
    expect(await features.hiddenState(-1)).toEqual(await features.hiddenState(5));
    expect(await features.hiddenState(-6)).toEqual(await features.hiddenState(0));
    expect(await features.hiddenState(-1, { norm: true })).toEqual(await features.lastHiddenState());
    expect(await features.attention(-1)).toEqual(await features.attention(4));
    expect(await features.attention(-5)).toEqual(await features.attention(0));
    expect(await features.getIntermediateLayers([-1])).toEqual(await features.getIntermediateLayers(1));
    using plain = await model.forward(pixelsOf(height, width, 1), size, {
      layers: [0, 5],
      attentions: [0, 4],
    });
    expect(await plain.hiddenState(-1)).toEqual(await features.hiddenState(-1));
    await expect(plain.hiddenState(-2)).rejects.toThrow(/did not store layers 4 \(stored: 0, 5\)/);
  });

  test('attention maps are the rows of attention without the cls token', async () => {
    using features = await model.forward(
      pixelsOf(height, width, 2),
      { height, width, batch: 2 },
      { attentions: [-1] },
    );
    const { rows, cols, numHeads, numTokens } = features;
    for (const options of [{ query: 'cls', batchIndex: 1 }, { query: { row: 1, col: 2 } }] as const) {
      const all = await features.attention(-1, options);
      const maps = await features.attentionMap(-1, options);
      expect(maps.length).toBe(numHeads);
      for (const [head, map] of maps.entries()) {
        expect([map.rows, map.cols]).toEqual([rows, cols]);
        expect(map.values).toEqual(all.slice(head * numTokens + 1, (head + 1) * numTokens));
        expect((await features.attentionMap(-1, { ...options, head })).values).toEqual(map.values);
      }
      const mean = await features.attentionMap(-1, { ...options, head: 'mean' });
      expect(mean.values).toEqual((await features.attention(-1, { ...options, head: 'mean' })).slice(1));
    }
    await expect(features.attentionMap(-1, { query: 'all' as never })).rejects.toThrow(
      /attentionMap: query: expected one token/,
    );
    await expect(features.attentionMap(-1, null as never)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  });

  test('invalid options are rejected', async () => {
    const forward = (options: object): Promise<unknown> =>
      model.forward(pixelsOf(height, width, 1), { height, width }, options);
    await expect(forward({ attentions: [5] })).rejects.toThrow(
      'attentions: expected whole numbers from 0 to 4, or from -5 to -1 (counted from the end), found 5.',
    );
    await expect(forward({ layers: [6] })).rejects.toThrow(
      'layers: expected whole numbers from 0 to 5, or from -6 to -1 (counted from the end), found 6.',
    );
    await expect(forward({ maskedPatches: [true] })).rejects.toThrow(/1 × 2 × 3 = 6 values, found 1/);
    await expect(
      DINOv2.synthetic(tinyConfig('plain'), { posEmbed: 'bilinear' as never }),
    ).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  });

  test('a checkpoint without a mask token loads, and a mask is an error that says so', async () => {
    const tensors = huggingFaceTensors(parameters(model.config)).filter(
      ({ name }) => !name.endsWith('mask_token'),
    );
    using without = await DINOv2.fromFiles({ weights: fileOf(tensors) }, options);
    using features = await without.forward(pixelsOf(height, width, 1), { height, width });
    expect(features.numTokens).toBe(7);
    await expect(
      without.forward(pixelsOf(height, width, 1), { height, width }, { maskedPatches: new Uint8Array(6) }),
    ).rejects.toMatchObject({ code: 'CHECKPOINT_TENSORS' });
  });

  test('an empty mask changes nothing; with a full mask the result does not depend on the image', async () => {
    const bits = async (seed: number, maskedPatches?: Uint8Array): Promise<Float32Array> => {
      using features = await model.forward(
        pixelsOf(height, width, 1).map((value) => value + seed),
        { height, width },
        { maskedPatches },
      );
      return features.lastHiddenState();
    };
    expect(await bits(0, new Uint8Array(6))).toEqual(await bits(0));
    expect(await bits(0, new Uint8Array(6).fill(1))).toEqual(await bits(1, new Uint8Array(6).fill(1)));
    expect(await bits(0)).not.toEqual(await bits(1));
  });

  test("facebookresearch's 4-layer classifier loads from one file with backbone.… and linear_head.…", async () => {
    const { config } = model;
    const backbone = parameters(config).map(({ name, shape }) => ({
      name: `backbone.${name}`,
      shape,
      formula: name,
    }));
    const head = [
      { name: 'linear_head.weight', shape: [CLASSES, 640] },
      { name: 'linear_head.bias', shape: [CLASSES] },
    ];
    using whole = await DINOv2.fromFiles({ weights: fileOf([...head, ...backbone]) }, options);
    expect(whole.config).toMatchObject({ depth: 5, posEmbed: 'offset' });
    expect(whole.classifier).toMatchObject({ blocks: 4, layers: [2, 3, 4], numClasses: CLASSES });
    using features = await whole.forward(
      pixelsOf(height, width, 2),
      { height, width, batch: 2 },
      { layers: whole.classifier!.layers },
    );
    const apart = await ImageClassifier.fromFiles(whole, { weights: fileOf(head) });
    expect(await whole.classifier!.logits(features)).toEqual(await apart.logits(features));
  });

  test('heads of an unsupported width or form', async () => {
    const file = (name: string, shape: number[], bias = [CLASSES]): Uint8Array =>
      fileOf([
        { name: `${name}weight`, shape },
        { name: `${name}bias`, shape: bias },
      ]);
    expect((await ImageClassifier.fromFiles(model, { weights: file('', [CLASSES, 640]) })).layers).toEqual([
      2, 3, 4,
    ]);
    expect(
      (
        await ImageClassifier.fromFiles(model, {
          weights: file('classifier.', [CLASSES, 256]),
          labels: Array.from('abcdefghij'),
        })
      ).labels[9],
    ).toBe('j');
    await expect(ImageClassifier.fromFiles(model, { weights: file('', [CLASSES, 384]) })).rejects.toThrow(
      /expected 256 features \(1 layer\) or 640 \(4 layers\).*found 384/,
    );
    await expect(
      ImageClassifier.fromFiles(model, { weights: file('', [CLASSES, 256], [9]) }),
    ).rejects.toMatchObject({ code: 'CHECKPOINT_TENSORS' });
    await expect(
      ImageClassifier.fromFiles(model, { weights: file('other.', [CLASSES, 256]) }),
    ).rejects.toThrow(/named linear.weight/);
    await expect(
      ImageClassifier.fromFiles(model, { weights: file('', [CLASSES, 256]), labels: ['one'] }),
    ).rejects.toThrow(/expected 10 names.*found 1/);
    const classifier = await ImageClassifier.fromFiles(model, { weights: file('', [CLASSES, 640]) });
    using features = await model.forward(pixelsOf(height, width, 1), { height, width });
    await expect(classifier.logits(features)).rejects.toThrow(/layers: \[2, 3, 4\]/);
  });

  test('dispose frees all GPU memory, and features outlive their model', async () => {
    const own = await DINOv2.synthetic(tinyConfig('registers'), options);
    const before = own.gpuBytes;
    const pixels = pixelsOf(56, 42, 2);
    const asked = {
      layers: [0, 2, 5],
      attentions: [0, 4],
      maskedPatches: new Uint8Array(24).fill(1, 3, 9),
    };
    using kept = await own.forward(pixels, { height: 56, width: 42, batch: 2 }, asked);
    const after = own.gpuBytes;
    const first = await own.forward(pixels, { height: 56, width: 42, batch: 2 }, asked);
    const read = async (features: typeof first): Promise<Float32Array[]> => [
      await features.hiddenState(2, { norm: true }),
      await features.attention(4, { query: 'all', head: 'mean', batchIndex: 1 }),
      await features.attention(0, { query: { register: 3 } }),
    ];
    const values = await read(first);
    first.dispose();
    first.dispose();
    expect(own.gpuBytes).toBe(after);
    expect(after).toBeGreaterThan(before);
    own.dispose();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await read(kept)).toEqual(values);
    await expect(first.attention(0)).rejects.toMatchObject({ code: 'DISPOSED' });
    await expect(first.getIntermediateLayers()).rejects.toMatchObject({ code: 'DISPOSED' });
    kept.dispose();
    expect(model.gpuBytes).toBeLessThan(before);
  });
});
