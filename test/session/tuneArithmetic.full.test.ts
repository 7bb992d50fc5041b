// tune({ arithmetic: true }) on devices that report a GPU. f16 arithmetic needs shader-f16, which lavapipe has and
// SwiftShader lacks.
import { describe, expect, test } from 'vitest';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { DINOv2, type TuningReport } from '../../src/index.ts';
import { wrongDevice } from '../gpu/sabotage.ts';
import { asGpu, bitsOfForward, pixelsOf, requestDevice, tiny } from '../gpu/tiny.ts';
import { minCosine } from '../parity.ts';
import { checkpointBytes, massiveModel } from '../model/dtypeCases.ts';

const hasF16 = (await requestAdapter()).features.has('shader-f16');
const gpuDevice = async (): Promise<GPUDevice> => asGpu(await requestDevice(hasF16 ? ['shader-f16'] : []));
const sizesPx = [28];
const keeping = (model: DINOv2, kept: unknown, arithmetic = true): Promise<TuningReport> => {
  const store = { get: () => Promise.resolve(kept), set: () => Promise.resolve() };
  return model.tune({ sizesPx, store, arithmetic });
};
const plain = { wantedLanes: 0, operands: 'f32' } as const;

describe('the option arithmetic', { timeout: 900_000 }, () => {
  test('weights that are not stored as f16 keep f32 arithmetic, and the report says so', async () => {
    const device = await gpuDevice();
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp32', selfTest: false });
    const before = await bitsOfForward(model, 56, 56);
    const { source, arithmetic } = await keeping(model, plain);
    expect(source).toBe('kept');
    expect(arithmetic).toEqual({
      used: 'f32',
      reason:
        'f32 arithmetic, because f16 arithmetic needs weights that are stored as f16, and these are stored as f32.',
    });
    expect((await model.health()).dtypeReason).toMatch(/ tune\(\): f32 arithmetic, because/);
    expect(await bitsOfForward(model, 56, 56)).toEqual(before);
    expect((await keeping(model, plain, false)).arithmetic).toBeUndefined();
    // A recovery passes the arithmetic that was used.
    expect((await keeping(model, { ...plain, arithmetic: 'f32' })).source).toBe('kept');
    device.destroy();
  });

  test('a tune() that a recovery overtakes tunes the new session', async () => {
    const [device, next] = [await gpuDevice(), await gpuDevice()];
    using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
    let answer: (kept: unknown) => void = () => undefined;
    const first = new Promise<unknown>((resolve) => (answer = resolve));
    const asked: GPUDevice[] = [];
    const store = {
      get: () => (asked.push(model.device), asked.length === 1 ? first : Promise.resolve(plain)),
      set: () => Promise.resolve(),
    };
    const tuned = model.tune({ sizesPx, store });
    while (asked.length === 0) await new Promise((resolve) => setTimeout(resolve));
    await model.recover(next);
    answer(plain);
    expect((await tuned).source).toBe('kept');
    expect(asked).toEqual([device, next]);
    for (const each of [device, next]) each.destroy();
  });

  if (!hasF16) return;

  test('f16 changes results by little and says so; a recovery and a tune() without the option keep it', async () => {
    const device = await gpuDevice();
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16', selfTest: false });
    const before = await bitsOfForward(model, 56, 56);
    const fingerprint = await model.fingerprint();
    const report = await keeping(model, { wantedLanes: 0, operands: 'f16', arithmetic: 'f16' });
    expect(report).toMatchObject({
      source: 'kept',
      tuning: { arithmetic: 'f16' },
      arithmetic: { used: 'f16' },
    });
    expect(report.arithmetic!.reason).toMatch(
      /^f16 arithmetic in linear layers: the smallest cosine of a token between the two is 1 - \d\.\de-\d+\.$/,
    );
    const after = await bitsOfForward(model, 56, 56);
    expect(after).not.toEqual(before);
    const values = (bits: Uint32Array): Float32Array => new Float32Array(bits.buffer);
    expect(minCosine(values(after), Float64Array.from(values(before)), tiny.embedDim)).toBeGreaterThan(
      0.99999,
    );
    expect(await model.fingerprint()).toBe(fingerprint); // an index of one arithmetic accepts the other
    const reason = `tune(): ${report.arithmetic!.reason}`;
    expect((await model.health()).dtypeReason).toContain(reason);
    expect(await model.report()).toMatch(/- Kernels: .*linear_f16/);

    await keeping(model, { wantedLanes: 1e6, operands: 'f16' }, false);
    expect(await bitsOfForward(model, 56, 56)).toEqual(after);
    const next = await gpuDevice();
    device.destroy();
    await model.recover(next);
    expect(await bitsOfForward(model, 56, 56)).toEqual(after);
    expect((await model.health()).dtypeReason).toContain(reason);

    await keeping(model, { ...plain, arithmetic: 'f32' });
    expect(await bitsOfForward(model, 56, 56)).toEqual(before);
    next.destroy();
  });

  test('kernels that round differently, which a load without a self-test has not found, are no longer mixed', async () => {
    const { device } = await wrongDevice([
      [
        'fma(vec4f(x3.y), left3, fma(vec4f(x2.y), left2, ',
        'fma(vec4f(x2.y), left2, fma(vec4f(x3.y), left3, ',
      ],
    ]);
    using model = await DINOv2.synthetic(tiny, { device: asGpu(device), dtype: 'fp16', selfTest: false });
    const side = 112;
    const image = pixelsOf(side, side);
    const firstOf = async (batch: number): Promise<Uint32Array> => {
      const pixels = new Float32Array(batch * image.length);
      for (let i = 0; i < batch; i++) pixels.set(image, i * image.length);
      using features = await model.forward(pixels, { height: side, width: side, batch });
      return new Uint32Array((await features.lastHiddenState()).buffer, 0, 65 * tiny.embedDim);
    };
    expect(await firstOf(32)).not.toEqual(await firstOf(1));
    const { source, tuning } = await model.tune({ sizesPx, store: false, arithmetic: true });
    expect([source, tuning]).toEqual(['nothing to choose', undefined]);
    expect(await firstOf(32)).toEqual(await firstOf(1));
    device.destroy();
  });

  test('a weight of 4 or more keeps f32 arithmetic', async () => {
    const device = await gpuDevice();
    const edit = { name: 'encoder.layer.1.mlp.fc1.weight', index: 5, value: 4 };
    const weights = checkpointBytes(massiveModel('plain').config, [edit]);
    using model = await DINOv2.fromFiles({ weights }, { device, dtype: 'fp16', selfTest: false });
    expect((await keeping(model, plain)).arithmetic).toEqual({
      used: 'f32',
      reason: 'f32 arithmetic, because a weight has a magnitude of 4 or more.',
    });
    device.destroy();
  });

  test('without a stored result, the kernels of both arithmetics are measured', async () => {
    const device = await gpuDevice();
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16', selfTest: false });
    let stored: unknown;
    const store = {
      get: () => Promise.resolve(stored),
      set: (_: string, value: unknown) => Promise.resolve(void (stored = value)),
    };
    const { source, arithmetic, samples, leftOut, tuning } = await model.tune({
      sizesPx,
      store,
      arithmetic: true,
    });
    expect(source).toBe('measured');
    expect(leftOut).toEqual([]);
    for (const name of [
      'linear.linear',
      'linear_f16.linear',
      'linear_narrow_f16.linear',
      'linear_tall.linear',
    ])
      expect(
        samples.some(({ kernel }) => kernel === name || kernel === name.split('.')[0]),
        name,
      ).toBe(true);
    expect(arithmetic!.reason).toMatch(
      /the layers of a block take .* ms with f16 arithmetic and .* ms with f32/,
    );
    expect(tuning!.arithmetic).toBe(arithmetic!.used);
    expect(stored).toEqual(tuning);
    expect((await model.tune({ sizesPx, store, arithmetic: true })).source).toBe('kept');
    device.destroy();
  });
});
