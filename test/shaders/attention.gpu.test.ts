import { afterAll, describe, expect, test } from 'vitest';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import type { Target } from '../../src/gpu/lowering.ts';
import { full } from '../full.ts';
import { expectClose, Random, WorstDistances, type Tolerance } from '../random.ts';
import { attention } from '../reference/attention.ts';
import { bitsOf, familiesOf, nodeOf, runNode } from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

/**
 * Tolerance for random inputs. Scores reach 6 and are sums of 64 products, so the relative error of exp is at most
 * 1e-6; a result is a mean of values in [-1, 1).
 */
const ATTENTION: Tolerance = { maxAbs: 2e-6, nmse: 1e-12 };
/** Tolerance if one key has all the weight, or all keys have equal weight: only one sum and one division round. */
const DECIDED: Tolerance = { maxAbs: 1e-6, nmse: 1e-12 };

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

/** A kernel for attention: `alternative` is its index among the alternatives of a target. */
interface Family extends Omit<Target, 'weights'> {
  readonly alternative?: number;
}

const tiled: Family = { software: false };
const fewQueries: Family = { software: false, ...EVERY_TILE, alternative: 1 };
const families: (readonly [string, Family])[] = [...familiesOf(gpu), ['tiled, 16 queries', fewQueries]];

function run(
  { alternative, ...target }: Family,
  batch: number,
  numTokens: number,
  numHeads: number,
  qkv: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const node = nodeOf((graph) =>
    graph.attention('node', graph.input('qkv', [batch * numTokens, 3 * numHeads * 64]), numHeads),
  );
  return runNode(gpu, node, {
    target: { ...target, weights: 'f32' },
    alternative,
    size: { batch, rows: 1, cols: numTokens - 1, numTokens },
    data: { qkv },
  });
}

/** Random queries and keys with scores up to 6, and values in [-1, 1). */
function randomQkv(batch: number, numTokens: number, numHeads: number): Float32Array<ArrayBuffer> {
  const random = new Random(batch * 10_000 + numTokens * 10 + numHeads);
  return random
    .uniform(batch * numTokens * 3 * numHeads * 64)
    .map((value, i) => (Math.floor(i / (numHeads * 64)) % 3 === 2 ? value : value * 2));
}

/** Number of heads, the same as in other tests, so that their compiled pipeline is reused. */
const HEADS = 3;

/** Queries, keys and values of every token. All heads, of 64 channels each, have the same scores. */
function headsOf(numTokens: number, scores: Scores): Float32Array<ArrayBuffer> {
  const width = HEADS * 64;
  const qkv = new Float32Array(numTokens * 3 * width);
  for (let token = 0; token < numTokens; token++) {
    for (let i = 0; i < width; i++) {
      const { q, k } = scores(token, i % 64, numTokens);
      qkv[token * 3 * width + i] = q;
      qkv[token * 3 * width + width + i] = k;
      qkv[token * 3 * width + 2 * width + i] = Math.sin(token * width + i);
    }
  }
  return qkv;
}

type Scores = (token: number, channel: number, numTokens: number) => { q: number; k: number };
const unusual: [string, Scores][] = [
  ['all equal and huge', () => ({ q: 50, k: 50 })],
  ['all equal and hugely negative', () => ({ q: 300, k: -300 })],
  ['all zero', () => ({ q: 0, k: 0 })],
  // The query of each token selects only the key of the same token.
  [
    'one-hot',
    (token, channel) => ({ q: channel === token % 64 ? 100 : 0, k: channel === token % 64 ? 100 : 0 }),
  ],
  // The largest score so far grows with every key ('rising'), or is that of the first key ('falling').
  ['rising', (token) => ({ q: 1, k: token })],
  ['falling', (token) => ({ q: 1, k: -token })],
  [
    'one score in the middle far above the others',
    (token, _, numTokens) => ({ q: 10, k: token === Math.floor(numTokens / 2) ? 1000 : -1000 }),
  ],
];

describe.each(families)('attention, %s', (kernel, target) => {
  // Each number of heads is a shader constant of its own, which takes SwiftShader 4 s to compile.
  describe.each(!gpu.software ? [1, 2, HEADS] : full ? [1, HEADS] : [HEADS])('heads: %i', (numHeads) => {
    test.each([1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 257])('%i tokens', async (numTokens) => {
      for (const batch of numTokens > 100 ? [1, 2] : [1, 2, 3]) {
        const qkv = randomQkv(batch, numTokens, numHeads);
        const found = await run(target, batch, numTokens, numHeads, qkv);
        worst.note(
          kernel,
          expectClose(`batch ${batch}`, found, attention(batch, numTokens, numHeads, qkv), ATTENTION),
          ATTENTION,
        );
      }
    });
  });

  describe.each([5, 33, 65])('%i tokens with extreme scores', (numTokens) => {
    test.each(unusual)('%s', async (name, scores) => {
      const qkv = headsOf(numTokens, scores);
      const found = await run(target, 1, numTokens, HEADS, qkv);
      worst.note(
        `${kernel}, ${name}`,
        expectClose(name, found, attention(1, numTokens, HEADS, qkv), DECIDED),
        DECIDED,
      );
    });
  });

  test('an image alone and in a batch of 3 gives the same bits', async () => {
    const [numTokens, numHeads] = [37, HEADS];
    const qkv = randomQkv(3, numTokens, numHeads);
    const together = bitsOf(await run(target, 3, numTokens, numHeads, qkv));
    for (let image = 0; image < 3; image++) {
      const alone = bitsOf(
        await run(
          target,
          1,
          numTokens,
          numHeads,
          qkv.slice((image * qkv.length) / 3, ((image + 1) * qkv.length) / 3),
        ),
      );
      expect(alone).toEqual(together.slice(image * alone.length, (image + 1) * alone.length));
    }
  });
});

// The tuning and the input size select between 32 and 16 queries per workgroup, so the bits must be the same.
test.each([1, 15, 17, 33, 65, 257])(
  '%i tokens: the same bits with 32 and with 16 queries per workgroup',
  async (numTokens) => {
    const [batch, numHeads] = [2, HEADS];
    const qkv = randomQkv(batch, numTokens, numHeads);
    const bits = bitsOf(await run(tiled, batch, numTokens, numHeads, qkv));
    expect(bitsOf(await run(fewQueries, batch, numTokens, numHeads, qkv))).toEqual(bits);
  },
);

test.each(unusual)('%s: the same bits with 32 and with 16 queries per workgroup', async (_, scores) => {
  const qkv = headsOf(65, scores);
  expect(bitsOf(await run(fewQueries, 1, 65, HEADS, qkv))).toEqual(
    bitsOf(await run(tiled, 1, 65, HEADS, qkv)),
  );
});
