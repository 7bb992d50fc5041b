// Logistic regression against an independent method, and the properties of its optimum.
import { expect, test } from 'vitest';
import { fitLogistic } from '../../src/numerics/logistic.ts';
import { Random } from '../random.ts';
import { logisticByWeights } from '../reference/logistic.ts';

/** Both methods solve the same equations in float64. The penalty bounds the condition of the equations. */
const EQUAL = 1e-9;

function examples(count: number, dim: number, seed: number): { x: Float64Array; positive: Uint8Array } {
  const random = new Random(seed);
  const x = Float64Array.from(random.uniform(count * dim));
  for (let i = 0; i < count; i++) {
    const row = x.subarray(i * dim, (i + 1) * dim);
    const length = Math.hypot(...row);
    row.forEach((value, channel) => (row[channel] = value / length));
  }
  const positive = Uint8Array.from({ length: count }, (_, i) =>
    i === 0 ? 1 : i === 1 ? 0 : random.integer(0, 1),
  );
  return { x, positive };
}

test.each([
  [2, 4, 0.01],
  [6, 16, 0.01],
  [6, 12, 1e-4],
  [40, 8, 0.01],
  [40, 8, 1e-3],
  [100, 3, 10],
])('%i examples of %i channels, penalty %f: equals Newton on the weights', (count, dim, penalty) => {
  const { x, positive } = examples(count, dim, count * dim);
  const found = fitLogistic(x, dim, positive, penalty);
  const expected = logisticByWeights(x, dim, positive, penalty);
  const scale = Math.max(1, ...expected.weights.map(Math.abs));
  found.weights.forEach((value, i) =>
    expect(Math.abs(value - expected.weights[i]!)).toBeLessThan(EQUAL * scale),
  );
  expect(Math.abs(found.bias - expected.bias)).toBeLessThan(EQUAL * scale);
});

test('the derivatives are zero at the optimum, also for 1536 channels and a tiny penalty', () => {
  for (const [count, dim, penalty] of [
    [7, 1536, 0.01],
    [12, 384, 1e-9],
    [200, 64, 1e-6],
  ] as const) {
    const { x, positive } = examples(count, dim, count);
    const { weights, bias } = fitLogistic(x, dim, positive, penalty);
    const positives = positive.filter((each) => each === 1).length;
    const gradient = weights.map((weight) => penalty * weight);
    let ofBias = 0;
    for (let i = 0; i < count; i++) {
      const logit = bias + weights.reduce((sum, weight, c) => sum + weight * x[i * dim + c]!, 0);
      const importance = 0.5 / (positive[i] ? positives : count - positives);
      const slope = importance * (1 / (1 + Math.exp(-logit)) - positive[i]!);
      ofBias += slope;
      gradient.forEach((_, c) => (gradient[c]! += slope * x[i * dim + c]!));
    }
    expect(Math.max(...gradient.map(Math.abs), Math.abs(ofBias))).toBeLessThan(1e-9);
  }
});

test('five examples against one: the repetition of an example changes nothing', () => {
  const { x } = examples(2, 8, 3);
  const one = fitLogistic(x, 8, Uint8Array.of(1, 0), 0.01);
  const repeated = Float64Array.from([0, 0, 0, 0, 0, 1].flatMap((i) => [...x.subarray(8 * i, 8 * i + 8)]));
  const five = fitLogistic(repeated, 8, Uint8Array.of(1, 1, 1, 1, 1, 0), 0.01);
  five.weights.forEach((value, i) => expect(Math.abs(value - one.weights[i]!)).toBeLessThan(1e-9));
  expect(Math.abs(five.bias - one.bias)).toBeLessThan(1e-9);
});

test('equal examples of both classes give probability 0.5', () => {
  const { x } = examples(1, 8, 4);
  const { weights, bias } = fitLogistic(Float64Array.of(...x, ...x), 8, Uint8Array.of(1, 0), 0.01);
  expect(Math.abs(bias + weights.reduce((sum, weight, i) => sum + weight * x[i]!, 0))).toBeLessThan(1e-9);
});

test('zero vectors are allowed', () => {
  const { weights, bias } = fitLogistic(new Float64Array(8), 4, Uint8Array.of(1, 0), 0.01);
  expect([...weights, bias]).toEqual([0, 0, 0, 0, 0]);
});
