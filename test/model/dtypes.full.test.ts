// Element types with the model sizes that take minutes on a software adapter, and with the width of giant.
import { afterAll, expect, test } from 'vitest';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { DINOv2, type ModelSize } from '../../src/index.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { configOf } from '../../src/model/config.ts';
import { minCosine, readTensors } from '../parity.ts';
import { minCosineOf, ways } from './dtypeCases.ts';
import { requestDevice } from '../gpu/tiny.ts';

const report: string[] = [];
const all = await ways(requestDevice);
afterAll(() => {
  console.log(report.join('\n'));
  for (const { device } of all) device.destroy();
});

const MINUTES = 60_000;
const show = (cosine: number): string => `1 - ${(1 - cosine).toExponential(1)}`;

const sizes: readonly (readonly [ModelSize, number, number])[] = [
  ['small', 224, 224],
  ['small', 322, 448],
  ['small', 518, 518],
  ['base', 224, 224],
  ['large', 224, 224],
];

test.each(sizes.flatMap((size) => all.map((way) => [...size, way.label, way] as const)))(
  '%s at %i × %i, %s: cosine of every token, and the size of the weights',
  { timeout: 10 * MINUTES },
  async (size, height, width, label, { dtype, device }) => {
    using model = await DINOv2.synthetic(size, { device, dtype });
    const { memory } = await acquireGpu(device);
    expect(memory.bytes).toBeLessThanOrEqual(
      1.05 * { fp32: 4, fp16: 2, int8: 1 }[dtype] * model.parameterCount,
    );
    const expected = await readTensors(`${size}.expected.${height}x${width}.safetensors`);
    using features = await model.forward(
      syntheticTensor(`pixel_values.${height}x${width}`, [1, 3, height, width]),
      { height, width },
    );
    const cosine = minCosine(
      await features.lastHiddenState(),
      expected.get('last_hidden_state')!.values,
      model.config.embedDim,
    );
    report.push(`${size} ${height}×${width} ${label}: ${show(cosine)}`);
    expect(cosine).toBeGreaterThanOrEqual(minCosineOf(dtype));
  },
);

test(
  "two blocks with giant's width (1536, SwiGLU of 4096), compared with fp32",
  { timeout: 10 * MINUTES },
  async () => {
    const config = { ...configOf('giant'), depth: 2 };
    const pixels = syntheticTensor('pixel_values.42x56', [1, 3, 42, 56]);
    const forward = async (dtype: 'fp32' | 'fp16' | 'int8', device: GPUDevice): Promise<Float32Array> => {
      using model = await DINOv2.synthetic(config, { device, dtype });
      using features = await model.forward(pixels, { height: 42, width: 56 });
      return features.lastHiddenState();
    };
    const expected = await forward('fp32', all[0]!.device);
    for (const { label, dtype, device } of all) {
      const cosine = minCosine(await forward(dtype, device), expected, config.embedDim);
      report.push(`two blocks of giant 42×56 ${label}: ${show(cosine)}`);
      expect(cosine).toBeGreaterThanOrEqual(minCosineOf(dtype));
    }
  },
);
