import { readFile } from 'node:fs/promises';
// Hidden states of the reference models compared with transformers. ViT-S at 224 × 224 runs in
// parity.browser.test.ts, and here only in the full tier.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { FP32_MAX_ERROR, maxError, readTensors, referenceFolder } from '../parity.ts';

const report: string[] = [];
/** Disposed of at the end, so that all models share a device, its pipelines and its self-test. */
const models: DINOv2[] = [];
afterAll(() => {
  console.log(report.join('\n'));
  for (const model of models) model.dispose();
});

describe.each(['plain', 'registers', 'swiglu'])('tiny-%s, loaded from its file', (kind) => {
  let model: DINOv2;
  beforeAll(async () => {
    const folder = new URL(`tiny-${kind}/`, referenceFolder);
    model = await DINOv2.fromFiles({
      config: await readFile(new URL('config.json', folder), 'utf8'),
      weights: new Uint8Array(await readFile(new URL('model.safetensors', folder))),
    });
    models.push(model);
  });

  test.each([
    [70, 70, 1],
    [56, 98, 2],
    [14, 14, 1],
    [100, 61, 1],
  ])('%i × %i, batch %i: every hidden state', async (height, width, batch) => {
    const expected = await readTensors(`tiny-${kind}/expected.${height}x${width}.b${batch}.safetensors`);
    const pixels = syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]);
    using features = await model.forward(pixels, { height, width, batch }, { layers: [0, 1, 2] });

    const errors = [maxError(await features.lastHiddenState(), expected.get('last_hidden_state')!.values)];
    for (const layer of [0, 1, 2])
      errors.push(
        maxError(await features.hiddenState(layer), expected.get(`hidden_states.${layer}`)!.values),
      );
    report.push(
      `tiny-${kind} ${height}×${width} b${batch}: ${errors.map((error) => error.toExponential(1)).join(' ')}`,
    );
    for (const error of errors) expect(error).toBeLessThanOrEqual(FP32_MAX_ERROR);
  });
});
