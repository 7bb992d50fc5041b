// Random configurations: each is either rejected, or its output equals that of the float64 reference.
import { expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { alternatives } from '../../src/gpu/lowering.ts';
import { configOf } from '../../src/model/config.ts';
import { buildForward } from '../../src/model/vit.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { FP32_MAX_ERROR } from '../parity.ts';
import { cases, errorOf, refused } from './configs.ts';

const device = await sharedDevice();

// Only three configurations, because each one compiles its own kernels.
test('accepted configurations give the result of the reference', { timeout: 120_000 }, async () => {
  const computed = cases.filter((config) => !refused(config)).slice(0, 3);
  expect(computed).toHaveLength(3);
  for (const config of computed)
    expect(await errorOf(config, device), JSON.stringify(config)).toBeLessThanOrEqual(FP32_MAX_ERROR);
});

test('unsupported configurations are rejected before anything is loaded, and also by the kernels', async () => {
  const wrong = cases.filter(refused);
  expect(wrong.length).toBeGreaterThanOrEqual(8);
  for (const config of wrong) {
    await expect(DINOv2.synthetic(config, { device: device })).rejects.toMatchObject({
      code: 'CONFIG_UNSUPPORTED',
    });
    const { graph } = buildForward(config, { batch: 1, rows: 1, cols: 1 });
    for (const software of [true, false])
      expect(() => graph.nodes.map((node) => alternatives(node, { software, weights: 'f32' }))).toThrow(
        /expected (an even patch size|a number of (columns|input features) that is a multiple of 4)/,
      );
  }
});

test.each([
  [{ patchSize: 15, imageSize: 75 }, /patchSize: expected an even number from 2 to 64, found 15/],
  [{ hiddenFeatures: 255 }, /hiddenFeatures: expected a multiple of 4 from 4 to 6144 .*, found 255/],
  [{ numHeads: 12 }, /numHeads: expected embedDim \/ 64 = 6 \(heads of 64\), found 12/],
  [{ headDim: 80 }, /headDim: expected 64/],
] as const)('synthetic(%j) names the unsupported field', async (change, message) => {
  await expect(DINOv2.synthetic({ ...configOf('small'), ...change }, { device: device })).rejects.toThrow(
    message,
  );
});
