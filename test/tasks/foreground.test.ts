import { describe, expect, it } from 'vitest';
import { borderOf, otsuThreshold, quantile, splitForeground } from '../../src/tasks/foreground.ts';
import { Random } from '../random.ts';

/** Otsu's threshold by definition: tries every split, and minimises the variance within the classes. */
function slowOtsu(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const scatter = (part: readonly number[]): number => {
    const mean = part.reduce((sum, value) => sum + value, 0) / part.length;
    return part.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  };
  let best = Infinity;
  let threshold = NaN;
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i] === sorted[i - 1]) continue;
    const within = scatter(sorted.slice(0, i)) + scatter(sorted.slice(i));
    if (within < best) [best, threshold] = [within, (sorted[i]! + sorted[i - 1]!) / 2];
  }
  return threshold;
}

describe('quantile', () => {
  it("equals numpy's", () => {
    const values = [1, 2, 4, 8];
    expect([0, 0.25, 0.5, 0.9, 1].map((q) => quantile(values, q))).toEqual(
      [1, 1.75, 3, 6.8, 8].map((value) => expect.closeTo(value, 12)),
    );
    expect(quantile([5], 0.3)).toBe(5);
  });
});

describe('otsuThreshold', () => {
  it('separates two clusters in the middle between them', () => {
    expect(otsuThreshold(Float64Array.of(-1, 5, -1.2, 5.5, -0.8, 4.5))).toBeCloseTo((4.5 - 0.8) / 2, 12);
  });

  it('equals the definition if no values are clipped', () => {
    const random = new Random(11);
    for (let repeat = 0; repeat < 50; repeat++) {
      const n = random.integer(3, 60);
      // Five equal values at either end contain the percentiles 1 and 99, so that nothing is clipped.
      const values = [...random.uniform(n), ...Array<number>(5).fill(-1.5), ...Array<number>(5).fill(1.5)];
      expect(otsuThreshold(Float64Array.from(values))).toBeCloseTo(slowOtsu(values), 12);
    }
  });

  it('does not treat a few outliers as a class', () => {
    const random = new Random(12);
    const values = [
      ...random.uniform(400, 0.3).map((value) => value - 1),
      ...random.uniform(400, 0.3).map((value) => value + 1),
      1e4,
      2e4,
      3e4,
    ];
    expect(Math.abs(otsuThreshold(Float64Array.from(values))!)).toBeLessThan(0.75);
  });

  it('is undefined if all values are equal', () => {
    expect(otsuThreshold(new Float64Array(9).fill(3))).toBeUndefined();
    expect(otsuThreshold(Float64Array.of(1))).toBeUndefined();
  });

  it('does not change its input', () => {
    const values = Float64Array.of(3, 1, 2);
    otsuThreshold(values);
    expect([...values]).toEqual([3, 1, 2]);
  });
});

describe('borderOf', () => {
  it('marks the rim', () => {
    expect([...borderOf(3, 4)]).toEqual([1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]);
    expect([...borderOf(1, 3)]).toEqual([1, 1, 1]);
  });
});

describe('splitForeground', () => {
  const rows = 10;
  const cols = 12;
  const border = borderOf(rows, cols);
  const scene = (
    inside: (row: number, col: number) => boolean,
    subject: number,
    ground: number,
  ): Float64Array =>
    Float64Array.from(
      { length: rows * cols },
      (_, i) => (inside(Math.floor(i / cols), i % cols) ? subject : ground) + 0.01 * (i % 7),
    );
  const subjects = (scores: Float64Array, inverted = false): number[] => {
    const split = splitForeground(scores, border, inverted)!;
    return [...scores].flatMap((score, i) => (split.sign * (score - split.threshold) > 0 ? [i] : []));
  };
  const middle = (row: number, col: number): boolean => row >= 3 && row < 7 && col >= 4 && col < 9;
  const cutOff = (row: number, col: number): boolean => row >= 2 && col >= 2 && col < 10; // as in a portrait: covers most of the area and of the lower border

  it.each([
    ['in the middle', middle],
    ['cut off by the border', cutOff],
  ])('finds the subject %s, on either side of the threshold', (_, inside) => {
    const expected = Array.from({ length: rows * cols }, (__, i) => i).filter((i) =>
      inside(Math.floor(i / cols), i % cols),
    );
    expect(subjects(scene(inside, 1, -1))).toEqual(expected);
    expect(subjects(scene(inside, -1, 1))).toEqual(expected);
    expect(subjects(scene(inside, 1, -1), true)).toHaveLength(rows * cols - expected.length);
  });

  it('selects the smaller side if the border is balanced', () => {
    // Selects exactly the first half of the border's 40 patches.
    let seen = 0;
    const half = new Set([...border].flatMap((at, i) => (at === 1 && seen++ < 20 ? [i] : [])));
    const scores = Float64Array.from({ length: rows * cols }, (_, i) => (half.has(i) ? 1 : -1));
    expect(subjects(scores)).toEqual([...half]);
    expect(subjects(scores.map((score) => -score))).toEqual([...half]);
  });

  it('finds no subject smaller than 2 %, none in noise with an outlier, and none in a flat image', () => {
    expect(
      splitForeground(
        Float64Array.from({ length: 120 }, (_, i) => (i === 65 || i === 66 ? 1 : 0)),
        border,
      ),
    ).toBeUndefined();
    const outlier = Float64Array.from({ length: 120 }, (_, i) => (i === 65 ? 50 : Math.sin(i)));
    expect(otsuThreshold(outlier)).toBeLessThan(1);
    expect(splitForeground(outlier, border)).toBeUndefined();
    expect(splitForeground(new Float64Array(120), border)).toBeUndefined();
    expect(splitForeground(Float64Array.of(1), Uint8Array.of(1))).toBeUndefined();
  });
});
