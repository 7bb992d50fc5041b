import { readFile } from 'node:fs/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { minCosine, readTensors, referenceFolder } from '../parity.ts';
import {
  checkpointBytes,
  cosines,
  MASSIVE_FP32_RELATIVE,
  massiveModel,
  maxRelativeError,
  minCosineOf,
  ways,
} from './dtypeCases.ts';

const report: string[] = [];
const all = await ways();
afterAll(() => console.log(report.join('\n')));

const show = (cosine: number): string => `1 - ${(1 - cosine).toExponential(1)}`;

describe.each(all)('$label', ({ label, dtype, device, storage }) => {
  test.each(['plain', 'registers', 'swiglu'])(
    'tiny-%s, loaded from its file, at four sizes: cosine of every token',
    async (kind) => {
      using model = await DINOv2.fromFiles(
        {
          weights: new Uint8Array(await readFile(new URL(`tiny-${kind}/model.safetensors`, referenceFolder))),
        },
        { device, dtype },
      );
      expect(model.dtype).toBe(dtype);
      expect(model.dtypeReason).toMatch(
        new RegExp(`^${dtype}, stored as ${storage}, as requested: passed the self-test`),
      );
      for (const [height, width, batch] of [
        [70, 70, 1],
        [56, 98, 2],
        [14, 14, 1],
        [100, 61, 1],
      ] as const) {
        const expected = await readTensors(`tiny-${kind}/expected.${height}x${width}.b${batch}.safetensors`);
        using features = await model.forward(
          syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]),
          { height, width, batch },
        );
        const cosine = minCosine(
          await features.lastHiddenState(),
          expected.get('last_hidden_state')!.values,
          128,
        );
        report.push(`tiny-${kind} ${height}×${width} ${label}: ${show(cosine)}`);
        expect(cosine).toBeGreaterThanOrEqual(minCosineOf(dtype));
      }
    },
  );
});

describe.each(['plain', 'registers', 'swiglu'] as const)('massive activations, %s', (kind) => {
  const { config, edits } = massiveModel(kind);
  const load = (dtype: 'fp32' | 'fp16' | 'int8', device: GPUDevice): Promise<DINOv2> =>
    DINOv2.fromFiles({ weights: checkpointBytes(config, edits) }, { device, dtype });
  const forward = async (model: DINOv2): Promise<{ last: Float32Array; residual: Float32Array }> => {
    using features = await model.forward(
      syntheticTensor('pixel_values.56x98', [2, 3, 56, 98]),
      { height: 56, width: 98, batch: 2 },
      { layers: [4] },
    );
    return { last: await features.lastHiddenState(), residual: await features.hiddenState(4) };
  };
  const expected = readTensors(`../massive/${kind}.expected.56x98.b2.safetensors`);

  test('fp32: the error of the residual stream is a few roundings', async () => {
    using model = await load('fp32', all[0]!.device);
    const { last, residual } = await forward(model);
    const wanted = (await expected).get('hidden_states.4')!.values;
    expect(Math.max(...wanted)).toBeGreaterThan(1000);
    const errors = [
      maxRelativeError(residual, wanted, 128),
      maxRelativeError(last, (await expected).get('last_hidden_state')!.values, 128),
    ];
    report.push(
      `massive ${kind} fp32: ${errors.map((error) => error.toExponential(1)).join(', ')} of the token's largest element`,
    );
    for (const error of errors) expect(error).toBeLessThanOrEqual(MASSIVE_FP32_RELATIVE);
  });

  test.each(all)(
    '$label: cosine of every token, with and without the massive channels',
    async ({ label, dtype, device }) => {
      using model = await load(dtype, device);
      const { last, residual } = await forward(model);
      for (const [name, found] of [
        ['hidden_states.4', residual],
        ['last_hidden_state', last],
      ] as const) {
        const { whole, quiet } = cosines(found, (await expected).get(name)!.values, 128);
        report.push(
          `massive ${kind} ${name} ${label}: ${show(whole)}, without the massive channels ${show(quiet)}`,
        );
        expect(whole).toBeGreaterThanOrEqual(minCosineOf(dtype));
        expect(quiet).toBeGreaterThanOrEqual(minCosineOf(dtype));
      }
    },
  );
});

describe('a weight that f16 cannot hold', () => {
  const { config } = massiveModel('plain');
  const name = 'encoder.layer.1.mlp.fc1.weight';
  const file = (value: number): Uint8Array<ArrayBuffer> =>
    checkpointBytes(config, [{ name, index: 777, value }]);

  test.each([65_520, -1e6])(
    '%d: fp16 is rejected, the error names tensor and element, and no buffer remains',
    async (value) => {
      for (const { device } of all.filter(({ dtype }) => dtype === 'fp16')) {
        const loading = DINOv2.fromFiles({ weights: file(value) }, { device, dtype: 'fp16' });
        await expect(loading).rejects.toMatchObject({ name: 'CheckpointError', code: 'CHECKPOINT_RANGE' });
        await expect(loading).rejects.toThrow(
          `${name}: expected weights with a magnitude below 65520, the limit of fp16, found ${value} at element 777. Load the model with dtype: 'fp32'.`,
        );
        expect((await acquireGpu(device)).memory.buffers).toBe(0);
      }
    },
  );

  test.each([65_519, -65_504])('%d is accepted: it rounds to the largest f16', async (value) => {
    using model = await DINOv2.fromFiles({ weights: file(value) }, { device: all[0]!.device, dtype: 'fp16' });
    expect(model.dtype).toBe('fp16');
  });

  test('is accepted by fp32 and int8', async () => {
    const { device } = all.find(({ dtype }) => dtype === 'int8')!;
    for (const dtype of ['fp32', 'int8'] as const)
      (await DINOv2.fromFiles({ weights: file(1e6) }, { device, dtype })).dispose();
  });
});

test('auto selects fp16 if the self-test passes, stored as f16 if the adapter supports it', async () => {
  for (const { device, storage } of all.filter(({ dtype }) => dtype === 'fp16')) {
    using model = await DINOv2.fromFiles(
      { weights: checkpointBytes(massiveModel('plain').config) },
      { device, dtype: 'auto' },
    );
    expect(model.dtype).toBe('fp16');
    expect(model.dtypeReason).toMatch(
      new RegExp(`^fp16, stored as ${storage}, chosen by 'auto': passed the self-test in \\d+ ms\\.$`),
    );
  }
});

test('the default is fp32', async () => {
  using model = await DINOv2.fromFiles(
    { weights: checkpointBytes(massiveModel('plain').config) },
    { device: all[0]!.device },
  );
  expect(model.dtype).toBe('fp32');
});
