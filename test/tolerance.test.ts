import { expect, test } from 'vitest';
import { maxRelativeError } from './model/dtypeCases.ts';
import { Errors } from './model/outputs.ts';
import { maxError, minCosine } from './tolerance.ts';

test('the largest distance, the smallest cosine, and unequal lengths', () => {
  expect(maxError([1, 2, 3], [1, 2.5, 3.25])).toBe(0.5);
  expect(minCosine([1, 0, 1, 1], [1, 0, 1, 0], 2)).toBeCloseTo(Math.SQRT1_2, 12);
  expect(maxRelativeError(Float32Array.of(1, 2, 8, 4), Float32Array.of(1, 4, 8, 8), 2)).toBe(0.5);
  expect(() => maxError([1], [1, 2])).toThrow('expected 2 values');
});

// Values after a NaN must not replace it as the maximum.
test.each([0, 1, 2])('a NaN at index %i makes every distance NaN', (at) => {
  const found = Float32Array.of(1, 2, 3);
  found[at] = NaN;
  const expected = Float32Array.of(1, 2, 3);
  expect(maxError(found, expected)).toBeNaN();
  expect(minCosine(found, expected, 1)).toBeNaN();
  expect(maxRelativeError(found, expected, 1)).toBeNaN();
  const errors = new Errors();
  found.forEach((value, i) =>
    errors.note(`row ${i}`, [value], { shape: [1], values: expected.subarray(i, i + 1) }),
  );
  expect(errors.worst).toBeNaN();
});
