import { afterAll, expect, test } from 'vitest';
import { nearestContext, propagateLabels, unitPatches } from '../../src/gpu/kernels/trackKernels.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import * as reference from '../reference/propagate_labels.ts';
import { runKernel } from './runKernel.ts';

/** A component of a unit vector: the rounding of the sum of squares, the root, the quotient and the product. */
const UNIT = (dim: number): Tolerance => ({ maxAbs: (Math.sqrt(dim) + 4) * ROUNDING, nmse: 1e-11 });
/** The dot product of two unit vectors: dim / 4 roundings in each of four lanes. */
const COSINE = (dim: number): Tolerance => ({ maxAbs: (Math.sqrt(dim) + 8) * ROUNDING, nmse: 1e-11 });
/** Candidates are given, so an error comes only from exp and the weighted mean. */
const LABEL: Tolerance = { maxAbs: 64 * ROUNDING, nmse: 1e-11 };

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => {
  worst.print();
  expect(gpu.memory.bytes).toBe(0);
});

function near(
  name: string,
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
): void {
  worst.note(name, expectClose(name, found, expected, tolerance), tolerance);
}

const bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]!;

/** (rows, cols, channels, topK, radius, frames of the ring, context frames, oldest) */
const shapes = [
  [1, 1, 4, 1, 0, 1, 1, 0],
  [3, 5, 36, 5, 12, 3, 3, 2],
  [7, 3, 64, 2, 1, 4, 4, 1],
  [4, 9, 128, 5, 2, 2, 2, 1],
  [5, 7, 384, 7, 3, 8, 5, 6],
] as const;

test.each(shapes)(
  '%i × %i patches of %i channels, topK %i, radius %i, ring %i, %i context frames from %i',
  async (rows, cols, dim, topK, radius, ring, contextFrames, oldest) => {
    const random = new Random(1000 * dim + rows);
    const constants = { EMBED_DIM: dim, TOP_K: topK };
    const patches = rows * cols;
    const groups = Math.ceil(patches / 16);
    const slots = 1 + ring;
    const slot = 1 + ((oldest + contextFrames - 1) % ring);
    const [firstToken, temperature, minSimilarity, threshold] = [3, 0.1, -0.05, 0.3];
    const sizeFrom = (firstFrame: number) =>
      Uint32Array.from(
        [rows, cols, firstToken, slot, contextFrames, firstFrame, oldest, ring, radius].concat(
          [temperature, minSimilarity, threshold].map(bits),
        ),
      );
    const size = sizeFrom(0);

    const tokens = random.uniform((firstToken + patches) * dim, 7);
    if (patches > 1) tokens.fill(0, firstToken * dim, (firstToken + 1) * dim);
    const unit = await runKernel(gpu, unitPatches, constants, [groups, 1], {
      // The kernel writes slot 0, so the buffer has one slot and all words are written.
      size: size.with(3, 0),
      tokens,
      context_out: patches * dim,
    });
    const own = new Float32Array(unit['context_out']!);
    near('unit_patches', own, reference.unitPatches(tokens.subarray(firstToken * dim), dim), UNIT(dim));

    const context = random.uniform(slots * patches * dim);
    for (let s = 0; s < slots; s++) {
      const part = context.subarray(s * patches * dim, (s + 1) * patches * dim);
      part.set(s === slot ? own : Float32Array.from(reference.unitPatches(part, dim)));
    }
    const slotOf = (frame: number): number => (frame === 0 ? 0 : 1 + ((oldest + frame - 1) % ring));
    const frameOf = (frame: number): Float64Array =>
      Float64Array.from(context.subarray(slotOf(frame) * patches * dim, (slotOf(frame) + 1) * patches * dim));
    const settings = { rows, cols, topK, radius, temperature, minSimilarity };

    const data = { size, context, candidates: contextFrames * patches * topK * 2 };
    const { candidates } = await runKernel(gpu, nearestContext, constants, [groups, contextFrames], data);
    const similarities = new Float32Array(candidates!);
    const indices = new Uint32Array(candidates!);
    for (let frame = 0; frame < contextFrames; frame++) {
      for (let patch = 0; patch < patches; patch++) {
        const expected = reference.nearestContext(Float64Array.from(own), patch, frameOf(frame), settings);
        const begin = (frame * patches + patch) * topK;
        const found = Array.from({ length: topK }, (_, i) => similarities[2 * (begin + i)]!);
        expect(found.slice(expected.length).every((each) => each === -2)).toBe(true);
        near(
          'nearest_context',
          found.slice(0, expected.length),
          expected.map(({ similarity }) => similarity),
          { ...COSINE(dim), nmse: Infinity }, // a token of zeros has only zeros as similarities
        );
        expected.forEach(({ patch: index }, i) => expect(indices[2 * (begin + i) + 1]).toBe(index));
      }
    }

    const labels = random.uniform(slots * patches).map(Math.abs);
    const out = await runKernel(gpu, propagateLabels, constants, [groups, 1], {
      size,
      all_candidates: new Uint32Array(candidates!),
      labels,
      new_labels: patches,
      strengths: patches,
    });
    const expected = reference.propagateLabels(
      Float64Array.from(own),
      Array.from({ length: contextFrames }, (_, frame) => ({
        patches: frameOf(frame),
        labels: labels.subarray(slotOf(frame) * patches, (slotOf(frame) + 1) * patches),
      })),
      settings,
    );
    const found = new Float32Array(out['new_labels']!);
    // The similarities are rounded, too. A weight changes by their error divided by the temperature.
    const tolerance = { ...LABEL, maxAbs: LABEL.maxAbs + (2 * COSINE(dim).maxAbs) / temperature };
    near('propagate_labels', found, expected, tolerance);
    const strengths = new Float32Array(out['strengths']!);
    found.forEach((label, i) => expect(strengths[i]).toBe(label >= Math.fround(threshold) ? label : 0));
  },
);

