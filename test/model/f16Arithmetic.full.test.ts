// Models whose linear layers compute with f16. They need shader-f16, which lavapipe has and SwiftShader lacks. The
// devices of these tests report an adapter on which f16 arithmetic is expected to be faster.
import { readFile } from 'node:fs/promises';
import { afterAll, describe, expect, test } from 'vitest';
import { long } from '../full.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { DINOv2, type ModelSize } from '../../src/index.ts';
import { configOf } from '../../src/model/config.ts';
import { tryF16 } from '../../src/weights/f16Arithmetic.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import { gpuOf, wrongDevice } from '../gpu/sabotage.ts';
import { bitsOfForward, nodesOf, pixelsOf, requestDevice, tiny } from '../gpu/tiny.ts';
import { minCosine, readTensors, referenceFolder } from '../parity.ts';
import { checkpointBytes, cosines, FP16_MIN_COSINE, massiveModel } from './dtypeCases.ts';

const MINUTES = 60_000;
const F16 =
  /^fp16, stored as f16, as requested, with f16 arithmetic in linear layers: passed the self-test in \d+ ms\.$/;

const hasF16 = (await requestAdapter()).features.has('shader-f16');
const as = (device: GPUDevice, architecture: string): GPUDevice =>
  Object.defineProperty(device, 'adapterInfo', {
    value: { vendor: 'amd', architecture, description: 'a GPU for the test' },
  });
const device = as(await requestDevice(hasF16 ? ['shader-f16'] : []), 'rdna-2');
const report: string[] = [];
afterAll(() => {
  console.log(report.join('\n'));
  device.destroy();
});
const show = (cosine: number): string => `1 - ${(1 - cosine).toExponential(1)}`;

function expectNear(what: string, cosine: number): void {
  report.push(`${what}: ${show(cosine)}`);
  expect(cosine, what).toBeGreaterThanOrEqual(FP16_MIN_COSINE);
}

