import { afterAll, describe, expect, test } from 'vitest';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import { laneKernels } from '../../src/gpu/kernels/laneKernels.ts';
import { layerNorm } from '../reference/layer_norm.ts';
import { bitsOf, nodeOf, runNode, tokenRows, type Workgroups } from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

const EPS = 1e-6;

/**
 * Tolerance: 16 roundings of a row's largest value, in units of the row's standard deviation. layer_norm sums in a
 * tree and needs few of them; layer_norm_direct adds one vector after the other. Weights are up to 1.3.
 */
const LAYER_NORM = (largestOverDeviation: number): Tolerance => ({
  maxAbs: 16 * ROUNDING * Math.max(4, largestOverDeviation),
  nmse: 1e-12,
});

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

function run(
  software: boolean,
  embedDim: number,
  batch: number,
  numTokens: number,
  x: Float32Array<ArrayBuffer>,
  { weight, bias }: Parameters,
  workgroups?: Workgroups,
) {
  const node = nodeOf((graph) =>
    graph.layerNorm(
      'node',
      graph.input('x', [batch * numTokens, embedDim]),
      graph.weight('weight', [embedDim]),
      graph.weight('bias', [embedDim]),
      EPS,
    ),
  );
  return runNode(gpu, node, {
    target: { software, weights: 'f32', laneKernels: software ? laneKernels[4] : undefined },
    size: tokenRows(batch, numTokens),
    data: { x, weight, bias },
    workgroups,
  });
}

interface Parameters {
  readonly weight: Float32Array<ArrayBuffer>;
  readonly bias: Float32Array<ArrayBuffer>;
}

function parameters(embedDim: number): Parameters {
  const random = new Random(embedDim);
  return {
    weight: random.uniform(embedDim, 0.3).map((value) => 1 + value),
    bias: random.uniform(embedDim, 0.2),
  };
}

/** The maximum over all rows of the largest absolute value divided by the standard deviation. */
function largestOverDeviation(x: Float32Array, embedDim: number): number {
  let most = 0;
  for (let from = 0; from < x.length; from += embedDim) {
    const row = x.subarray(from, from + embedDim);
    const mean = row.reduce((sum, value) => sum + value, 0) / embedDim;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / embedDim;
    most = Math.max(
      most,
      row.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / Math.sqrt(variance + EPS),
    );
  }
  return most;
}

/** Changes to random rows before they are normalised. */
const disturbances: Readonly<Record<string, (x: Float32Array, embedDim: number) => void>> = {
  unchanged: () => undefined,
  'one channel at 250, 1,000 or 60,000': (x, embedDim) => {
    for (let row = 0; row * embedDim < x.length; row++)
      x[row * embedDim + ((row * 37) % embedDim)] = [250, -1e3, 6e4][row % 3]!;
  },
  'offset by 1,000': (x) => x.forEach((value, i) => (x[i] = value + 1e3)),
  'offset by 60,000': (x) => x.forEach((value, i) => (x[i] = value - 6e4)),
  'times 1e-4': (x) => x.forEach((value, i) => (x[i] = value * 1e-4)),
};

describe.each([
  ['layer_norm', false],
  ['layer_norm_direct', true],
])('%s', (entryPoint, software) => {
  // A workgroup processes 256 channels at a time. 72 is not a multiple of 256, and with 4 only one lane has work.
  test.each([4, 72, 128, 384, 1536])('rows of %i', async (embedDim) => {
    const { weight, bias } = parameters(embedDim);
    for (const [name, disturb] of Object.entries(disturbances)) {
      if (embedDim === 4 && name.startsWith('one channel')) continue; // the other three channels would lose all their bits
      for (const [batch, numTokens] of [
        [1, 1],
        [2, 5],
        [1, 33],
      ] as const) {
        const x = new Random(numTokens).uniform(batch * numTokens * embedDim, 2);
        disturb(x, embedDim);
        const found = await run(software, embedDim, batch, numTokens, x, { weight, bias });
        const tolerance = LAYER_NORM(largestOverDeviation(x, embedDim));
        // An offset leaves few bits for the variation within a row, so only maxAbs is meaningful, not NMSE.
        const allowed = name.startsWith('offset') ? { ...tolerance, nmse: tolerance.maxAbs ** 2 } : tolerance;
        const expected = layerNorm(batch * numTokens, embedDim, EPS, x, weight, bias);
        const far = expectClose(`${embedDim}, ${name}, ${batch} × ${numTokens}`, found, expected, allowed);
        worst.note(`${entryPoint}, ${name}`, far, allowed);
      }
    }
  });

  test('constant rows become the bias', async () => {
    const { weight, bias } = parameters(384);
    for (const value of [0, 0.5, -3]) {
      const found = await run(software, 384, 1, 2, new Float32Array(2 * 384).fill(value), { weight, bias });
      expect(found).toEqual(new Float32Array([...bias, ...bias]));
    }
  });

  // 70,001 rows with a workgroup each take SwiftShader 20 s. On software, 5 rows on two lines of workgroups test the
  // same code.
  const few: [number, Workgroups] = software ? [5, [1, 2, 1]] : [5, [3, 2, 1]];
  const many: [number, undefined] = software ? [262_147, undefined] : [70_001, undefined];
  test.each<[number, Workgroups | undefined]>(gpu.software && !software ? [few] : [few, many])(
    '%i rows on two lines of workgroups',
    async (rows, workgroups) => {
      const { weight, bias } = parameters(4);
      const x = new Random(5).uniform(rows * 4, 2);
      const found = await run(software, 4, 1, rows, x, { weight, bias }, workgroups);
      expectClose(
        `${rows} rows`,
        found,
        layerNorm(rows, 4, EPS, x, weight, bias),
        LAYER_NORM(largestOverDeviation(x, 4)),
      );
    },
  );

  test('an image alone and in a batch of 3 gives the same bits', async () => {
    const affine = parameters(384);
    const x = new Random(6).uniform(3 * 5 * 384, 2);
    const together = bitsOf(await run(software, 384, 3, 5, x, affine));
    for (let image = 0; image < 3; image++) {
      const alone = bitsOf(
        await run(software, 384, 1, 5, x.slice(image * 5 * 384, (image + 1) * 5 * 384), affine),
      );
      expect(alone).toEqual(together.slice(image * alone.length, (image + 1) * alone.length));
    }
  });
});