test('equal candidates: the earlier frame first, and the first patch in reading order', async () => {
  const [rows, cols, dim, topK] = [2, 3, 4, 2];
  const context = Float32Array.from({ length: 3 * 6 * 4 }, (_, i) => (i % 4 === 0 ? 1 : 0));
  const size = Uint32Array.of(rows, cols, 0, 2, 2, 0, 0, 2, 9, bits(0.1), bits(0), bits(0));
  const { candidates } = await runKernel(gpu, nearestContext, { EMBED_DIM: dim, TOP_K: topK }, [1, 2], {
    size,
    context,
    candidates: 2 * 6 * topK * 2,
  });
  const indices = new Uint32Array(candidates!).filter((_, i) => i % 2 === 1);
  expect([...indices]).toEqual(Array.from({ length: 12 }, () => [0, 1]).flat());
  const { new_labels: labels } = await runKernel(
    gpu,
    propagateLabels,
    { EMBED_DIM: dim, TOP_K: topK },
    [1, 1],
    {
      size,
      all_candidates: new Uint32Array(candidates!),
      labels: Float32Array.from({ length: 18 }, (_, i) => (i === 0 ? 1 : i === 1 ? 0.5 : 0)),
      new_labels: 6,
      strengths: 6,
    },
  );
  expect([...new Float32Array(labels!)]).toEqual(Array.from({ length: 6 }, () => 0.75));
});

test('NaN, infinity and overflow: the patch gets NaN, and other patches ignore it', async () => {
  const [rows, cols, dim, topK] = [1, 5, 4, 2];
  const constants = { EMBED_DIM: dim, TOP_K: topK };
  const tokens = Float32Array.from({ length: 20 }, (_, i) => 1 + (i % 3));
  tokens.set([NaN], 4);
  tokens.set([Infinity], 10);
  tokens.set([3e38], 15);
  const size = Uint32Array.from([rows, cols, 0, 0, 1, 0, 0, 1, 9].concat([0.1, -1, 0.5].map(bits)));
  const unit = await runKernel(gpu, unitPatches, constants, [1, 1], { size, tokens, context_out: 20 });
  const context = new Float32Array(unit['context_out']!);
  for (let i = 0; i < 20; i++) expect(Number.isNaN(context[i])).toBe(i >= 4 && i < 16);
  // The frame is its own context.
  const data = { size, context, candidates: rows * cols * topK * 2 };
  const { candidates } = await runKernel(gpu, nearestContext, constants, [1, 1], data);
  const { new_labels: labels, strengths } = await runKernel(gpu, propagateLabels, constants, [1, 1], {
    size,
    all_candidates: new Uint32Array(candidates!),
    labels: Float32Array.of(1, 0, 0, 0, 1),
    new_labels: 5,
    strengths: 5,
  });
  expect([...new Float32Array(labels!)]).toEqual([1, 0, 0, 0, 1]);
  expect([...new Float32Array(strengths!)]).toEqual([1, NaN, NaN, NaN, 1]);
});
