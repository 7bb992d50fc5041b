import { describe, expect, test } from 'vitest';
import { cosineSimilarity } from '../../src/tasks/cosineSimilarity.ts';
import { normalize, pool } from '../../src/tasks/pooling.ts';

// Two images of 4 tokens (cls, one register, two patches), 2 channels.
const features = {
  tokens: Float32Array.of(1, 2, 9, 9, 3, 4, 5, 8, -1, -2, 9, 9, 1, -1, 3, -3),
  batch: 2,
  numTokens: 4,
  numRegisterTokens: 1,
  embedDim: 2,
};

describe('pool', () => {
  test.each([
    [
      'cls',
      [
        [1, 2],
        [-1, -2],
      ],
    ],
    [
      'mean',
      [
        [4, 6],
        [2, -2],
      ],
    ],
    [
      'cls+mean',
      [
        [1, 2, 4, 6],
        [-1, -2, 2, -2],
      ],
    ],
  ] as const)('%s', (pooling, expected) => {
    expect(pool(features, pooling).map((vector) => [...vector])).toEqual(expected);
  });

  test('gem: the cube root of the mean cube, of values clamped to 1e-6', () => {
    const [first, second] = pool(features, 'gem');
    expect(first![0]).toBeCloseTo(Math.cbrt((27 + 125) / 2), 5);
    expect(second![1]).toBeCloseTo(1e-6, 10);
  });

  test('an unknown pooling is rejected', () => {
    expect(() => pool(features, 'max' as 'mean')).toThrow(/expected 'cls', 'mean'/);
  });
});

test('normalize gives vectors of length 1, and leaves zero vectors unchanged', () => {
  expect([...normalize(Float32Array.of(3, 4))]).toEqual([...Float32Array.of(0.6, 0.8)]);
  expect([...normalize(Float32Array.of(0, 0))]).toEqual([0, 0]);
});

test('cosineSimilarity', () => {
  expect(cosineSimilarity([1, 2], [2, 4])).toBeCloseTo(1, 12);
  expect(cosineSimilarity([1, 0], [0, 5])).toBe(0);
  expect(() => cosineSimilarity([1], [1, 2])).toThrow(/equal length, found 1 and 2/);
});
