import { expect, test } from 'vitest';
import { COUNT_LANES, countNotFinite } from '../../src/gpu/kernels/debugKernels.ts';
import { inLines } from '../../src/gpu/workgroups.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { Random } from '../random.ts';
import * as reference from '../reference/count_not_finite.ts';
import { runKernel } from './runKernel.ts';

const gpu = await sharedGpu();

async function found(values: Float32Array<ArrayBuffer>, row: number): Promise<number[]> {
  const before = new Uint32Array(3 * (row + 2)).map((_, i) => (i % 3 === 0 ? 2 ** 32 - 1 : 0));
  const [x, y] = inLines(Math.ceil(values.length / COUNT_LANES));
  const result = await runKernel(gpu, countNotFinite, {}, [x, y + 1], {
    tensor: new Uint32Array([values.length, row]),
    values,
    found: before,
  });
  const words = [...new Uint32Array(result['found']!)];
  expect(words.toSpliced(3 * row, 3)).toEqual([...before].slice(3)); // the other rows are unchanged
  return words.slice(3 * row, 3 * row + 3);
}

test.each([1, 2, 255, 256, 257, 1000, 70_001])(
  '%i values with a few that are not finite: exact',
  async (count) => {
    const random = new Random(count);
    for (const wrong of [0, 1, 5]) {
      const values = random.uniform(count);
      for (let i = 0; i < wrong; i++)
        values[random.integer(0, count - 1)] = random.pick([NaN, Infinity, -Infinity]);
      expect(await found(values, random.integer(0, 3))).toEqual(reference.countNotFinite(values));
    }
  },
);

test('the largest and smallest finite values are finite, and every NaN is one', async () => {
  const bits = [0x7f7fffff, 0xff7fffff, 1, 0x80000000, 0x7f800001, 0xffc00000, 0x7f800000, 0xff800000];
  const values = new Float32Array(Uint32Array.from(bits).buffer);
  expect(await found(values, 0)).toEqual([4, 2, 2]);
});
