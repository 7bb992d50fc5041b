import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import * as kernels from '../../src/gpu/kernels/similarityKernels.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { expectClose, Random, ROUNDING, type Tolerance } from '../random.ts';
import * as twins from '../reference/patch_similarity.ts';
import { runGuarded } from './guarded.ts';

/** A sum of unit vectors: each term has a relative error of about three roundings, for its length and product. */
const SUM = (terms: number): Tolerance => ({ maxAbs: 4 * (2 + Math.sqrt(terms)) * ROUNDING, nmse: 1e-12 });
/** A cosine: a walk of roundings of partial sums, of which each is at most 1. */
const COSINE: Tolerance = { maxAbs: 1e-6, nmse: 1e-11 };

/** (patches, channels): a lane, tile and workgroup that end early, and more than one workgroup. */
const shapes = [
  [1, 4],
  [3, 36],
  [16, 128],
  [17, 260],
  [50, 384],
  [33, 1536],
] as const;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});
afterAll(() => expect(gpu.memory.bytes).toBe(0));

/** Random tokens of very different lengths: (1 + patches, dim). The first token is not a patch. */
function tokensOf(random: Random, patches: number, dim: number): Float32Array<ArrayBuffer> {
  const x = random.uniform((1 + patches) * dim);
  return x.map((value, i) => value * 10 ** ((Math.floor(i / dim) % 7) - 3));
}

function chosenOf(random: Random, count: number, patches: number) {
  const chosen = Array.from({ length: count }, () => ({
    token: 1 + random.integer(0, patches - 1),
    weight: Math.fround(2 * random.next() - 1),
  }));
  const words = new Uint32Array(2 * count);
  const weights = new Float32Array(words.buffer);
  for (const [i, { token, weight }] of chosen.entries()) {
    words[2 * i] = token;
    weights[2 * i + 1] = weight;
  }
  return { chosen, words };
}

const sums = async (
  x: Float32Array<ArrayBuffer>,
  words: Uint32Array<ArrayBuffer>,
  dim: number,
): Promise<Float32Array<ArrayBuffer>> => {
  const count = words.length / 2;
  const chunks = Math.ceil(count / 16);
  const out = await runGuarded(gpu, kernels.similaritySums, { EMBED_DIM: dim }, [chunks], {
    size: Uint32Array.of(0, count),
    x,
    chosen: words,
    sums: new Float32Array(chunks * (dim + 4)).fill(7),
  });
  return new Float32Array(out['sums']!);
};

const unitOf = async (all: Float32Array<ArrayBuffer>, count: number, dim: number) => {
  const out = await runGuarded(gpu, kernels.similarityQuery, { EMBED_DIM: dim }, [1], {
    size: Uint32Array.of(0, count),
    all_sums: all,
    query: new Float32Array(dim + 4).fill(7),
  });
  return new Float32Array(out['query']!);
};

const mapOf = async (
  x: Float32Array<ArrayBuffer>,
  unit: Float32Array<ArrayBuffer>,
  patches: number,
  dim: number,
) => {
  const out = await runGuarded(gpu, kernels.similarityMap, { EMBED_DIM: dim }, [Math.ceil(patches / 4)], {
    size: Uint32Array.of(1, patches),
    x,
    unit,
    values: new Uint32Array(patches).fill(7),
  });
  return new Float32Array(out['values']!);
};

describe.each(shapes)('%i patches of %i channels', (patches, dim) => {
  const random = new Random(100 * patches + dim);
  const x = tokensOf(random, patches, dim);

  test.each([1, 15, 16, 37])('%i chosen patches', async (count) => {
    const { chosen, words } = chosenOf(random, count, patches);
    const found = await sums(x, words, dim);
    const expected = twins.similaritySums(x, chosen, dim);
    expectClose('similarity_sums', found, expected, SUM(16));
    const unit = await unitOf(found, count, dim);
    expectClose('similarity_query', unit, twins.similarityQuery(found, dim), SUM(3));
    const map = await mapOf(x, unit, patches, dim);
    expectClose('similarity_map', map, twins.similarityMap(x, unit, 1, patches, dim), COSINE);
    expect(await sums(x, words, dim)).toEqual(found); // the order of the sums is fixed
  });

  test('a patch has the similarity 1 with itself, and equals float64 from end to end', async () => {
    for (let patch = 0; patch < patches; patch++) {
      const words = Uint32Array.of(1 + patch, 0);
      new Float32Array(words.buffer)[1] = 1;
      const map = await mapOf(x, await unitOf(await sums(x, words, dim), 1, dim), patches, dim);
      expect(Math.abs(map[patch]! - 1)).toBeLessThan(1e-6);
      const exact = twins.similarityQuery(
        twins.similaritySums(x, [{ token: 1 + patch, weight: 1 }], dim),
        dim,
      );
      expectClose('map', map, twins.similarityMap(x, exact, 1, patches, dim), COSINE);
    }
  });
});

describe('tokens that are not usual', () => {
  const dim = 36;
  const random = new Random(1);
  const one = (token: number): Uint32Array<ArrayBuffer> => {
    const words = Uint32Array.of(token, 0);
    new Float32Array(words.buffer)[1] = 1;
    return words;
  };

  test.each([NaN, Infinity, -Infinity, 3e38])(
    '%d gives NaN at its patch, and everywhere as a query',
    async (bad) => {
      const x = tokensOf(random, 5, dim);
      x[3 * dim + 17] = bad;
      const usual = await mapOf(x, await unitOf(await sums(x, one(1), dim), 1, dim), 5, dim);
      expect([...usual].map(Number.isNaN)).toEqual([false, false, true, false, false]);
      const as = await mapOf(x, await unitOf(await sums(x, one(3), dim), 1, dim), 5, dim);
      expect([...as].every(Number.isNaN)).toBe(true);
    },
  );

  test('a token of zeros has the similarity 0, also as a query', async () => {
    const x = tokensOf(random, 3, dim).fill(0, 2 * dim, 3 * dim);
    const map = await mapOf(x, await unitOf(await sums(x, one(1), dim), 1, dim), 3, dim);
    expect(map[1]).toBe(0);
    const as = await mapOf(x, await unitOf(await sums(x, one(2), dim), 1, dim), 3, dim);
    expect([...as]).toEqual([0, 0, 0]);
  });
});
