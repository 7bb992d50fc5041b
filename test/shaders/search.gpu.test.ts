import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import type { Kernel } from '../../src/gpu/kernels/kernel.ts';
import * as kernels from '../../src/gpu/kernels/searchKernels.ts';
import { decodeInto, encodedBytes, encodeVector } from '../../src/search/codec.ts';
import { F16_FACTOR, scoreError } from '../../src/search/errorBound.ts';
import { wordsOf } from '../../src/search/gpuRows.ts';
import type { VectorStorage } from '../../src/search/journal.ts';
import { Random } from '../random.ts';
import * as twins from '../reference/search.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterAll(() => expect(gpu.memory.bytes).toBe(0));

const GUARD = 0xdeadbeef;
const GUARD_WORDS = 64;
type Data = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/**
 * Runs a kernel and checks the guards. `data` holds the contents of each binding before the run, or its number of
 * words, left unwritten. Returns the contents of the written bindings.
 */
async function run(
  kernel: Kernel,
  constants: Record<string, number>,
  workgroups: readonly [number, number, number],
  data: Record<string, Data | number>,
): Promise<Record<string, Uint32Array<ArrayBuffer>>> {
  const compiled = await gpu.pipelines.compile({ kernel, constants });
  const buffers = kernel.bindings.map(({ name, access }) => {
    const given = data[name]!;
    if (access === 'uniform')
      return { name, buffer: gpu.memory.uniformOf(name, [...(given as Uint32Array)]), words: 0 };
    if (access === 'read') return { name, buffer: gpu.memory.storageOf(name, given as Data), words: 0 };
    const words = typeof given === 'number' ? given : given.length;
    const all = new Uint32Array(words + 2 * GUARD_WORDS).fill(GUARD);
    if (typeof given !== 'number') all.set(new Uint32Array(given.buffer), GUARD_WORDS);
    return { name, buffer: gpu.memory.storageOf(name, all), words };
  });
  try {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(compiled.pipeline);
    pass.setBindGroup(
      0,
      gpu.pipelines.bind(
        compiled,
        buffers.map(({ buffer, words }) => (words > 0 ? { buffer, offset: 4 * GUARD_WORDS } : { buffer })),
      ),
    );
    pass.dispatchWorkgroups(...workgroups);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    const out: Record<string, Uint32Array<ArrayBuffer>> = {};
    for (const { name, buffer, words } of buffers) {
      if (words === 0) continue;
      const all = new Uint32Array(await gpu.read(buffer, 0, 4 * (words + 2 * GUARD_WORDS)));
      expect(
        [...all.subarray(0, GUARD_WORDS), ...all.subarray(GUARD_WORDS + words)].every(
          (word) => word === GUARD,
        ),
        `no word outside ${name} is written`,
      ).toBe(true);
      out[name] = all.slice(GUARD_WORDS, GUARD_WORDS + words);
    }
    return out;
  } finally {
    for (const { buffer } of buffers) gpu.memory.destroy(buffer);
  }
}

/** Random rows in a vector storage: the packed data for the GPU, and the stored numbers. */
function rowsOf(random: Random, count: number, dim: number, storage: VectorStorage) {
  const values = storage === 'f32' ? 1 : storage === 'f16' ? 2 : 4;
  const words = wordsOf(dim, storage);
  const rowWords = words + (storage === 'int8' ? 1 : 0);
  const lines = new Uint32Array(count * rowWords);
  const numbers = new Float64Array(count * dim);
  const decoded = new Float32Array(dim);
  let norm = 0;
  for (let row = 0; row < count; row++) {
    const encoded = encodeVector(random.uniform(dim), storage, 'test');
    decodeInto(encoded, 0, storage, decoded);
    numbers.set(decoded, row * dim);
    norm = Math.max(norm, Math.hypot(...decoded));
    const line = new Uint8Array(lines.buffer, 4 * row * rowWords, 4 * rowWords);
    line.set(encoded.subarray(0, storage === 'int8' ? dim : encodedBytes(dim, storage)));
    if (storage === 'int8') line.set(encoded.subarray(dim), 4 * words);
  }
  const panels = 2 * Math.ceil(count / 128);
  return {
    panels,
    numbers,
    norm,
    constants: { VALUES: values, WORDS: words },
    data: twins.panelsOf(lines, count, rowWords, panels),
  };
}

const factorOf = (storage: VectorStorage): number => (storage === 'f16' ? F16_FACTOR : 1);

