import { expect, test } from 'vitest';
import type { TuningResult } from '../../src/gpu/measure/tuner.ts';
import { chooseArithmetic, judged } from '../../src/session/tuneArithmetic.ts';

const of = (ms: number): TuningResult => ({ ms }) as TuningResult;

test.each([
  [5, 10, 1 - 1e-6, 'f16', /^f16 arithmetic in linear layers: .* 5\.00 ms .* 10\.00 ms .* 1 - 1\.0e-6\.$/],
  [9.5, 10, 1, 'f16', /cosine/],
  [9.6, 10, 1, 'f32', /^f32 arithmetic: the layers of a block take 9\.60 ms with f16 arithmetic/],
  [5, 10, 0.99999, 'f16', /cosine/],
  [5, 10, 0.99998, 'f32', /^f32 arithmetic: .* 1 - 2\.0e-5, below 0\.99999\.$/],
  [5, 10, NaN, 'f32', /NaN, below/],
] as const)('f16 in %d ms, f32 in %d ms, cosine %d: %s', async (f16, f32, cosine, used, reason) => {
  const chosen = await chooseArithmetic({ f16: of(f16), f32: of(f32) }, async () => cosine);
  expect(chosen.used).toBe(used);
  expect(chosen.reason).toMatch(reason);
});

test('the cosine is not measured if f16 is not faster', async () => {
  const chosen = await chooseArithmetic({ f16: of(10), f32: of(10) }, () =>
    Promise.reject(new Error('measured')),
  );
  expect(chosen.used).toBe('f32');
});

test('a stored choice of f16 is judged by the cosine alone', () => {
  expect(judged(1).used).toBe('f16');
  expect(judged(0.9).used).toBe('f32');
});
