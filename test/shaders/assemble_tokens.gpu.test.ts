import { describe, expect, test } from 'vitest';
import { Random } from '../random.ts';
import { assembleTokens } from '../reference/assemble_tokens.ts';
import { nodeOf, runNode } from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

const gpu = await sharedGpu();

// Each element takes at most one addition, so the result must be exact.
describe.each([100, 384, 1536])('%i channels', (embedDim) => {
  test.each([0, 1, 4])('%i registers', async (numRegisterTokens) => {
    for (const [batch, rows, cols] of [
      [1, 1, 1],
      [2, 5, 7],
      [3, 1, 2],
    ] as const) {
      const numPatches = rows * cols;
      const random = new Random(numPatches);
      const patches = random.uniform(batch * numPatches * embedDim);
      const cls = random.uniform(embedDim);
      const positions = random.uniform((1 + numPatches) * embedDim);
      const registers = random.uniform(numRegisterTokens * embedDim);
      const node = nodeOf((graph) =>
        graph.assembleTokens(
          'node',
          batch,
          graph.input('patches', [batch * numPatches, embedDim]),
          graph.weight('cls', [1, 1, embedDim]),
          graph.input('positions', [1 + numPatches, embedDim]),
          numRegisterTokens > 0 ? graph.weight('registers', [1, numRegisterTokens, embedDim]) : undefined,
        ),
      );
      const found = await runNode(gpu, node, {
        target: { software: gpu.software, weights: 'f32' },
        size: { batch, rows, cols, numTokens: 1 + numRegisterTokens + numPatches },
        data: { patches, cls, positions, registers },
      });
      expect(found).toEqual(
        assembleTokens(
          { batch, numPatches, embedDim, numRegisterTokens },
          patches,
          cls,
          positions,
          registers,
        ),
      );
    }
  });
});
