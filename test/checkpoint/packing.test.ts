import { describe, expect, test } from 'vitest';
import { f32ToF16 } from '../../src/numerics/float16.ts';
import { PanelPacker, packedBytes } from '../../src/weights/packing.ts';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { Random } from '../random.ts';
import { packPanels } from '../reference/packing.ts';

/** Packs a matrix whose portions arrive in this order. Checks that every byte of the result is written once. */
function pack(
  rows: number,
  columns: number,
  weight: Float32Array,
  storage: WeightStorage,
  portions: readonly (readonly [number, number])[],
): Uint8Array {
  const bytes = new Uint8Array(packedBytes(rows, columns, storage)).fill(0xaa);
  const written = new Uint8Array(bytes.length);
  const packer = new PanelPacker(rows, columns, storage, (offset, data) => {
    bytes.set(data, offset);
    for (let i = offset; i < offset + data.length; i++) written[i]! += 1;
  });
  for (const [begin, end] of portions) packer.add(weight.slice(begin, end), begin);
  expect(written.every((times) => times === 1)).toBe(true);
  return bytes;
}

function naive(rows: number, columns: number, weight: Float32Array, storage: WeightStorage): Uint8Array {
  const values = packPanels(rows, columns, weight);
  if (storage === 'f32') return new Uint8Array(values.buffer);
  const halves = new Uint16Array(values.length);
  f32ToF16(values, halves);
  return new Uint8Array(halves.buffer);
}

const shapes = [
  [1, 1],
  [4, 4],
  [3, 5],
  [64, 32],
  [64, 33],
  [65, 31],
  [128, 588],
  [130, 100],
  [200, 64],
  [1, 700],
] as const;

describe.each(['f32', 'f16', 'f16-packed'] as const)('%s', (storage) => {
  test.each(shapes)(
    '%i × %i: random portions in random order give the same result as a naive packing',
    (rows, columns) => {
      const random = new Random(rows * 1000 + columns);
      const weight = random.uniform(rows * columns);
      const expected = naive(rows, columns, weight, storage);
      for (let round = 0; round < 10; round++) {
        const cuts = new Set(
          Array.from({ length: random.integer(0, 30) }, () => random.integer(1, weight.length)),
        );
        const ends = [...cuts, weight.length].sort((a, b) => a - b);
        const portions = ends
          .map((end, i) => [ends[i - 1] ?? 0, end] as const)
          .filter(([begin, end]) => begin < end);
        expect(
          Buffer.compare(pack(rows, columns, weight, storage, random.shuffled(portions)), expected),
        ).toBe(0);
      }
    },
  );

  test('padding is zero', () => {
    const [rows, columns] = [65, 33];
    const bytes = pack(rows, columns, new Float32Array(rows * columns).fill(1), storage, [
      [0, rows * columns],
    ]);
    const elements = storage === 'f32' ? new Uint32Array(bytes.buffer) : new Uint16Array(bytes.buffer);
    expect(elements.length).toBe(2 * 64 * 64);
    expect(elements.filter((bits) => bits !== 0).length).toBe(rows * columns);
  });
});

test('values of a full panel do not appear in the next panel', () => {
  // Panels reuse buffers: the last panel, with fewer rows, gets a buffer that held a full panel.
  const [rows, columns] = [129, 40];
  const weight = new Random(3).uniform(rows * columns);
  const order = [
    [0, 64 * columns],
    [128 * columns, 129 * columns],
    [64 * columns, 128 * columns],
  ] as const;
  expect(Buffer.compare(pack(rows, columns, weight, 'f32', order), naive(rows, columns, weight, 'f32'))).toBe(
    0,
  );
});

test('rows can arrive alternately for all panels, as those of query, key and value do', () => {
  const [rows, columns] = [192, 20];
  const weight = new Random(4).uniform(rows * columns);
  const portions = Array.from({ length: rows }, (_, i) => (i * 67) % rows).map(
    (row) => [row * columns, (row + 1) * columns] as const,
  );
  expect(
    Buffer.compare(
      pack(rows, columns, weight, 'f16-packed', portions),
      naive(rows, columns, weight, 'f16-packed'),
    ),
  ).toBe(0);
});
