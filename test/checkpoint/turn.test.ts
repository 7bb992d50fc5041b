import { describe, expect, test } from 'vitest';
import { allBelow, bitsOf, turn } from '../../src/weights/turn.ts';
import { Random } from '../random.ts';
import { packPanels } from '../reference/packing.ts';

const F16_LIMIT = 65_520;

describe('allBelow equals Math.abs(value) < limit for every value', () => {
  const below = Math.fround(65_519.99);
  const values = [
    0,
    -0,
    1,
    -1.99,
    2,
    -3,
    4,
    below,
    -below,
    F16_LIMIT,
    -F16_LIMIT,
    1e30,
    2 ** -140,
    3.4028234663852886e38,
    Infinity,
    -Infinity,
    NaN,
  ];

  test.each([F16_LIMIT, Infinity])('with the limit %d', (limit) => {
    // Tests each value at every position of the unrolled loop, among values whose combined bits may look like
    // infinity.
    for (const filling of [0, 1.5, 2, 1000]) {
      for (const value of values) {
        for (let length = 1; length < 10; length++) {
          for (let place = 0; place < length; place++) {
            const all = new Float32Array(length).fill(filling);
            all[place] = value;
            expect(allBelow(limit, bitsOf(all)), `${value} at ${place} of ${length} among ${filling}`).toBe(
              Math.abs(value) < limit,
            );
          }
        }
      }
    }
  });

  test('for NaN with either sign and any payload', () => {
    for (const bits of [0x7f800001, 0x7fc00000, 0x7fffffff, 0xff800001, 0xffffffff])
      expect(allBelow(Infinity, Int32Array.of(0, bits, 0))).toBe(false);
  });
});

describe('turn transposes', () => {
  test.each([
    [64, 1],
    [64, 2],
    [64, 33],
    [7, 588],
    [64, 130],
    [13, 65],
    [3, 200],
    [1, 5],
  ] as const)('%i × %i, in parts that begin and end anywhere', (rows, columns) => {
    const random = new Random(rows * 1000 + columns);
    const weight = random.uniform(rows * columns);
    const expected = packPanels(rows, columns, weight);
    for (let round = 0; round < 20; round++) {
      const cuts = new Set(
        Array.from({ length: random.integer(0, 12) }, () => random.integer(1, weight.length)),
      );
      const ends = [...cuts, weight.length].sort((a, b) => a - b);
      const turned = new Int32Array(expected.length);
      let together = 0;
      ends.forEach((end, i) => {
        const begin = ends[i - 1] ?? 0;
        together |= turn(bitsOf(weight.subarray(begin, end)), begin, columns, turned);
      });
      expect(Buffer.compare(new Uint8Array(turned.buffer), new Uint8Array(expected.buffer))).toBe(0);
      expect(together).toBe(bitsOf(weight).reduce((sum, bits) => sum | bits, 0));
    }
  });
});
