import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import * as kernels from '../../src/gpu/kernels/correspondenceKernels.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { expectClose, Random, ROUNDING } from '../random.ts';
import * as twins from '../reference/nearest_patch.ts';
import { runGuarded } from './guarded.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterAll(() => expect(gpu.memory.bytes).toBe(0));

/**
 * Tolerance of the entries of a unit vector: the roundings of a sum of squares, of its root, of a division and of a
 * product, each of a number below 1.
 */
const UNIT = { maxAbs: 8 * ROUNDING, nmse: 1e-12 };

// (patches, channels): patches that fill no workgroup and no panel.
test.each([
  [1, 64],
  [63, 384],
  [65, 64],
  [150, 192],
])('patch_directions: %i patches of %i channels, in rows and in panels', async (count, dim) => {
  const random = new Random(count);
  const firstToken = 3;
  const tokens = random.uniform((firstToken + count + 2) * dim, 5);
  const own = tokens.subarray(firstToken * dim, (firstToken + count) * dim);
  own.fill(0, 0, dim); // a token of zeros
  if (count > 3) {
    for (let i = 0; i < dim; i++) {
      own[dim + i]! *= 2 ** 124; // squares overflow f32
      own[2 * dim + i]! *= 2 ** -100; // squares underflow
    }
    own[3 * dim + 5] = NaN;
    own[count * dim - 1] = -Infinity;
  }
  const expected = twins.patchDirections(own, count, dim);
  const panelCount = Math.ceil(count / 64);
  for (const panels of [0, 1]) {
    const { directions, not_finite } = await runGuarded(
      gpu,
      kernels.patchDirections,
      { EMBED_DIM: dim },
      [Math.ceil(count / 64)],
      {
        size: Uint32Array.of(firstToken, count, panels, 7),
        tokens,
        directions: new Float32Array((panels ? panelCount * 64 : count) * dim),
        not_finite: new Uint32Array(7 + count),
      },
    );
    const flags = new Uint32Array(not_finite!, 7 * 4);
    const found = new Float32Array(directions!);
    for (let patch = 0; patch < count; patch++) {
      const finite = [...own.subarray(patch * dim, (patch + 1) * dim)].every(Number.isFinite);
      expect(flags[patch], `flag of patch ${patch}`).toBe(finite ? 0 : 1);
      if (!finite) continue;
      const at = (i: number): number =>
        panels ? (Math.floor(patch / 64) * dim + i) * 64 + (patch % 64) : patch * dim + i;
      expectClose(
        `patch ${patch}`,
        Float32Array.from({ length: dim }, (_, i) => found[at(i)]!),
        expected.subarray(patch * dim, (patch + 1) * dim),
        UNIT,
      );
    }
    for (let column = count; panels && column < panelCount * 64; column++)
      expect(found[(Math.floor(column / 64) * dim + 1) * 64 + (column % 64)]).toBe(0);
  }
});

// (rows, columns, parts): blocks that are smaller than their parts, and that fill no workgroup and no vector.
test.each([
  [1, 1, 16],
  [5, 130, 16],
  [70, 3, 16],
  [67, 259, 3],
])('nearest_patch: %i × %i scores in %i parts', async (rows, cols, parts) => {
  const random = new Random(rows + cols);
  const constants = { COLUMNS: 320, PARTS: parts };
  const scores = new Float32Array(rows * constants.COLUMNS).fill(1.5); // columns beyond `cols` must be ignored
  for (let row = 0; row < rows; row++)
    for (let col = 0; col < cols; col++)
      scores[row * constants.COLUMNS + col] = random.integer(-4, 3) / 4 - 0.05; // many ties
  const [firstRow, firstCol] = [11, 21];
  const matchesOf = (words: ArrayBuffer): twins.Match[] => {
    const [values, indices] = [new Float32Array(words), new Uint32Array(words)];
    return Array.from({ length: values.length / 2 }, (_, i) => ({
      score: values[2 * i]!,
      index: indices[2 * i + 1]!,
    }));
  };
  for (const [kernel, count, lanes, first, twin] of [
    [kernels.nearestInRows, rows, rows, firstCol, twins.nearestInRows],
    [kernels.nearestInColumns, cols, Math.ceil(cols / 4), firstRow, twins.nearestInColumns],
  ] as const) {
    const { partials } = await runGuarded(gpu, kernel, constants, [Math.ceil(lanes / 64), parts], {
      size: Uint32Array.of(rows, cols, firstRow, firstCol),
      scores,
      partials: new Uint32Array(2 * parts * count),
    });
    const expected = twin(scores, rows, cols, constants.COLUMNS);
    // The match so far: lower, equal, or higher than the block's.
    const before = new Uint32Array(2 * (4 + count + 4));
    const offsets = expected.map(() => random.pick([-0.25, 0, 0.25]));
    expected.forEach(({ score }, i) => {
      before[2 * (4 + i)] = new Uint32Array(Float32Array.of(score + offsets[i]!).buffer)[0]!;
      before[2 * (4 + i) + 1] = 9;
    });
    const { nearest } = await runGuarded(gpu, kernels.nearestMerge, constants, [Math.ceil(count / 64)], {
      merge_size: Uint32Array.of(count, 4),
      all_partials: new Uint32Array(partials!),
      nearest: before,
    });
    const found = matchesOf(nearest!);
    expect(found.slice(4, 4 + count)).toEqual(
      expected.map(({ score, index }, i) =>
        offsets[i]! < 0
          ? { score, index: first + index }
          : { score: Math.fround(score + offsets[i]!), index: 9 },
      ),
    );
    for (const i of [0, 3, 4 + count, 7 + count]) expect(found[i]).toEqual({ score: 0, index: 0 });
  }
});
