import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import * as kernels from '../../src/gpu/kernels/mapKernels.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { Random } from '../random.ts';
import * as twins from '../reference/map_colors.ts';
import { runGuarded } from './guarded.ts';

/** The error of a colour before it is rounded to a byte. It can change the rounding. */
const TIP = 255 * 1e-5;
const STOPS = [
  [68, 1, 84],
  [33, 144, 141],
  [253, 231, 37],
];

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterAll(() => expect(gpu.memory.bytes).toBe(0));

const rangeOf = async (values: Float32Array<ArrayBuffer>): Promise<number[]> => {
  const out = await runGuarded(gpu, kernels.mapRange, {}, [1], {
    size: Uint32Array.of(values.length, 3),
    values,
    range: new Float32Array(2).fill(7),
  });
  return [...new Float32Array(out['range']!)];
};

const colorsOf = async (values: Float32Array<ArrayBuffer>, ends: readonly number[]): Promise<Uint8Array> => {
  const out = await runGuarded(gpu, kernels.mapColors, {}, [Math.ceil(values.length / 64)], {
    size: Uint32Array.of(values.length, 3),
    values,
    ends: Float32Array.from(ends),
    stops: Float32Array.from(STOPS.flatMap((stop) => [...stop, 255])),
    rgba: new Uint32Array(values.length).fill(7),
  });
  return new Uint8Array(out['rgba']!);
};

test.each([1, 2, 63, 64, 65, 391])('%i values', async (count) => {
  const values = new Random(count).uniform(count, 3);
  if (count > 2) values[1] = NaN;
  const range = twins.mapRange(values);
  expect(await rangeOf(values)).toEqual(range);
  for (const ends of [range, [-1, 0.5], [0.25, 0.25]] as const) {
    const found = await colorsOf(values, ends);
    twins.mapColors(values, ends, STOPS).forEach((exact, i) => {
      expect(Math.abs(found[i]! - exact)).toBeLessThanOrEqual(0.5 + TIP);
    });
  }
});

test('NaN is transparent, and has no part in the range', async () => {
  const values = Float32Array.of(NaN, 2, -NaN, 5);
  expect(await rangeOf(values)).toEqual([2, 5]);
  const colors = await colorsOf(values, [2, 5]);
  expect([...colors]).toEqual([0, 0, 0, 0, 68, 1, 84, 255, 0, 0, 0, 0, 253, 231, 37, 255]);
});
