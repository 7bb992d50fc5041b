import { expect, test } from 'vitest';
import { configOf, type ModelSize } from '../src/model/config.ts';
import { parameterCount } from '../src/model/parameters.ts';
import manifest from '../weights/manifest.json' with { type: 'json' };

test('the manifest names every published model with the size that its configuration gives', () => {
  for (const registers of [false, true]) {
    for (const size of ['small', 'base', 'large', 'giant'] satisfies ModelSize[]) {
      const id = `facebook/dinov2-${registers ? 'with-registers-' : ''}${size}`;
      const entry = manifest.checkpoints.find((checkpoint) => checkpoint.id === id);
      const config = configOf(size, { registers });
      expect(entry, id).toMatchObject({
        embedDim: config.embedDim,
        depth: config.depth,
        numHeads: config.numHeads,
        numRegisterTokens: config.numRegisterTokens,
        parameters: parameterCount(config),
        downloadBytes: 4 * parameterCount(config),
      });
    }
  }
});
