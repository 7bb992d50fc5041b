import { afterAll, expect, test } from 'vitest';
import {
  attentionRows as rowsKernel,
  attentionRowsMean as meanKernel,
} from '../../src/gpu/kernels/attentionRowKernels.ts';
import type { Kernel } from '../../src/gpu/kernels/kernel.ts';
import { expectClose, Random, WorstDistances, type Tolerance } from '../random.ts';
import { attentionRows, meanOfHeads, type AttentionRowsSize } from '../reference/attention_rows.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

/**
 * Scores reach 6 and are sums of 64 products, so the relative error of exp is at most 1e-6, and no weight exceeds 1.
 */
const ROWS: Tolerance = { maxAbs: 1e-6, nmse: 1e-11 };

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

const GUARD = 0xdeadbeef;
const GUARD_WORDS = 64;

/** Runs an entry point with guard words before and after its output, and checks that they are unchanged. */
async function run(
  kernel: Kernel,
  { embedDim, numTokens, numQueries, numHeads, image, firstQuery, firstHead }: AttentionRowsSize,
  input: Float32Array<ArrayBuffer>,
  elements: number,
  workgroups: [number, number],
) {
  const compiled = await gpu.pipelines.compile({ kernel, constants: { EMBED_DIM: embedDim } });
  const words = new Uint32Array(GUARD_WORDS + elements + GUARD_WORDS + 4 * numTokens).fill(GUARD);
  const made = [
    gpu.memory.uniformOf('size', [numTokens, numQueries, numHeads, image * numTokens, firstQuery, firstHead]),
    gpu.memory.storageOf('input', input),
    gpu.memory.storageOf('output', words),
  ] as const;
  const encoder = gpu.device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(compiled.pipeline);
  pass.setBindGroup(
    0,
    gpu.pipelines.bind(compiled, [
      { buffer: made[0] },
      { buffer: made[1] },
      { buffer: made[2], offset: 4 * GUARD_WORDS },
    ]),
  );
  pass.dispatchWorkgroups(...workgroups);
  pass.end();
  gpu.device.queue.submit([encoder.finish()]);
  const all = new Uint32Array(await gpu.read(made[2], 0, 4 * words.length));
  for (const buffer of made) gpu.memory.destroy(buffer);
  const touched = all.findIndex(
    (word, i) => word !== GUARD && (i < GUARD_WORDS || i >= GUARD_WORDS + elements),
  );
  expect(touched, 'a guard word was written').toBe(-1);
  return new Float32Array(all.buffer, 4 * GUARD_WORDS, elements).slice();
}

const random = new Random(11);
const shapes = [1, 2, 5, 63, 64, 65, 130, 300].map((numTokens) => {
  const heads = random.integer(1, 4);
  const firstHead = random.integer(0, heads - 1);
  const firstQuery = random.integer(0, numTokens - 1);
  const batch = random.integer(1, 3);
  return {
    batch,
    size: {
      numTokens,
      embedDim: 64 * heads,
      firstHead,
      numHeads: random.integer(1, heads - firstHead),
      image: random.integer(0, batch - 1),
      firstQuery,
      numQueries: random.integer(1, Math.min(7, numTokens - firstQuery)),
    },
  };
});

test.each(
  shapes.map(({ batch, size }) => [size.numTokens, size.numQueries, size.numHeads, batch, size] as const),
)('%i tokens, %i queries, %i heads, of %i images', async (numTokens, numQueries, numHeads, batch, size) => {
  const { embedDim } = size;
  const qkv = random.uniform(batch * numTokens * 3 * embedDim, 2);
  // NaNs after the input show if the kernel reads too far.
  const input = new Float32Array(qkv.length + 4096).fill(NaN);
  input.set(qkv);
  const expected = attentionRows(size, qkv);
  const found = await run(rowsKernel, size, input, expected.length, [numQueries, numHeads]);
  worst.note('attention_rows', expectClose('rows', found, expected, ROWS), ROWS);
  for (let row = 0; row < expected.length; row += numTokens)
    expect(found.subarray(row, row + numTokens).reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);

  const mean = meanOfHeads(expected, numHeads);
  const foundMean = await run(meanKernel, size, found, mean.length, [Math.ceil(numTokens / 64), numQueries]);
  worst.note('attention_rows_mean', expectClose('mean', foundMean, mean, ROWS), ROWS);
});

test('extreme scores: far apart, or all equal and huge', async () => {
  const size: AttentionRowsSize = {
    numTokens: 70,
    embedDim: 64,
    firstHead: 0,
    numHeads: 1,
    image: 0,
    firstQuery: 0,
    numQueries: 70,
  };
  for (const [q, k] of [
    [50, () => 50],
    [300, () => -300],
    [10, (token: number) => (token === 40 ? 1000 : -1000)],
  ] as const) {
    const qkv = Float32Array.from({ length: 70 * 192 }, (_, i) =>
      i % 192 < 64 ? q : i % 192 < 128 ? k(Math.floor(i / 192)) : NaN,
    );
    const expected = attentionRows(size, qkv);
    worst.note(
      'extreme scores',
      expectClose(`q ${q}`, await run(rowsKernel, size, qkv, expected.length, [70, 1]), expected, ROWS),
      ROWS,
    );
  }
});
