import { afterAll, describe, expect, test } from 'vitest';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import { patchEmbed, type PatchEmbedSize } from '../reference/patch_embed.ts';
import { bitsOf, nodeOf, packWeight, runNode, storagesOf } from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

/** The tolerance of linear layers (linear.gpu.test.ts), for pixels in [-2, 2). */
const PATCH_EMBED = (terms: number): Tolerance => ({ maxAbs: 8 * Math.sqrt(terms) * ROUNDING, nmse: 1e-12 });

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

function parameters(
  { embedDim, patchSize }: { embedDim: number; patchSize: number },
  storage: WeightStorage,
) {
  const random = new Random(embedDim + patchSize);
  const inFeatures = 3 * patchSize * patchSize;
  const weight = packWeight(
    embedDim,
    inFeatures,
    random.uniform(embedDim * inFeatures, Math.sqrt(3 / inFeatures)),
    storage,
  );
  return { weight, bias: random.uniform(embedDim, 0.2) };
}

function run(
  size: PatchEmbedSize,
  storage: WeightStorage,
  pixels: Float32Array<ArrayBuffer>,
): Promise<Float32Array<ArrayBuffer>> {
  const { batch, rows, cols, embedDim, patchSize } = size;
  const { weight, bias } = parameters(size, storage);
  const node = nodeOf((graph) =>
    graph.patchEmbed(
      'node',
      graph.input('pixels', [batch, 3, rows * patchSize, cols * patchSize]),
      graph.weight('weight', [embedDim, 3, patchSize, patchSize]),
      graph.weight('bias', [embedDim]),
    ),
  );
  const target = { software: gpu.software, weights: storage };
  return runNode(gpu, node, {
    target,
    size: { batch, rows, cols, numTokens: 1 + rows * cols },
    data: { pixels, weight: weight.packed, bias },
  });
}

const pixelsOf = ({ batch, rows, cols, patchSize }: PatchEmbedSize): Float32Array<ArrayBuffer> =>
  new Random(rows * cols).uniform(batch * 3 * rows * cols * patchSize * patchSize, 2);

describe.each([
  [128, 14],
  [192, 16],
  [64, 8],
])('%i channels, patches of %i', (embedDim, patchSize) => {
  test.each([
    [1, 1, 1],
    [1, 1, 3],
    [2, 5, 7],
    [3, 4, 1],
  ])('batch %i of %i × %i', async (batch, rows, cols) => {
    for (const storage of storagesOf(gpu)) {
      const size = { batch, rows, cols, embedDim, patchSize };
      const pixels = pixelsOf(size);
      const { weight, bias } = parameters(size, storage);
      const tolerance = PATCH_EMBED(3 * patchSize * patchSize);
      const far = expectClose(
        storage,
        await run(size, storage, pixels),
        patchEmbed(size, pixels, weight.values, bias),
        tolerance,
      );
      worst.note(`patch_embed ${patchSize}, ${storage}`, far, tolerance);
    }
  });
});

test('an image alone and in a batch of 3 gives the same bits', async () => {
  const size = { batch: 3, rows: 2, cols: 5, embedDim: 128, patchSize: 14 };
  const pixels = pixelsOf(size);
  const together = bitsOf(await run(size, 'f32', pixels));
  for (let image = 0; image < 3; image++) {
    const alone = bitsOf(
      await run(
        { ...size, batch: 1 },
        'f32',
        pixels.slice((image * pixels.length) / 3, ((image + 1) * pixels.length) / 3),
      ),
    );
    expect(alone).toEqual(together.slice(image * alone.length, (image + 1) * alone.length));
  }
});