// (storage, rows, dimensions): rows that do not fill a panel or a pair of panels, numbers that do not fill a word.
const shapes = [
  ['f32', 1, 1],
  ['f32', 130, 7],
  ['f16', 65, 3],
  ['f16', 300, 36],
  ['int8', 63, 5],
  ['int8', 257, 50],
] as const;

describe.each(shapes)('%s, %i rows of %i', (storage, count, dim) => {
  const random = new Random(count);
  const { panels, numbers, norm, constants, data } = rowsOf(random, count, dim, storage);
  const quads = panels * 16;
  const queries = Array.from({ length: 4 }, () => random.uniform(dim));
  const queryNorm = Math.max(...queries.map((query) => Math.hypot(...query)));
  const error = scoreError(dim, storage, queryNorm, norm);
  const width = constants.VALUES * constants.WORDS;

  test.each([
    ['search_scores', kernels.searchScores, 1, 16],
    ['search_scores4', kernels.searchScores4, 4, 64],
  ] as const)('%s: within the bound on the error', async (_, kernel, together, lanes) => {
    const query = new Float32Array(width * together);
    for (let q = 0; q < together; q++)
      for (let i = 0; i < dim; i++) query[i * together + q] = queries[q]![i]! * factorOf(storage);
    const [first, stride] = [3, quads + 5];
    const words = 4 * (stride * together);
    const groups = Math.ceil(quads / (2 * lanes));
    const out = await run(
      kernel,
      { ...constants, WORKGROUP: lanes },
      [groups > 1 ? Math.ceil(groups / 2) : 1, groups > 1 ? 2 : 1, 1],
      {
        size: Uint32Array.of(quads, first, stride),
        rows: data,
        [kernel.bindings[2]!.name]: together === 1 ? new Uint32Array(query.buffer) : query,
        scores: words,
      },
    );
    const scores = new Float32Array(out['scores']!.buffer);
    const expected = twins.searchScores(
      numbers,
      queries.slice(0, together).map((each) => Float64Array.from(each)),
      dim,
    );
    for (const [q, of] of expected.entries()) {
      for (let row = 0; row < count; row++)
        expect(Math.abs(scores[4 * (first + q * stride) + row]! - of[row]!)).toBeLessThanOrEqual(error);
    }
    expect(out['scores']!.subarray(0, 4 * first).every((word) => word === GUARD)).toBe(true);
  });

  test('search_pairs finds every pair at or above the floor, and none far below it', async () => {
    const labels = Uint32Array.from({ length: count }, (_, row) => row % 5);
    const tile = { first: 2, quads: Math.max(1, Math.ceil(count / 4) - 3) };
    const all = Math.ceil(count / 4);
    const bound = scoreError(dim, storage, norm, norm);
    const expected = twins.searchPairs(numbers, dim, labels, {
      begin: 4 * tile.first,
      end: 4 * (tile.first + tile.quads),
    });
    const floor =
      expected.length > 0
        ? expected.map(({ score }) => score).sort((a, b) => b - a)[Math.floor(expected.length / 10)]!
        : 0;
    const capacity = expected.length + 10;
    const length = Math.max(0, all - tile.first);
    const found = new Uint32Array(1 + 2 * capacity);
    const out = await run(
      kernels.searchPairs,
      { ...constants, SIDE: 4 },
      [Math.max(1, Math.ceil(length / 4)), Math.ceil(tile.quads / 4), 1],
      {
        size: Uint32Array.of(
          count,
          tile.first,
          tile.quads,
          tile.first,
          tile.first,
          length,
          tile.first,
          capacity,
          new Uint32Array(Float32Array.of(floor).buffer)[0]!,
        ),
        rows_a: data,
        rows_b: data,
        labels,
        found,
      },
    );
    const number = out['found']![0]!;
    const named = new Set(
      Array.from({ length: number }, (_, i) => `${out['found']![1 + 2 * i]} ${out['found']![2 + 2 * i]}`),
    );
    expect(named.size).toBe(number);
    for (const { a, b, score } of expected) {
      if (score >= floor + bound) expect(named.delete(`${a} ${b}`), `${a} ${b}`).toBe(true);
      else if (score >= floor - bound) named.delete(`${a} ${b}`);
    }
    expect([...named]).toEqual([]);
  });

  test('search_assign gives the nearest centre, its score and the second-best score', async () => {
    for (const number of [1, 4, 7]) {
      const centers = Array.from({ length: number }, () => random.uniform(dim));
      const packed = new Float32Array(4 * width * Math.ceil(number / 4)).fill(9e9 * factorOf(storage)); // huge values after the last centre, which must be ignored
      for (const [c, center] of centers.entries())
        for (let i = 0; i < width; i++)
          packed[(Math.floor(c / 4) * width + i) * 4 + (c % 4)] = (center[i] ?? 0) * factorOf(storage);
      const bound = scoreError(
        dim,
        storage,
        Math.max(...centers.map((center) => Math.hypot(...center))),
        norm,
      );
      const out = await run(
        kernels.searchAssign,
        { ...constants, WORKGROUP: 16 },
        [Math.ceil(quads / 32), 2, 1],
        {
          size: Uint32Array.of(quads, 1, number),
          rows: data,
          centers: packed,
          nearest: 4 * (quads + 1),
          highest: 4 * (quads + 1),
          second: 4 * (quads + 1),
        },
      );
      const expected = twins.searchAssign(
        numbers,
        centers.map((each) => Float64Array.from(each)),
        dim,
      );
      const [highest, second] = [
        new Float32Array(out['highest']!.buffer),
        new Float32Array(out['second']!.buffer),
      ];
      for (const [row, each] of expected.entries()) {
        expect(Math.abs(highest[4 + row]! - each.highest)).toBeLessThanOrEqual(bound);
        if (number > 1) expect(Math.abs(second[4 + row]! - each.second)).toBeLessThanOrEqual(bound);
        if (each.highest - each.second > 2 * bound) expect(out['nearest']![4 + row]).toBe(each.nearest);
      }
    }
  });
});

