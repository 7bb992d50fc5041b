import { describe, expect, test, vi } from 'vitest';
import { DINOv2, type LoadOptions } from '../../src/index.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { bitsOfForward, pixelsOf, requestDevice, settled, tiny } from './tiny.ts';

/** True if a device still executes commands. */
async function works(device: GPUDevice): Promise<boolean> {
  device.pushErrorScope('validation');
  const buffer = device.createBuffer({ size: 4, usage: 0x8 | 0x1 });
  device.queue.writeBuffer(buffer, 0, new Uint32Array([42]));
  if (await device.popErrorScope()) return false;
  try {
    await buffer.mapAsync(1);
    return new Uint32Array(buffer.getMappedRange())[0] === 42;
  } catch {
    return false;
  }
}

/** Loads a model without the self-test, which would double the time of these tests. */
const load = (options: LoadOptions = {}): Promise<DINOv2> =>
  DINOv2.synthetic(tiny, { ...options, selfTest: false });

const small = { height: 28, width: 28 };

/** Shared by two tests: the test of its loss reuses the pipelines that the first test compiled. */
let device: GPUDevice;

describe('a device supplied by the caller', () => {
  test("is shared by two models, and not destroyed with them; WebGPU's default limits suffice", async () => {
    device = await requestDevice();
    expect(device.limits.maxStorageBufferBindingSize).toBe(2 ** 27);
    const requested = vi.spyOn(navigator.gpu, 'requestAdapter');
    const first = await load({ device });
    const alone = first.gpuBytes;
    const second = await load({ device });
    expect(requested).not.toHaveBeenCalled();
    requested.mockRestore();
    expect([first.device, second.device]).toEqual([device, device]);
    expect(second.gpuBytes).toBe(2 * alone);

    const bits = await bitsOfForward(first, 28, 28);
    first.dispose();
    await settled();
    expect(await bitsOfForward(second, 28, 28)).toEqual(bits);
    second.dispose();
    await settled();
    expect(await works(device)).toBe(true);
  });

  test('that is already lost is rejected', async () => {
    const device = await requestDevice();
    await acquireGpu(device);
    device.destroy();
    await device.lost;
    await expect(load({ device })).rejects.toMatchObject({ name: 'DeviceError', code: 'DEVICE_LOST' });
  });

  test('that was lost before the library ever saw it is rejected', async () => {
    const device = await requestDevice();
    device.destroy();
    await device.lost;
    await expect(load({ device })).rejects.toMatchObject({ name: 'DeviceError', code: 'DEVICE_LOST' });
  });
});

describe("the library's own device", () => {
  let third: DINOv2;

  test('is shared, destroyed with its last user, and created again for the next user', async () => {
    const first = await load();
    const second = await load();
    const { device } = first;
    expect(second.device).toBe(device);
    const features = await first.forward(pixelsOf(28, 28), small);
    first.dispose();
    second.dispose();
    await settled();
    expect(await works(device)).toBe(true); // the features still use the device
    features.dispose();
    await expect(device.lost).resolves.toMatchObject({ reason: 'destroyed' });

    third = await load();
    expect(third.device).not.toBe(device);
    expect((await bitsOfForward(third, 28, 28)).length).toBe(5 * 64);
  });

  test('is replaced for the next model after a loss', async () => {
    const lost = third;
    lost.device.destroy();
    await lost.device.lost;
    await settled();
    using next = await load();
    expect(next.device).not.toBe(lost.device);
    expect((await bitsOfForward(next, 28, 28)).length).toBe(5 * 64);
    lost.dispose();
  });
});

describe("after the loss of the caller's device, every pending and later call rejects with DEVICE_LOST", () => {
  const DEVICE_LOST = { name: 'DeviceError', code: 'DEVICE_LOST' };

  // One loss hits several models and features, each in a different phase.
  test('before a forward, 0 and 3 turns of the event loop into one, between a forward and reading, and while results are being read', async () => {
    const [model, other] = [await load({ device }), await load({ device })];
    const features = await model.forward(pixelsOf(28, 28), small, { layers: [0] });
    const read = await model.forward(pixelsOf(28, 28), small);
    (await other.forward(pixelsOf(28, 28), small)).dispose();
    const begun = async (by: DINOv2): Promise<Float32Array> =>
      (await by.forward(pixelsOf(28, 28), small)).clsToken();
    const rejected = [expect(begun(model)).rejects.toMatchObject(DEVICE_LOST)];
    for (let turn = 0; turn < 3; turn++) await Promise.resolve();
    rejected.push(
      expect(begun(other)).rejects.toMatchObject(DEVICE_LOST),
      expect(read.lastHiddenState()).rejects.toMatchObject(DEVICE_LOST),
    );
    device.destroy();
    await Promise.all(rejected);
    await expect(features.clsToken()).rejects.toMatchObject(DEVICE_LOST);
    await expect(features.patchTokens()).rejects.toMatchObject(DEVICE_LOST);
    await expect(features.hiddenState(0)).rejects.toMatchObject(DEVICE_LOST);
    await expect(model.forward(pixelsOf(28, 28), small)).rejects.toMatchObject(DEVICE_LOST);
    await expect(model.forward(pixelsOf(28, 28), small)).rejects.toThrow(
      /lost \(destroyed\).*your own.*model\.recover\(device\)/,
    );
    for (const each of [features, read, model, other]) each.dispose();
  });

  test('while weights are loading', async () => {
    const device = await requestDevice();
    const onProgress = ({ loadedTensors }: { loadedTensors: number }): void => {
      if (loadedTensors === 10) device.destroy();
    };
    await expect(load({ device, onProgress })).rejects.toMatchObject(DEVICE_LOST);
  });
});
