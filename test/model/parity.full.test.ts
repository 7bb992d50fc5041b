// The larger reference models, which take minutes on a software adapter.
import { afterAll, expect, test } from 'vitest';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { DINOv2, type ModelSize } from '../../src/index.ts';
import { FP32_MAX_ERROR, maxError, readTensors } from '../parity.ts';

const report: string[] = [];
afterAll(() => console.log(report.join('\n')));

const MINUTES = 60_000;

test.each<[ModelSize, number, number]>([
  ['small', 224, 224],
  ['small', 322, 448],
  ['small', 518, 518],
  ['base', 224, 224],
  ['large', 224, 224],
])('%s at %i × %i, synthetic weights', { timeout: 10 * MINUTES }, async (size, height, width) => {
  using model = await DINOv2.synthetic(size);
  const expected = await readTensors(`${size}.expected.${height}x${width}.safetensors`);
  const pixels = syntheticTensor(`pixel_values.${height}x${width}`, [1, 3, height, width]);
  const startMs = performance.now();
  using features = await model.forward(pixels, { height, width });
  const error = maxError(await features.lastHiddenState(), expected.get('last_hidden_state')!.values);
  const seconds = (performance.now() - startMs) / 1000;
  report.push(
    `${size} ${height}×${width}: ${error.toExponential(1)}, ${seconds.toFixed(1)} s on ${model.adapter.description}`,
  );
  expect(error).toBeLessThanOrEqual(FP32_MAX_ERROR);
});
