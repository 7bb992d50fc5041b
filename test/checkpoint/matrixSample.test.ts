// MatrixSample: a digest of sampled matrix elements. It does not depend on how the data is divided into pieces, and
// differs between matrices.
import { expect, test } from 'vitest';
import { convertedFrom, MATRICES, MatrixSample, originalOf } from '../../src/weights/matrixSample.ts';
import { Random } from '../random.ts';

const values = (count: number, seed: number): Float32Array => {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => random.next() - 0.5);
};

const digestOf = (matrices: readonly (readonly [string, Float32Array])[]): string => {
  const sample = new MatrixSample();
  for (const [name, whole] of matrices) sample.add(name, whole.length, whole, 0);
  return sample.digest;
};

test.each([1, 7, 2047, 2048, 2049, 10_000, 147_456])(
  '%i values give the same digest in pieces of any size and order, also if the state is saved and restored',
  (count) => {
    const [first, second] = [values(count, 1), values(1000, 2)];
    const wanted = digestOf([
      ['a', first],
      ['b', second],
    ]);
    const random = new Random(count);
    for (let round = 0; round < 20; round++) {
      const pieces: [string, Float32Array, number][] = [];
      for (const [name, whole] of [
        ['a', first],
        ['b', second],
      ] as const) {
        for (let at = 0; at < whole.length;) {
          const end = Math.min(whole.length, at + 1 + Math.floor(random.next() * whole.length * 0.4));
          pieces.push([name, whole.slice(at, end), at]);
          at = end;
        }
      }
      pieces.sort(() => random.next() - 0.5);
      let sample = new MatrixSample();
      for (const [name, piece, begin] of pieces) {
        sample.add(name, name === 'a' ? count : 1000, piece, begin);
        if (random.next() < 0.2)
          sample = new MatrixSample(JSON.parse(JSON.stringify(sample.state)) as [number, number]);
      }
      expect(sample.digest).toBe(wanted);
    }
  },
);

test('of a matrix with ten times as many elements as samples, every tenth is sampled', () => {
  const whole = values(20_480, 3);
  const wanted = digestOf([['a', whole]]);
  let seen = 0;
  for (let i = 0; i < 2000; i++) {
    const before = whole[i]!;
    whole[i] = before + 2 ** -20;
    if (digestOf([['a', whole]]) !== wanted) seen += 1;
    whole[i] = before;
  }
  expect(seen).toBe(200); // one of every ten elements
});

test('exchanged matrices, or elements in another order, give another digest', () => {
  const [a, b] = [values(2048, 4), values(2048, 5)];
  const wanted = digestOf([
    ['a', a],
    ['b', b],
  ]);
  expect(
    digestOf([
      ['b', b],
      ['a', a],
    ]),
  ).toBe(wanted); // the order of the matrices does not matter
  expect(
    digestOf([
      ['a', b],
      ['b', a],
    ]),
  ).not.toBe(wanted);
  expect(
    digestOf([
      ['a', a.toReversed()],
      ['b', b],
    ]),
  ).not.toBe(wanted);
  expect(
    digestOf([
      ['a', Float32Array.from(a, (value, i) => (i === 7 ? -value : value))],
      ['b', b],
    ]),
  ).not.toBe(wanted);
  expect(wanted).toMatch(/^[0-9a-f]{16}$/);
});

test('a low-rank update, as made by adapters, changes the digest although rounding removes it from most elements', () => {
  const [rows, columns] = [384, 384];
  const whole = values(rows * columns, 6);
  const [up, down] = [values(rows, 7), values(columns, 8)];
  const merged = whole.map((value, i) => value + 1e-3 * up[Math.floor(i / columns)]! * down[i % columns]!);
  const halves = (source: Float32Array): Float32Array =>
    Float32Array.from(source, (value) => Math.round(value * 2048) / 2048); // coarse rounding, which leaves most elements unchanged
  const [before, after] = [halves(whole), halves(merged)];
  expect(after.filter((value, i) => value !== before[i]).length / whole.length).toBeLessThan(0.15);
  expect(digestOf([['a', after]])).not.toBe(digestOf([['a', before]]));
});

test('rounded matrices give the digest of their original, as long as they are unchanged', () => {
  const metadata = new Map([[MATRICES, convertedFrom('0'.repeat(16), '1'.repeat(16))]]);
  expect(originalOf('0'.repeat(16), metadata)).toBe('1'.repeat(16));
  expect(originalOf('2'.repeat(16), metadata)).toBe('2'.repeat(16)); // changed after the conversion, such as by further training
  expect(originalOf('0'.repeat(16), new Map())).toBe('0'.repeat(16));
  expect(originalOf('0'.repeat(16), new Map([[MATRICES, '0'.repeat(16)]]))).toBe('0'.repeat(16));
});
