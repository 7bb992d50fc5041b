// The tests of configs.gpu.test.ts with more configurations and with tiled kernels, which SwiftShader compiles slowly.
import { afterAll, expect, test } from 'vitest';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { asGpu, requestDevice } from '../gpu/tiny.ts';
import { FP32_MAX_ERROR } from '../parity.ts';
import { cases, errorOf, refused } from './configs.ts';

const devices = { software: await sharedDevice(), tiles: asGpu(await requestDevice()) };
afterAll(() => devices.tiles.destroy());

test.each(['software', 'tiles'] as const)(
  '%s kernels: every accepted configuration gives the result of the reference',
  { timeout: 1_800_000 },
  async (kind) => {
    const computed = cases.filter((config) => !refused(config));
    expect(computed.length).toBeGreaterThanOrEqual(8);
    for (const config of computed)
      expect(await errorOf(config, devices[kind]), JSON.stringify(config)).toBeLessThanOrEqual(
        FP32_MAX_ERROR,
      );
  },
);
