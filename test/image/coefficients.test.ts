import { describe, expect, it } from 'vitest';
import { RESAMPLES, resizeTaps, WEIGHT_BITS } from '../../src/image/coefficients.js';

describe.each(RESAMPLES)('resizeTaps, %s', (resample) => {
  it('copies each pixel if the size does not change', () => {
    const { count, table, begin, end } = resizeTaps(5, 5, 0, 5, resample);
    const pixels = Array.from({ length: 5 }, (_, i) => {
      const row = [...table.subarray(i * (count + 1), (i + 1) * (count + 1))];
      return row
        .slice(1)
        .map((weight, tap) => [row[0]! + tap, weight] as const)
        .filter(([, weight]) => weight !== 0);
    });
    expect(pixels).toEqual([0, 1, 2, 3, 4].map((i) => [[i, 2 ** WEIGHT_BITS]]));
    expect([begin, end]).toEqual([0, 5]);
  });

  it('gives the same taps for a part of a line as for the whole line', () => {
    const whole = resizeTaps(1000, 321, 0, 321, resample);
    const part = resizeTaps(1000, 321, 100, 50, resample);
    const stride = whole.count + 1;
    expect(part.count).toBe(whole.count);
    expect(part.table).toEqual(whole.table.slice(100 * stride, 150 * stride));
    expect(part.begin).toBe(whole.table[100 * stride]);
    expect(part.end).toBeLessThanOrEqual(whole.table[149 * stride]! + whole.count);
  });

  it('reads only pixels of the source, and only those in [begin, end)', () => {
    for (const [source, resized] of [
      [1, 256],
      [2, 384],
      [3, 14],
      [255, 256],
      [8192, 14],
      [427, 518],
      [16384, 1],
    ] as const) {
      const { count, table, begin, end } = resizeTaps(source, resized, 0, resized, resample);
      for (let i = 0; i < resized; i++) {
        const [first, ...weights] = table.subarray(i * (count + 1), (i + 1) * (count + 1));
        const used = first! + weights.findLastIndex((weight) => weight !== 0);
        expect(first).toBeGreaterThanOrEqual(begin);
        expect(used).toBeLessThan(end);
      }
      expect(begin).toBeGreaterThanOrEqual(0);
      expect(end).toBeLessThanOrEqual(source);
    }
  });

  it('marks pixels outside the line, and reads nothing for them', () => {
    const inside = resizeTaps(30, 20, 0, 20, resample);
    const padded = resizeTaps(30, 20, -3, 28, resample);
    const stride = inside.count + 1;
    const outside = [-1, ...Array.from({ length: inside.count }, () => 0)];
    expect(padded).toMatchObject({ count: inside.count, begin: inside.begin, end: inside.end });
    expect(padded.table.length).toBe(28 * stride);
    expect(padded.table.slice(3 * stride, 23 * stride)).toEqual(inside.table);
    for (const i of [0, 2, 23, 27])
      expect([...padded.table.subarray(i * stride, (i + 1) * stride)]).toEqual(outside);
  });

  // The largest possible sum has 255 at every positive weight and 0 at every negative one; the smallest has the
  // opposite.
  it('has weights whose sums fit in 32 bits, for all sizes up to 96 and at the ends of large lines', () => {
    let most = 0;
    let least = 0;
    const look = (source: number, resized: number, first: number, length: number): void => {
      const { count, table } = resizeTaps(source, resized, first, length, resample);
      for (let i = 0; i < length; i++) {
        let [positive, negative] = [0, 0];
        for (let tap = 1; tap <= count; tap++) {
          const weight = table[i * (count + 1) + tap]!;
          if (weight > 0) positive += weight;
          else negative += weight;
        }
        most = Math.max(most, positive);
        least = Math.min(least, negative);
      }
    };
    for (let source = 1; source <= 96; source++)
      for (let resized = 1; resized <= 96; resized++) look(source, resized, 0, resized);
    for (let source = 97; source <= 16384; source = Math.ceil(source * 1.3)) {
      for (let resized = 14; resized <= 16384; resized = Math.ceil(resized * 1.7)) {
        const length = Math.min(14, resized);
        for (const first of [0, Math.floor((resized - length) / 2), resized - length])
          look(source, resized, first, length);
      }
    }
    expect(most * 255 + 2 ** (WEIGHT_BITS - 1)).toBeLessThan(2 ** 31 * 0.7);
    expect(least * 255).toBeGreaterThan(-(2 ** 31) * 0.7);
  });
});
