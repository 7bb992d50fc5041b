import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.js';
import { syntheticTensor } from '../../src/weights/synthetic.js';
import { CheckpointError, OptionError } from '../../src/errors.js';
import { interpolatePosEmbed } from '../../src/model/posEmbed.js';
import type { PosEmbedConvention } from '../../src/model/config.js';

/** The fixture is PyTorch's float64 result stored as float32, so its rounding error is up to half an ulp of 1. */
const MAX_ABS = 2e-7;
const embedDim = 8;
const conventions: PosEmbedConvention[] = ['plain', 'antialias', 'offset'];
const folder = new URL('../fixtures/posembed/', import.meta.url);
const tableOf = (n: number) => syntheticTensor('embeddings.position_embeddings', [1, 1 + n * n, embedDim]);

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

describe('interpolatePosEmbed', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));
  it('has fixtures', () => expect(files.length).toBe(10));

  describe.each(files)('equals PyTorch: %s', (file) => {
    const [nativeGrid = 0, rows = 0, cols = 0] = file.match(/\d+/g)!.map(Number);
    const bytes = readFileSync(new URL(file, folder));
    const { tensors } = parseSafetensors(bytes);
    it.each(conventions)('%s', (convention) => {
      const { begin, end, shape } = tensors.get(convention)!;
      expect(shape).toEqual([rows * cols, embedDim]);
      const expected = new Float32Array(new Uint8Array(bytes.subarray(begin, end)).buffer);
      const found = interpolatePosEmbed(tableOf(nativeGrid), {
        embedDim,
        nativeGrid,
        rows,
        cols,
        convention,
      });
      expect(largestDifference(found, expected)).toBeLessThan(MAX_ABS);
    });
  });

  it.each(conventions)(
    '%s copies the table on the native grid, but not on another grid with as many patches',
    (convention) => {
      const table = tableOf(5);
      const native = interpolatePosEmbed(table, { embedDim, nativeGrid: 5, rows: 5, cols: 5, convention });
      expect(native).toEqual(table.slice(embedDim));
      expect(native.buffer).not.toBe(table.buffer);
      const line = interpolatePosEmbed(table, { embedDim, nativeGrid: 5, rows: 1, cols: 25, convention });
      expect(largestDifference(line, native)).toBeGreaterThan(0.1);
    },
  );

  it.each(conventions)('%s keeps a constant table constant, at every size', (convention) => {
    const table = new Float32Array((1 + 37 * 37) * 2).fill(0.75);
    for (const [rows, cols] of [
      [1, 1],
      [16, 16],
      [37, 38],
      [3, 90],
    ] as const) {
      const found = interpolatePosEmbed(table, { embedDim: 2, nativeGrid: 37, rows, cols, convention });
      expect(largestDifference(found, new Float32Array(rows * cols * 2).fill(0.75))).toBeLessThan(MAX_ABS);
    }
  });

  it.each(conventions)('%s is symmetric in rows and columns', (convention) => {
    const table = tableOf(5);
    const transposed = table.slice();
    for (let row = 0; row < 5; row++) {
      for (let col = 0; col < 5; col++) {
        const from = (1 + row * 5 + col) * embedDim;
        transposed.set(table.subarray(from, from + embedDim), (1 + col * 5 + row) * embedDim);
      }
    }
    const wide = interpolatePosEmbed(table, { embedDim, nativeGrid: 5, rows: 3, cols: 8, convention });
    const tall = interpolatePosEmbed(transposed, { embedDim, nativeGrid: 5, rows: 8, cols: 3, convention });
    for (let row = 0; row < 3; row++) {
      for (let col = 0; col < 8; col++) {
        for (let i = 0; i < embedDim; i++) {
          expect(wide[(row * 8 + col) * embedDim + i]).toBeCloseTo(tall[(col * 3 + row) * embedDim + i]!, 6);
        }
      }
    }
  });

  it('never reads the position of the cls token', () => {
    const table = tableOf(5).fill(Number.NaN, 0, embedDim);
    for (const convention of conventions) {
      const found = interpolatePosEmbed(table, { embedDim, nativeGrid: 5, rows: 9, cols: 2, convention });
      expect(found.every(Number.isFinite)).toBe(true);
    }
  });

  it('rejects a table of another length, and an empty grid', () => {
    const options = { embedDim, nativeGrid: 37, rows: 16, cols: 16, convention: 'plain' } as const;
    expect(() => interpolatePosEmbed(tableOf(5), options)).toThrow(CheckpointError);
    expect(() => interpolatePosEmbed(tableOf(5), options)).toThrow(/expected 10960 values .* found 208/);
    for (const rows of [0, -1, 1.5, Number.NaN]) {
      expect(() => interpolatePosEmbed(tableOf(37), { ...options, rows })).toThrow(OptionError);
    }
  });
});
