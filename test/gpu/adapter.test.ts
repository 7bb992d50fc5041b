// No adapter, no device, a device that is lost already: an error with a code in each case, and the next call starts
// afresh. WebGPU is replaced by objects of this file.
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { checkSupport } from '../../src/support.ts';

type Outcome = 'null' | 'rejects' | 'no device' | 'lost device' | 'device';

const requested: GPUDeviceDescriptor[] = [];

const deviceOf = (lost: Promise<GPUDeviceLostInfo>): object => ({
  lost,
  limits: {},
  features: new Set(),
  adapterInfo: { vendor: 'a vendor' },
  addEventListener: () => undefined,
  destroy: () => undefined,
});

/** An adapter with the features `shader-f16` and `depth-clip-control`. A second device of one adapter is refused. */
function adapterOf(outcome: Outcome): object {
  let consumed = false;
  return {
    features: new Set(['shader-f16', 'depth-clip-control']),
    limits: { maxBufferSize: 5e8, maxStorageBufferBindingSize: 4e8, maxTextureDimension2D: 8192 },
    info: { vendor: 'a vendor' },
    requestDevice: async (descriptor: GPUDeviceDescriptor) => {
      if (consumed) throw new Error('the adapter is consumed');
      consumed = true;
      requested.push(descriptor);
      if (outcome === 'no device') throw new Error('no memory');
      const lost = { reason: 'unknown', message: 'the adapter has expired' } as GPUDeviceLostInfo;
      return deviceOf(outcome === 'lost device' ? Promise.resolve(lost) : new Promise(() => undefined));
    },
  };
}

/** Replaces WebGPU. Each call of `requestAdapter` has the next outcome; the last one repeats. */
function playWebGpu(...outcomes: Outcome[]): void {
  const requestAdapter = async (): Promise<object | null> => {
    const outcome = outcomes.length > 1 ? outcomes.shift()! : outcomes[0]!;
    if (outcome === 'rejects') throw new Error('the GPU process is gone');
    return outcome === 'null' ? null : adapterOf(outcome);
  };
  vi.stubGlobal('navigator', { gpu: { requestAdapter } });
}

// The module keeps the device that all models share, so each test imports its own.
let acquireGpu: typeof import('../../src/gpu/device.ts').acquireGpu;
beforeEach(async () => {
  requested.length = 0;
  vi.resetModules();
  ({ acquireGpu } = await import('../../src/gpu/device.ts'));
});

describe('without an adapter', () => {
  test.each<[string, () => void, string, RegExp]>([
    ['no WebGPU', () => vi.stubGlobal('navigator', {}), 'WEBGPU_MISSING', /Use a current version of/],
    [
      'an insecure page',
      () => {
        vi.stubGlobal('navigator', {});
        vi.stubGlobal('isSecureContext', false);
      },
      'WEBGPU_INSECURE',
      /over https, or from localhost/,
    ],
    ['no adapter', () => playWebGpu('null'), 'ADAPTER_MISSING', /block the GPU until they are restarted/],
    ['a rejection', () => playWebGpu('rejects'), 'ADAPTER_MISSING', /the GPU process is gone/],
  ])('%s', async (_, prepare, code, message) => {
    vi.unstubAllGlobals();
    prepare();
    await expect(acquireGpu()).rejects.toMatchObject({ name: 'DeviceError', code });
    expect(await checkSupport()).toMatchObject({
      ok: false,
      code,
      reason: expect.stringMatching(message) as string,
    });
    vi.unstubAllGlobals();
  });

  test('the next call asks again', async () => {
    playWebGpu('null', 'device');
    await expect(acquireGpu()).rejects.toMatchObject({ code: 'ADAPTER_MISSING' });
    expect((await acquireGpu()).info.vendor).toBe('a vendor');
  });
});

describe('a device', () => {
  test('that the adapter refuses is DEVICE_FAILED; the next call asks for a new adapter', async () => {
    playWebGpu('no device', 'device');
    await expect(acquireGpu()).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringContaining('no memory') as string,
    });
    await acquireGpu();
    expect(requested).toHaveLength(2);
  });

  test('that is lost when it arrives is replaced once, then the call rejects with DEVICE_LOST', async () => {
    playWebGpu('lost device', 'device');
    const gpu = await acquireGpu();
    expect(() => gpu.check()).not.toThrow();
    expect(requested).toHaveLength(2);
    gpu.release();
    playWebGpu('lost device');
    await expect(acquireGpu()).rejects.toMatchObject({
      code: 'DEVICE_LOST',
      message: expect.stringContaining('the adapter has expired') as string,
    });
  });

  test("asks only for limits and features that the adapter has, so it can't be refused for them", async () => {
    playWebGpu('device');
    await acquireGpu();
    expect(requested).toMatchObject([
      {
        requiredFeatures: ['shader-f16'],
        requiredLimits: { maxBufferSize: 5e8, maxStorageBufferBindingSize: 4e8, maxTextureDimension2D: 8192 },
      },
    ]);
  });
});
