// The larger cases of outputs.gpu.test.ts, which take minutes on a software adapter.
import { afterAll, describe, expect, test } from 'vitest';
import { DINOv2, type ModelSize } from '../../src/index.ts';
import { FP32_MAX_ERROR, maxError } from '../tolerance.ts';
import {
  compareFacebook,
  compareHuggingFace,
  forwardOf,
  headsOf,
  loadClassifier,
  pixelsOf,
  tinyConfig,
  type Case,
  type Errors,
  type Kind,
} from './outputs.ts';

const report: string[] = [];
afterAll(() => console.log(report.join('\n')));

const MINUTES = 60_000;

/** Six image sizes, square and not, with one image or three: `sizes` in make_outputs.py. */
const sizesOf = (size: ModelSize): Case[] =>
  (
    [
      [98, 154, 1],
      [70, 42, size === 'small' ? 3 : 1],
      [14, 182, 1],
      [70, 70, 3],
      [126, 42, 1],
      size === 'large' ? [112, 112, 1] : [224, 224, 1],
    ] as const
  ).map(([height, width, batch]) => ({ height, width, batch }));

describe.each<ModelSize>(['small', 'base', 'large'])('%s', (size) => {
  const note = (source: string, kind: Kind, { height, width, batch }: Case, errors: Errors): void => {
    report.push(`${source} ${size} ${kind} ${height}×${width} b${batch}: ${errors}`);
    expect(errors.worst, JSON.stringify(errors.byName)).toBeLessThanOrEqual(FP32_MAX_ERROR);
  };

  test(
    'registers: equals transformers and facebookresearch, which agree on positions, so one forward suffices',
    { timeout: 10 * MINUTES },
    async () => {
      using model = await loadClassifier(size, 'registers');
      const heads = await headsOf(model);
      for (const input of sizesOf(size)) {
        using features = await forwardOf(model, input);
        note('hf', 'registers', input, await compareHuggingFace(model, `${size}-registers`, input, features));
        note(
          'fb',
          'registers',
          input,
          await compareFacebook(model, heads, `${size}-registers`, input, features),
        );
      }
    },
  );

  test('plain: equals transformers', { timeout: 10 * MINUTES }, async () => {
    using model = await loadClassifier(size, 'plain');
    for (const input of sizesOf(size))
      note('hf', 'plain', input, await compareHuggingFace(model, `${size}-plain`, input));
  });

  test('plain: equals facebookresearch', { timeout: 10 * MINUTES }, async () => {
    using model = await DINOv2.synthetic(size, { posEmbed: 'offset' });
    const heads = await headsOf(model);
    for (const input of sizesOf(size))
      note('fb', 'plain', input, await compareFacebook(model, heads, `${size}-plain`, input));
  });
});

test('4,097 tokens', { timeout: 10 * MINUTES }, async () => {
  using model = await loadClassifier(tinyConfig('plain'), 'plain');
  const errors = await compareHuggingFace(model, 'tiny-plain', { height: 896, width: 896, batch: 1 });
  report.push(`hf plain 896×896: ${errors}`);
  expect(errors.worst, JSON.stringify(errors.byName)).toBeLessThanOrEqual(FP32_MAX_ERROR);

  using features = await model.forward(
    pixelsOf(896, 896, 1),
    { height: 896, width: 896 },
    { attentions: [4] },
  );
  expect(features.numTokens).toBe(4097);
  // The matrix is larger than the memory limit of a chunk, so it is computed in chunks. Their rows must equal rows that
  // are computed alone.
  const whole = await features.attention(4, { query: 'all', head: 'mean' });
  for (const [row, col] of [
    [0, 0],
    [31, 17],
    [63, 63],
  ] as const) {
    const at = (1 + row * 64 + col) * 4097;
    expect(
      maxError(
        await features.attention(4, { query: { row, col }, head: 'mean' }),
        whole.subarray(at, at + 4097),
      ),
    ).toBe(0);
  }
});

describe('reproducibility', () => {
  const bits = (values: Float32Array): Buffer =>
    Buffer.from(values.buffer, values.byteOffset, values.byteLength);

  test.each<Kind>(['plain', 'registers'])(
    '100 forwards, and batches of 1 to 8 with every image at every position, give the same bits: %s',
    { timeout: 10 * MINUTES },
    async (kind) => {
      using model = await DINOv2.synthetic(tinyConfig(kind));
      const [height, width] = [70, 98];
      const one = 3 * height * width;
      const all = pixelsOf(height, width, 8);
      const forward = async (pixels: Float32Array): Promise<Buffer> => {
        using features = await model.forward(pixels, { height, width, batch: pixels.length / one });
        return bits(await features.lastHiddenState());
      };
      const alone: Buffer[] = [];
      for (let image = 0; image < 8; image++)
        alone.push(await forward(all.subarray(image * one, (image + 1) * one)));
      expect(new Set(alone.map((each) => each.toString('base64'))).size).toBe(8);
      for (let round = 0; round < 100; round++)
        expect(Buffer.compare(await forward(all.subarray(0, one)), alone[0]!)).toBe(0);

      for (let batch = 2; batch <= 8; batch++) {
        // Rotates the batch, so that every image is at every position once.
        for (let turn = 0; turn < batch; turn++) {
          const order = Array.from({ length: batch }, (_, position) => (position + turn) % batch);
          const pixels = new Float32Array(batch * one);
          order.forEach((image, position) =>
            pixels.set(all.subarray(image * one, (image + 1) * one), position * one),
          );
          expect(
            Buffer.compare(await forward(pixels), Buffer.concat(order.map((image) => alone[image]!))),
            `batch ${batch}, turn ${turn}`,
          ).toBe(0);
        }
      }
    },
  );
});
