// The larger half of the outputs: minutes on a software adapter.
import { afterAll, describe, expect, test } from 'vitest';
import { DINOv2, type ModelSize } from '../../src/index.ts';
import { FP32_MAX_ERROR, maxError } from '../tolerance.ts';
import { compareHuggingFace, loadClassifier, pixelsOf, tinyConfig, type Kind } from './outputs.ts';

const report: string[] = [];
afterAll(() => console.log(report.join('\n')));

const MINUTES = 60_000;

describe.each<ModelSize>(['small', 'base', 'large'])('%s', (size) => {
  test.each<Kind>(['plain', 'registers'])('%s, as transformers', { timeout: 10 * MINUTES }, async (kind) => {
    using model = await loadClassifier(size, kind);
    for (const [height, width, batch] of [[98, 154, 1], [70, 42, size === 'small' ? 3 : 1]] as const) {
      const errors = await compareHuggingFace(model, `${size}-${kind}`, height, width, batch);
      report.push(`hf ${size} ${kind} ${height}×${width} b${batch}: ${errors}`);
      expect(errors.worst, JSON.stringify(errors.byName)).toBeLessThanOrEqual(FP32_MAX_ERROR);
    }
  });
});

test('4,097 tokens', { timeout: 10 * MINUTES }, async () => {
  using model = await loadClassifier(tinyConfig('plain'), 'plain');
  const errors = await compareHuggingFace(model, 'tiny-plain', 896, 896, 1);
  report.push(`hf plain 896×896: ${errors}`);
  expect(errors.worst, JSON.stringify(errors.byName)).toBeLessThanOrEqual(FP32_MAX_ERROR);

  using features = await model.forward(pixelsOf(896, 896, 1), { height: 896, width: 896 }, { attentions: [4] });
  expect(features.numTokens).toBe(4097);
  // The whole matrix does not fit the memory that a chunk may have: the rows of all chunks are those that one row alone gives.
  const whole = await features.attention(4, { query: 'all', head: 'mean' });
  for (const [row, col] of [[0, 0], [31, 17], [63, 63]] as const) {
    const at = (1 + row * 64 + col) * 4097;
    expect(maxError(await features.attention(4, { query: { row, col }, head: 'mean' }), whole.subarray(at, at + 4097))).toBe(0);
  }
});

describe('the same bits', () => {
  const bits = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);

  test.each<Kind>(['plain', 'registers'])('100 forwards, and batches of 1 to 8 at every position: %s', { timeout: 10 * MINUTES }, async (kind) => {
    using model = await DINOv2.synthetic(tinyConfig(kind));
    const [height, width] = [70, 98];
    const one = 3 * height * width;
    const all = pixelsOf(height, width, 8);
    const forward = async (pixels: Float32Array): Promise<Buffer> => {
      using features = await model.forward(pixels, { height, width, batch: pixels.length / one });
      return bits(await features.lastHiddenState());
    };
    const alone: Buffer[] = [];
    for (let image = 0; image < 8; image++) alone.push(await forward(all.subarray(image * one, (image + 1) * one)));
    expect(new Set(alone.map((each) => each.toString('base64'))).size).toBe(8);
    for (let round = 0; round < 100; round++) expect(Buffer.compare(await forward(all.subarray(0, one)), alone[0]!)).toBe(0);

    for (let batch = 2; batch <= 8; batch++) {
      // Every image comes to stand at every position.
      for (let turn = 0; turn < batch; turn++) {
        const order = Array.from({ length: batch }, (_, position) => (position + turn) % batch);
        const pixels = new Float32Array(batch * one);
        order.forEach((image, position) => pixels.set(all.subarray(image * one, (image + 1) * one), position * one));
        expect(Buffer.compare(await forward(pixels), Buffer.concat(order.map((image) => alone[image]!))), `batch ${batch}, turn ${turn}`).toBe(0);
      }
    }
  });
});
