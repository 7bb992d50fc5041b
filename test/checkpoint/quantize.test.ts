import { describe, expect, test } from 'vitest';
import { packMatrix, PanelPacker, packedBytes } from '../../src/weights/packing.ts';
import { int8Scale } from '../../src/weights/panelMemory.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { readQuantized, RowScales } from '../../src/weights/quantized.ts';
import { Random } from '../random.ts';
import { quantize } from '../reference/quantize.ts';

const bytesOf = (words: Uint32Array): Uint8Array => new Uint8Array(words.buffer);

test.each([
  [1, 1],
  [4, 4],
  [3, 5],
  [64, 32],
  [65, 31],
  [128, 588],
  [130, 100],
  [1, 700],
] as const)('%i × %i: the bytes that a naive quantisation gives, in any portions', (rows, columns) => {
  const random = new Random(rows * 1000 + columns);
  const weight = random.uniform(rows * columns);
  const { bytes } = quantize(rows, columns, weight);
  expect(bytes.length).toBe(packedBytes(rows, columns, 'int8'));
  expect(Buffer.compare(bytesOf(packMatrix(rows, columns, weight, 'int8')), bytes)).toBe(0);

  const found = new Uint8Array(bytes.length).fill(0xaa);
  const packer = new PanelPacker(rows, columns, 'int8', (offset, data) => found.set(data, offset));
  const starts = random.shuffled(
    [...new Set([0, ...Array.from({ length: 9 }, () => random.integer(0, weight.length - 1))])]
      .sort((a, b) => a - b)
      .map((begin, i, all) => [begin, all[i + 1] ?? weight.length] as const),
  );
  for (const [begin, end] of starts) packer.add(weight.slice(begin, end), begin);
  expect(Buffer.compare(found, bytes)).toBe(0);
});

test('quantizing a dequantized row gives the same scale bit for bit, for every scale that convert can write', () => {
  // Tests every mantissa of a row's largest magnitude. An int8 file is quantized again when it is loaded as int8, so
  // this must not change the weights.
  let changed = 0;
  for (let mantissa = 2 ** 23; mantissa < 2 ** 24; mantissa++) {
    const scale = int8Scale(mantissa);
    if (int8Scale(Math.fround(127 * scale)) !== scale) changed++;
  }
  expect(changed).toBe(0);
});

describe('a quantized number', () => {
  test('differs by at most half a step, which is the largest magnitude of its row divided by 127', () => {
    const [rows, columns] = [70, 333];
    const weight = new Random(5).uniform(rows * columns);
    for (let i = 0; i < weight.length; i += 11) weight[i]! *= 1e-3;
    const { values } = quantize(rows, columns, weight);
    for (let row = 0; row < rows; row++) {
      const of = (all: Float32Array): Float32Array => all.subarray(row * columns, (row + 1) * columns);
      const largest = Math.max(...of(weight).map(Math.abs));
      const error = Math.max(...of(weight).map((value, k) => Math.abs(value - of(values)[k]!)));
      expect(error).toBeLessThanOrEqual((largest / 127 / 2) * (1 + 1e-4));
      expect(Math.max(...of(values).map(Math.abs))).toBeCloseTo(largest, 6);
    }
  });

  test.each([
    ['zeros', [0, 0, -0, 0], [0, 0, 0, 0]],
    ['subnormals, which a GPU may take for zeros', [1e-40, -1e-42, 0, 3e-44], [0, 0, 0, 0]],
    ['huge numbers', [3e38, -3e38, 1e38, 0], [127, -127, 42, 0]],
    ['one outlier', [1000, 3, -5, 0], [127, 0, -1, 0]],
  ])('%s', (_, row, expected) => {
    const words = packMatrix(1, 4, new Float32Array(row), 'int8');
    const found = [0, 1, 2, 3].map((k) => new Int8Array(words.buffer)[k * 64]! + 0); // turns -0 into 0
    expect(found).toEqual(expected);
    const scale = new Float32Array(words.buffer, 32 * 64, 1)[0]!;
    expect(scale).toBe(expected[0] === 0 ? 0 : Math.fround(Math.max(...new Float32Array(row)) / 127));
  });
});

test('a matrix without its scales is rejected, instead of becoming zeros', () => {
  const scales = new RowScales(new Map([['blocks.0.weight_scale', 3]]));
  expect(scales.of('blocks.0.bias')).toBeUndefined();
  expect(() => scales.of('blocks.0.weight')).toThrow(
    'blocks.0.weight: expected the 3 scales of this tensor before it in the file, found 0.',
  );
  const bytes = new Uint8Array(new Float32Array([1, 2, 3]).buffer);
  expect(scales.add('blocks.0.weight', 0, bytes)).toBeUndefined();
  expect([...scales.add('blocks.0.weight_scale', 0, bytes.subarray(0, 4))!]).toEqual([1]);
  expect(() => scales.of('blocks.0.weight')).toThrow('found 1.');
  expect([...scales.add('blocks.0.weight_scale', 4, bytes.subarray(4))!]).toEqual([2, 3]);
  expect([...scales.of('blocks.0.weight')!]).toEqual([1, 2, 3]);
});

test.each(['_zero_point', '_g_idx'])(
  'an int8 matrix with %s is rejected, because it would change the weights',
  (end) => {
    const tensors = [
      ['a.weight', { dtype: 'I8', shape: [4, 8] }],
      ['a.weight_scale', { dtype: 'F32', shape: [4] }],
    ] as const;
    const other = [`a.weight${end}`, { dtype: 'I8', shape: [4] }] as const;
    expect(readQuantized(encodeSafetensorsHeader(tensors).header).scales.size).toBe(1);
    expect(() => readQuantized(encodeSafetensorsHeader([...tensors, other]).header)).toThrow(
      expect.objectContaining({
        code: 'CHECKPOINT_TENSORS',
        message: expect.stringContaining(`no other parameters, found a.weight${end}`) as string,
      }) as Error,
    );
  },
);