describe.each([
  [1, 1, 1],
  [100, 3, 7],
  [5000, 16, 20],
  [5001, 1, 1000],
])('selecting among %i scores, blocks of %i quads, k %i', (count, blockQuads, wanted) => {
  const blockRows = 4 * blockQuads;
  const random = new Random(count + wanted);
  const stride = Math.ceil(count / 4) + 3;
  const scores = new Float32Array(2 * 4 * stride);
  for (let i = 0; i < scores.length; i++)
    scores[i] =
      random.next() < 0.3
        ? Math.round(4 * random.next() - 2) / 4
        : (2 * random.next() - 1) * 10 ** random.integer(-20, 3); // ties, both signs, many sizes
  const allowed = Array.from({ length: count }, () => random.next() < 0.7);
  const bits = new Uint32Array(Math.ceil(count / 32));
  allowed.forEach((each, row) => each && (bits[row >>> 5]! |= 1 << (row & 31)));
  const blocks = Math.ceil(count / blockRows);

  test.each([true, false])('filtered: %s', async (filtered) => {
    const size = Uint32Array.of(count, stride, blockQuads, blocks, wanted, filtered ? 1 : 0);
    const maxima = (
      await run(kernels.searchMaxima, {}, [Math.ceil(blocks / 16), 2, 1], {
        size,
        scores,
        allowed: bits,
        maxima: 2 * blocks,
      })
    )['maxima']!;
    const [margin, lowest] = [0.01, -1.5];
    const limits = Float32Array.of(margin, lowest, margin, lowest);
    const floors = new Float32Array(
      (await run(kernels.searchFloor, { IGNORED_BITS: 0 }, [1, 2, 1], { size, maxima, limits, floors: 2 }))[
        'floors'
      ]!.buffer,
    );
    const collected = await run(kernels.searchCollect, {}, [Math.ceil(count / 128), 2, 2], {
      size,
      scores,
      allowed: bits,
      floors,
      counts: new Uint32Array(2),
      found: 2 * 2 * 4 * stride,
    });
    for (const query of [0, 1]) {
      const mine = scores.subarray(4 * stride * query, 4 * stride * query + count);
      const may = allowed.map((each) => each || !filtered);
      const floor = twins.searchFloor(twins.searchMaxima(mine, may, blockRows), wanted, margin, lowest);
      expect(floors[query]).toBeCloseTo(floor, 4);
      const number = collected['counts']![query]!;
      const found = collected['found']!.subarray(8 * stride * query, 8 * stride * query + 2 * number);
      const rows = Array.from({ length: number }, (_, i) => found[2 * i]!).sort((a, b) => a - b);
      expect(rows).toEqual(twins.searchCollect(mine, may, floors[query]!));
      for (let i = 0; i < number; i++)
        expect(found[2 * i + 1]).toBe(
          new Uint32Array(mine.slice(found[2 * i]!, found[2 * i]! + 1).buffer)[0],
        );
    }
  });
});
