/** The choice of a model in the demo: its id on the hub, its names, its size, the code that loads it. */
import { expect, it } from 'vitest';
import { loadCall } from '../../demo/shared/loadCall.js';
import {
  downloadBytes,
  firstChoice,
  hubId,
  modelName,
  sameChoice,
  type ModelChoice,
} from '../../demo/shared/modelChoice.js';

const trained: ModelChoice = { ...firstChoice, weights: 'hub' };

it('names the checkpoint with a classifier, only of trained weights', () => {
  const choice: ModelChoice = { ...trained, size: 'base', registers: true, classes: true };
  expect(hubId(choice)).toBe('facebook/dinov2-with-registers-base-imagenet1k-1-layer');
  expect(modelName(choice)).toBe('ViT-B with registers and classes');
  expect(loadCall({ ...choice, dtype: 'int8' })).toBe(
    "DINOv2.fromPretrained('facebook/dinov2-with-registers-base-imagenet1k-1-layer', { dtype: 'int8' })",
  );
  expect(downloadBytes(choice)).toBe(346e6 + 6.1e6);
  const untrained: ModelChoice = { ...choice, weights: 'synthetic' };
  expect(modelName(untrained)).toBe('ViT-B with registers');
  expect(hubId(untrained)).toBe('facebook/dinov2-with-registers-base');
});

it('tells choices apart', () => {
  expect(sameChoice(trained, { ...trained, classes: true })).toBe(false);
  expect(sameChoice(trained, { ...trained, classes: false })).toBe(true);
  expect(sameChoice(firstChoice, { ...firstChoice, classes: true })).toBe(true); // untrained weights have none
});
