import { expect, test } from 'vitest';
import { Random } from '../random.ts';
import { maskPatches } from '../reference/mask_patches.ts';
import { bitsOf, nodeOf, runNode } from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

const gpu = await sharedGpu();

test.each([
  [64, 1, 1, 1],
  [128, 1, 3, 5],
  [260, 2, 4, 7],
  [384, 3, 1, 11],
])('embed_dim %i, %i × %i × %i patches: exact', async (embedDim, batch, rows, cols) => {
  const random = new Random(embedDim + cols);
  const count = batch * rows * cols;
  const data = {
    patches: random.uniform(count * embedDim),
    mask: Uint32Array.from({ length: count }, () => random.pick([0, 1, 0, 255])),
    mask_token: random.uniform(embedDim),
  };
  const node = nodeOf((graph) =>
    graph.maskPatches(
      'node',
      graph.input('patches', [count, embedDim]),
      graph.input('mask', [count]),
      graph.weight('mask_token', [1, embedDim]),
    ),
  );
  const size = { batch, rows, cols, numTokens: 1 + rows * cols };
  const found = await runNode(gpu, node, { target: { software: gpu.software, weights: 'f32' }, size, data });
  expect(bitsOf(found)).toEqual(bitsOf(maskPatches(embedDim, data.patches, data.mask, data.mask_token)));
});
