import { afterAll, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { pixelsOf, requestDevice, tiny } from './tiny.ts';

// All tests share one device, so that pipelines are compiled once.
const device = await requestDevice();
const gpu = await acquireGpu(device);
afterAll(() => device.destroy());

const counters = (): { bytes: number; buffers: number } => ({
  bytes: gpu.memory.bytes,
  buffers: gpu.memory.buffers,
});
const nothing = { bytes: 0, buffers: 0 };

describe('GPU memory held by the library', () => {
  test('is released after each of 20 rounds of load, forward at three sizes, read and dispose', async () => {
    const seen: number[] = [];
    for (let cycle = 0; cycle < 20; cycle++) {
      const model = await DINOv2.synthetic(tiny, { device });
      (await model.forward(pixelsOf(14, 14), { height: 14, width: 14 })).dispose(); // the larger sizes below grow the model's buffers
      const features = await model.forward(pixelsOf(56, 56), { height: 56, width: 56 }, { layers: [1] });
      const others = await model.forward(pixelsOf(28, 42, 2), { height: 28, width: 42, batch: 2 });
      await Promise.all([features.clsToken(), features.hiddenState(1), others.patchTokens()]);
      seen.push(model.gpuBytes);
      features.dispose();
      others.dispose();
      model.dispose();
      await expect.poll(counters).toEqual(nothing);
    }
    expect(new Set(seen).size).toBe(1);
    expect(seen[0]).toBeGreaterThan(0);
  });

  test('consists of weights and planned activations, and little else', async () => {
    using model = await DINOv2.synthetic(tiny, { device });
    const weights = model.gpuBytes;
    const height = 14 * 16;
    using features = await model.forward(pixelsOf(height, height), { height, width: height });
    const planned =
      Number(/→ ([\d.]+) MB in/.exec(await model.describe({ height, width: height }))![1]) * 1e6;
    const pixels = 4 * 3 * height * height;
    const positionsAndResult = 4 * 2 * 257 * 64;
    expect(features.numTokens).toBe(257);
    expect(model.gpuBytes).toBeLessThanOrEqual(1.05 * (weights + planned + pixels + positionsAndResult));
  });

  test('after many sizes holds the activations of the largest size, and few programs', async () => {
    using model = await DINOv2.synthetic(tiny, { device });
    const run = async (height: number, width: number): Promise<void> =>
      (await model.forward(pixelsOf(height, width), { height, width })).dispose();
    await run(140, 140);
    const largest = model.gpuBytes;
    for (let side = 1; side <= 9; side++) await run(14 * side, 14 * (10 - side));
    // A model keeps eight programs, each with a position table (at most 26 rows here) and a 16-byte uniform.
    await expect.poll(() => model.gpuBytes).toBeLessThanOrEqual(largest + 8 * (26 * 64 * 4 + 16));
  });

  test('features outlive their model', async () => {
    const model = await DINOv2.synthetic(tiny, { device });
    const features = await model.forward(pixelsOf(28, 28), { height: 28, width: 28 });
    const before = await features.lastHiddenState();
    model.dispose();
    await expect.poll(counters).toEqual({ bytes: 5 * 64 * 4, buffers: 1 });
    expect(await features.lastHiddenState()).toEqual(before);
    features.dispose();
    expect(counters()).toEqual(nothing);
  });

  test('is released after dispose() during a forward, once that forward ends', async () => {
    const model = await DINOv2.synthetic(tiny, { device });
    const underWay = model.forward(pixelsOf(56, 56), { height: 56, width: 56 });
    model.dispose();
    using features = await underWay;
    expect((await features.clsToken()).every(Number.isFinite)).toBe(true);
    await expect.poll(counters).toEqual({ bytes: 17 * 64 * 4, buffers: 1 });
    await expect(async () =>
      model.forward(pixelsOf(14, 14), { height: 14, width: 14 }),
    ).rejects.toMatchObject({ code: 'DISPOSED' });
  });

  test.each([0, 1, 7, 30])(
    'is released if a load is aborted after %i tensors; the load rejects with the reason of the abort',
    async (tensors) => {
      const controller = new AbortController();
      const reason = new Error('the visitor left');
      if (tensors === 0) controller.abort(reason);
      const loading = DINOv2.synthetic(tiny, {
        device,
        signal: controller.signal,
        onProgress: ({ loadedTensors }) => {
          if (loadedTensors === tensors) controller.abort(reason);
        },
      });
      await expect(loading).rejects.toBe(reason);
      await expect.poll(counters).toEqual(nothing);
    },
  );

  test('is released if onProgress throws; the load rejects with that error', async () => {
    const reason = new Error('a bug in the page');
    const onProgress = ({ loadedTensors }: { loadedTensors: number }): void => {
      if (loadedTensors === 3) throw reason;
    };
    await expect(DINOv2.synthetic(tiny, { device, onProgress })).rejects.toBe(reason);
    await expect.poll(counters).toEqual(nothing);
  });

  test('a buffer beyond the limits of the device is rejected before it is created, and the error gives both sizes', () => {
    const most = device.limits.maxStorageBufferBindingSize;
    const attempt = (): unknown => gpu.memory.storage('activations', most + 4);
    expect(attempt).toThrow(expect.objectContaining({ code: 'DEVICE_LIMIT' }));
    expect(attempt).toThrow(
      `activations: needs a buffer of ${most + 4} bytes, but this device allows at most ${most}`,
    );
    expect(counters()).toEqual(nothing);
  });

  test('an image too large for the device is an error, and the model still works', async () => {
    using model = await DINOv2.synthetic(tiny, { device });
    const held = model.gpuBytes;
    const rows = Math.ceil(device.limits.maxStorageBufferBindingSize / (4 * 3 * 14 * 14 * 64)) + 1;
    const pixels = new Float32Array(3 * 14 * 64 * 14 * rows);
    await expect(model.forward(pixels, { height: 14 * rows, width: 14 * 64 })).rejects.toMatchObject({
      code: 'DEVICE_LIMIT',
    });
    using features = await model.forward(pixelsOf(14, 14), { height: 14, width: 14 });
    expect((await features.clsToken()).every(Number.isFinite)).toBe(true);
    expect(model.gpuBytes).toBeLessThan(held + 150e6);
  });
});