if (!hasF16) {
  test('without shader-f16, the sums are f32', { timeout: 5 * MINUTES }, async () => {
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16' });
    expect(model.dtypeReason).toMatch(/^fp16, stored as f16-packed, as requested: passed the self-test/);
  });
} else {
  describe('the choice', { timeout: 5 * MINUTES }, () => {
    test("only fp16 models compute with f16, and only with a self-test; an image's bits are those in a batch", async () => {
      using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16' });
      expect(model.dtypeReason).toMatch(F16);
      const together = await bitsOfForward(model, 56, 56, 3);
      using alone = await model.forward(pixelsOf(56, 56, 3).slice(0, 3 * 56 * 56), { height: 56, width: 56 });
      const bits = new Uint32Array((await alone.lastHiddenState()).buffer);
      expect(bits).toEqual(together.slice(0, bits.length));
      using untested = await DINOv2.synthetic(tiny, { device, dtype: 'fp16', selfTest: false });
      expect(untested.dtypeReason).not.toMatch('f16 arithmetic');
      expect(await bitsOfForward(untested, 56, 56, 3)).not.toEqual(together);
      using full = await DINOv2.synthetic(tiny, { device, dtype: 'fp32' });
      expect(full.dtypeReason).not.toMatch('f16 arithmetic');
    });

    test('a weight of 4 or more keeps f32 arithmetic, and the reason says so', async () => {
      const { config } = massiveModel('plain');
      const load = (value: number): Promise<DINOv2> => {
        const edit = { name: 'encoder.layer.1.mlp.fc1.weight', index: 5, value };
        return DINOv2.fromFiles({ weights: checkpointBytes(config, [edit]) }, { device, dtype: 'fp16' });
      };
      using below = await load(-3.9);
      expect(below.dtypeReason).toMatch(F16);
      using above = await load(-4);
      expect(above.dtypeReason).toMatch(
        /^fp16, stored as f16, as requested, with f32 arithmetic, because a weight has a magnitude of 4 or more: passed/,
      );
      using untested = await DINOv2.fromFiles(
        {
          weights: checkpointBytes(config, [{ name: 'encoder.layer.1.mlp.fc1.weight', index: 5, value: -4 }]),
        },
        { device, dtype: 'fp16', selfTest: false },
      );
      expect(await bitsOfForward(above, 70, 70)).toEqual(await bitsOfForward(untested, 70, 70));
    });

    test('f16 arithmetic that the self-test rejects is not used, and the reason says so', async () => {
      const wrong = await wrongDevice([['(exponent - 8u) << 23u', '(exponent - 7u) << 23u']]);
      as(wrong.device, 'rdna-2');
      const model = await DINOv2.synthetic(tiny, { device: wrong.device, dtype: 'fp16' });
      expect(model.dtypeReason).toMatch(
        /^fp16, stored as f16, as requested: passed the self-test in \d+ ms\. A preferred form was rejected: Self-test of kernel linear_f16/,
      );
      model.dispose();
      wrong.device.destroy();
    });

    test.each([
      ['a value that is not scaled', 'vec4<f16>(x3 * scale)', 'vec4<f16>(x3)', /expected .* found/],
      ['a row of the tile', 'x5.z), left2', 'x4.z), left2', /expected .* found/],
      [
        'a row of the tail',
        'add_products(scaled.x2, at + 8u',
        'add_products(scaled.x2, at + 4u',
        /expected .* found/,
      ],
      [
        'other bits in the narrow tile',
        'inverse2, tile.left2',
        'inverse2 * 1.0001, tile.left2',
        /different bits/,
      ],
    ])('%s: the self-test detects it', async (_, text, instead, found) => {
      const wrong = await wrongDevice([[text, instead]]);
      const node = nodesOf(tiny).find(({ operation }) => operation.kind === 'linear')!;
      const rejected = await tryF16(await gpuOf(wrong.device, false), [node], 'as requested');
      expect(wrong.changed()).toBeGreaterThan(0);
      expect((rejected as Error).message).toMatch(/^Self-test of kernel linear/);
      expect((rejected as Error).message).toMatch(found);
      wrong.device.destroy();
    });
  });

  test.each(['plain', 'registers', 'swiglu'])(
    'tiny-%s, from its file, at four sizes: cosine of every token',
    { timeout: 5 * MINUTES },
    async (kind) => {
      const weights = new Uint8Array(
        await readFile(new URL(`tiny-${kind}/model.safetensors`, referenceFolder)),
      );
      using model = await DINOv2.fromFiles({ weights }, { device, dtype: 'fp16' });
      expect(model.dtypeReason).toMatch(F16);
      for (const [height, width, batch] of [
        [70, 70, 1],
        [56, 98, 2],
        [14, 14, 1],
        [100, 61, 1],
      ] as const) {
        const expected = await readTensors(`tiny-${kind}/expected.${height}x${width}.b${batch}.safetensors`);
        using features = await model.forward(pixelsOf(height, width, batch), { height, width, batch });
        expectNear(
          `tiny-${kind} ${height}×${width}`,
          minCosine(
            await features.lastHiddenState(),
            expected.get('last_hidden_state')!.values,
            model.config.embedDim,
          ),
        );
      }
    },
  );

  test.each(['plain', 'registers', 'swiglu'] as const)(
    'massive activations, %s: cosine of every token, with and without the massive channels',
    { timeout: 5 * MINUTES },
    async (kind) => {
      const { config, edits } = massiveModel(kind);
      const expected = await readTensors(`../massive/${kind}.expected.56x98.b2.safetensors`);
      using model = await DINOv2.fromFiles(
        { weights: checkpointBytes(config, edits) },
        { device, dtype: 'fp16' },
      );
      expect(model.dtypeReason).toMatch(F16);
      using features = await model.forward(
        pixelsOf(56, 98, 2),
        { height: 56, width: 98, batch: 2 },
        { layers: [4] },
      );
      for (const [name, found] of [
        ['hidden_states.4', await features.hiddenState(4)],
        ['last_hidden_state', await features.lastHiddenState()],
      ] as const) {
        const { whole, quiet } = cosines(found, expected.get(name)!.values, config.embedDim);
        expectNear(`massive ${kind} ${name}`, whole);
        expectNear(`massive ${kind} ${name}, without the massive channels`, quiet);
      }
    },
  );

  test.each<ModelSize>(long ? ['small', 'base', 'large'] : ['small'])(
    '%s at 224 × 224: cosine of every token',
    { timeout: 10 * MINUTES },
    async (size) => {
      using model = await DINOv2.synthetic(size, { device, dtype: 'fp16' });
      expect(model.dtypeReason).toMatch(F16);
      const expected = await readTensors(`${size}.expected.224x224.safetensors`);
      using features = await model.forward(pixelsOf(224, 224), { height: 224, width: 224 });
      const found = await features.lastHiddenState();
      expectNear(
        `${size} 224×224`,
        minCosine(found, expected.get('last_hidden_state')!.values, model.config.embedDim),
      );
    },
  );

  test(
    "two blocks with giant's width (1536, SwiGLU of 4096), compared with fp32",
    { timeout: 10 * MINUTES },
    async () => {
      const config = { ...configOf('giant'), depth: 2 };
      const pixels = syntheticTensor('pixel_values.42x56', [1, 3, 42, 56]);
      const forward = async (dtype: 'fp32' | 'fp16'): Promise<Float32Array> => {
        using model = await DINOv2.synthetic(config, { device, dtype });
        using features = await model.forward(pixels, { height: 42, width: 56 });
        return features.lastHiddenState();
      };
      const expected = await forward('fp32');
      expectNear('two blocks of giant 42×56', minCosine(await forward('fp16'), expected, config.embedDim));
    },
  );
}
