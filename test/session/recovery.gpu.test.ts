// A lost device: the model recovers on a new one, with the same bits, or rejects with a typed error.
import { afterEach, expect, test, vi } from 'vitest';
import { DINOv2, type LoadOptions } from '../../src/index.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { bitsOfForward, pixelsOf, requestDevice, settled, tiny } from '../gpu/tiny.ts';

const load = (options: LoadOptions = {}): Promise<DINOv2> =>
  DINOv2.synthetic(tiny, { ...options, selfTest: false });
const small = { height: 28, width: 28 };
const DEVICE_LOST = { name: 'DeviceError', code: 'DEVICE_LOST' };

afterEach(() => vi.restoreAllMocks());

test('the model of a lost device computes the same bits on a new device; features on the lost one reject', async () => {
  const model = await load();
  const right = await bitsOfForward(model, 28, 28);
  const old = await model.forward(pixelsOf(28, 28), small, { layers: [0] });
  const { device, gpuBytes } = model;
  const lost = await acquireGpu(device);
  device.destroy();
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  expect(model.device).not.toBe(device);
  await settled();
  expect(model.gpuBytes).toBeLessThanOrEqual(gpuBytes);
  await expect(old.clsToken()).rejects.toMatchObject(DEVICE_LOST);
  await expect(old.hiddenState(0)).rejects.toMatchObject(DEVICE_LOST);
  old.dispose();
  await settled();
  expect(lost.memory.buffers).toBe(0);
  lost.release();

  // Several calls share one recovery.
  const requested = vi.spyOn(navigator.gpu, 'requestAdapter');
  model.device.destroy();
  const image = { data: new Uint8Array(28 * 28 * 3).fill(99), width: 28, height: 28 };
  await expect(model.features(image)).rejects.toMatchObject(DEVICE_LOST); // the array may have changed
  const again = await Promise.all([1, 2, 3].map(() => bitsOfForward(model, 28, 28)));
  for (const bits of again) expect(bits).toEqual(right);
  expect(requested).toHaveBeenCalledTimes(1);

  // A third loss within a minute is too much, unless the page asks for the recovery.
  model.device.destroy();
  await expect(bitsOfForward(model, 28, 28)).rejects.toThrow(/2 times within a minute.*model\.recover\(\)/);
  await model.recover();
  expect(await bitsOfForward(model, 28, 28)).toEqual(right);
  await model.recover(); // the device is not lost
  expect(requested).toHaveBeenCalledTimes(2);
  model.dispose();
  await settled();
  await expect(model.recover()).rejects.toMatchObject({ code: 'DISPOSED' });
});

test('a load and a read whose kernels compile when the device is lost reject at once, not when the compiler has ended', async () => {
  const device = await requestDevice();
  const model = await load({ device });
  const features = await model.forward(pixelsOf(28, 28), small, { attentions: [0] });
  let compiling = 0;
  device.createComputePipelineAsync = () => new Promise(() => void (compiling += 1));
  const ends = [
    DINOv2.synthetic({ ...tiny, hiddenFeatures: 128 }, { device, selfTest: false }),
    features.attention(0, { head: 0, query: 'cls' }),
  ].map((call) => expect(call).rejects.toMatchObject(DEVICE_LOST));
  await vi.waitFor(() => expect(compiling).toBeGreaterThan(1), { timeout: 60_000 });
  device.destroy();
  await Promise.all(ends);
  model.dispose();
});
