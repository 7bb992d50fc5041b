import { expect, test } from 'vitest';
import { configOf, type ModelSize } from '../src/model/config.ts';
import { parameterCount } from '../src/model/parameters.ts';
import manifest from '../weights/manifest.json' with { type: 'json' };

test('the manifest lists every published model with the size that its configuration implies', () => {
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

test('a model with the ImageNet classifier has the parameters of the head in addition', () => {
  const heads = manifest.checkpoints.filter(({ id }) => id.endsWith('-imagenet1k-1-layer'));
  expect(heads).toHaveLength(8);
  for (const { id, parameters, downloadBytes, classifier } of heads) {
    const plain = manifest.checkpoints.find((entry) => entry.id === id.replace('-imagenet1k-1-layer', ''))!;
    expect(classifier).toEqual({ numClasses: 1000, inFeatures: 2 * plain.embedDim });
    expect(parameters - plain.parameters).toBe(1000 * 2 * plain.embedDim + 1000);
    expect(downloadBytes).toBe(4 * parameters);
  }
});
