import { afterAll, expect, test } from 'vitest';
import { segmentPatches } from '../../src/gpu/kernels/segmentKernels.ts';
import { inLines } from '../../src/gpu/workgroups.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import * as reference from '../reference/segment_patches.ts';
import { runKernel } from './runKernel.ts';

/**
 * The product of a direction with weights of length 10 is up to 10. Its sum of dim / 4 roundings in each of four
 * lanes and the roundings of exp make an error of a logit; a probability changes by at most a quarter of it.
 */
const PROBABILITY = (dim: number): Tolerance => ({
  maxAbs: 10 * (Math.sqrt(dim) + 8) * ROUNDING,
  nmse: 1e-11,
});

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => {
  worst.print();
  expect(gpu.memory.bytes).toBe(0);
});

const random = new Random(18);

test.each([
  [1, 4, 1],
  [16, 64, 1],
  [17, 36, 3],
  [50, 384, 5],
  [77, 1536, 1],
])('%i patches of %i channels, first token %i', async (patches, dim, first) => {
  const x = random.uniform((first + patches) * dim, 5);
  x.fill(0, first * dim, (first + 1) * dim); // a token of zeros
  const weights = random.uniform(dim, 17 / Math.sqrt(dim));
  const bias = random.uniform(1, 3)[0]!;
  const { probabilities } = await runKernel(
    gpu,
    segmentPatches,
    { EMBED_DIM: dim },
    inLines(Math.ceil(patches / 16)),
    {
      image: Uint32Array.of(first, patches),
      x,
      segmenter: Float32Array.of(...weights, bias, NaN, NaN, NaN),
      probabilities: patches,
    },
  );
  const expected = reference.segmentPatches(x.subarray(first * dim), weights, bias);
  const name = `${dim} channels`;
  const tolerance = PROBABILITY(dim);
  worst.note(name, expectClose(name, new Float32Array(probabilities!), expected, tolerance), tolerance);
});

test('logits that exp cannot represent give 0 and 1', async () => {
  const { probabilities } = await runKernel(gpu, segmentPatches, { EMBED_DIM: 4 }, [1, 1], {
    image: Uint32Array.of(0, 2),
    x: Float32Array.of(2, 0, 0, 0, -3, 0, 0, 0),
    segmenter: Float32Array.of(500, 0, 0, 0, 0, 0, 0, 0),
    probabilities: 2,
  });
  const [one, zero] = new Float32Array(probabilities!) as unknown as [number, number];
  expect(one).toBe(1);
  expect(zero).toBeLessThan(1e-30);
});

test('the same result on several lines of workgroups', async () => {
  const [patches, dim] = [70, 8];
  const data = {
    image: Uint32Array.of(0, patches),
    x: random.uniform(patches * dim),
    segmenter: random.uniform(dim + 4),
    probabilities: patches,
  };
  const lines = await runKernel(gpu, segmentPatches, { EMBED_DIM: dim }, [3, 2], data);
  expect(await runKernel(gpu, segmentPatches, { EMBED_DIM: dim }, [5, 1], data)).toEqual(lines);
});

test('NaN, infinity and overflow give NaN', async () => {
  const x = Float32Array.of(1, 2, 3, 4, 1, NaN, 3, 4, 1, 2, -Infinity, 4, 1, 2, 3, 3e38, 0, 0, 0, 0);
  const { probabilities } = await runKernel(gpu, segmentPatches, { EMBED_DIM: 4 }, [1, 1], {
    image: Uint32Array.of(0, 5),
    x,
    segmenter: new Float32Array(8),
    probabilities: 5,
  });
  expect([...new Float32Array(probabilities!)]).toEqual([0.5, NaN, NaN, NaN, 0.5]);
});
