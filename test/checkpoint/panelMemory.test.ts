import { afterEach, describe, expect, test, vi } from 'vitest';
import { f32ToF16 } from '../../src/numerics/float16.ts';
import { bitsOf } from '../../src/weights/turn.ts';
import { Random } from '../random.ts';
import { packPanels } from '../reference/packing.ts';

afterEach(() => {
  vi.unstubAllGlobals();
});

/** The panel memory of a page that allows WebAssembly ('SIMD') or forbids it ('JavaScript'). */
async function memoryOf(kind: 'SIMD' | 'JavaScript') {
  vi.resetModules();
  if (kind === 'JavaScript') {
    const refuse = (): never => {
      throw new Error('forbidden by Content-Security-Policy');
    };
    vi.stubGlobal('WebAssembly', { Module: refuse, Instance: refuse });
  }
  const { createSimd } = await import('../../src/weights/simd.ts');
  expect(createSimd() !== undefined).toBe(kind === 'SIMD');
  const { PackingMemory } = await import('../../src/weights/panelMemory.ts');
  return new PackingMemory();
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Int32Array | Uint16Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

describe.each(['SIMD', 'JavaScript'] as const)('%s', (kind) => {
  test.each([
    [64, 1],
    [64, 4],
    [64, 33],
    [7, 588],
    [64, 132],
    [13, 64],
    [3, 200],
    [4, 200],
    [5, 200],
    [1, 5],
    [64, 4096],
    [64, 8192],
    [9, 70_000],
  ] as const)('transposes %i × %i, in parts that begin and end anywhere', async (rows, columns) => {
    const memory = await memoryOf(kind);
    const random = new Random(rows * 1000 + columns);
    const weight = random.uniform(rows * columns);
    const expected = packPanels(rows, columns, weight);
    for (let round = 0; round < 6; round++) {
      const cuts = new Set(
        Array.from({ length: round === 0 ? 0 : random.integer(0, 12) }, () =>
          random.integer(1, weight.length),
        ),
      );
      const ends = [...cuts, weight.length].sort((a, b) => a - b);
      const place = memory.take(expected.length);
      place.words.fill(0);
      let together = 0;
      ends.forEach((end, i) => {
        const begin = ends[i - 1] ?? 0;
        together |= memory.turn(bitsOf(weight.subarray(begin, end)), begin, columns, place);
        if (round > 3) memory.take(2 ** 16); // the memory grows while `place` is in use
      });
      expect(
        Buffer.compare(bytesOf(place.words.subarray(0, expected.length)), new Uint8Array(expected.buffer)),
      ).toBe(0);
      expect(together).toBe(bitsOf(weight).reduce((sum, bits) => sum | bits, 0));
      memory.give(place);
    }
  });

  test('F16: rounds correctly at and next to every F16 and every tie, for both signs, infinities, NaN and subnormals', async () => {
    const memory = await memoryOf(kind);
    const bits: number[] = [
      0, 1, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff, 0x33000000,
      0x33000001, 0x32ffffff,
    ];
    for (let half = 0; half < 0x7c00; half++) {
      // An F16, and the midpoint between it and the next one, both exact in float32.
      const value = half < 0x400 ? half * 2 ** -24 : (1 + (half & 0x3ff) / 1024) * 2 ** ((half >> 10) - 15);
      const step = half < 0x400 ? 2 ** -24 : 2 ** ((half >> 10) - 25);
      for (const exact of [value, value + step / 2]) {
        const at = bitsOf(Float32Array.of(exact))[0]!;
        bits.push(at, at + 1, Math.max(0, at - 1));
      }
    }
    for (let i = bits.length; i-- > 0;) bits.push(bits[i]! | 0x80000000);
    while (bits.length % 8 > 0) bits.push(0);
    const place = memory.take(bits.length);
    const words = Int32Array.from(bits);
    place.words.set(words);
    memory.toF16(place, bits.length);
    const expected = new Uint16Array(bits.length);
    f32ToF16(new Float32Array(words.buffer), expected);
    const found = new Uint16Array(place.words.buffer, place.words.byteOffset, bits.length);
    expect(found.findIndex((half, i) => half !== expected[i])).toBe(-1);
  });

  test('int8: rounds correctly at and next to every tie, in columns with different scales', async () => {
    const memory = await memoryOf(kind);
    const rows = 600; // each of 64 values
    const random = new Random(8);
    const values = new Float32Array(64 * rows);
    const expected = new Int8Array(values.length);
    const scales = new Float32Array(64);
    for (let column = 0; column < 64; column++) {
      // Scales: zero, subnormal, huge, and powers of two, for which ties are exact.
      const scale =
        column === 0
          ? 0
          : column === 1
            ? 1e-40
            : column === 2
              ? 2e36
              : Math.fround(
                  column % 2 === 0 ? 2 ** random.integer(-20, 3) : random.uniform(1)[0]! * 0.1 || 1,
                );
      for (let row = 0; row < rows; row++) {
        const half = Math.fround(((row % 254) - 127 + 0.5) * Math.abs(scale));
        values[row * 64 + column] =
          row === 0
            ? 127 * Math.abs(scale)
            : row < 255
              ? half
              : row < 509
                ? half * (1 + 2 ** -23)
                : half * (1 - 2 ** -23);
      }
      const largest = Math.max(
        ...Array.from({ length: rows }, (_, row) => Math.abs(values[row * 64 + column]!)),
      );
      const wanted = Math.fround(largest / 127);
      scales[column] = wanted < 2 ** -126 ? 0 : wanted;
      for (let row = 0; row < rows; row++)
        expected[row * 64 + column] = Math.round(values[row * 64 + column]! / (scales[column]! || 1));
    }
    const place = memory.take(values.length);
    place.words.set(bitsOf(values));
    const found = new Float32Array(64);
    memory.toInt8(place, values.length, found);
    expect(found).toEqual(scales);
    expect(scales[0]).toBe(0);
    expect(scales[1]).toBe(0);
    const integers = new Int8Array(place.words.buffer, place.words.byteOffset, values.length);
    expect(integers.findIndex((value, i) => value !== expected[i])).toBe(-1);
  });
});
