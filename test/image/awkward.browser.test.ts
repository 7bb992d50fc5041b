// Awkward files in Chromium: Pillow's pixels, or an error where Pillow has one.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.js';
import { IMAGENET, levelsOf } from '../../src/image/normalization.js';
import { Preprocessor } from '../../src/image/preprocess.js';
import expected from '../fixtures/images/awkward.json';
import { awkwardThatDiffer } from './awkward.js';
import { bytesOfPixels } from './fixtures.js';

const levels = levelsOf(IMAGENET);
let gpu: Gpu;
let preprocessor: Preprocessor;

beforeAll(async () => {
  gpu = await acquireGpu();
  preprocessor = await Preprocessor.create(gpu);
});
afterAll(() => {
  preprocessor.dispose();
  gpu.release();
});

it(`${Object.keys(expected).length} files: Pillow's pixels, as they lie and upright, or an error where Pillow has one`, async () => {
  const response = await fetch('/test/fixtures/images/awkward.safetensors');
  const file = new Uint8Array(await response.arrayBuffer());
  const differing = await awkwardThatDiffer(file, expected, async (blob, orientation) => {
    const { data } = await preprocessor.read([blob], { resize: 'fit', longestSide: 42, orientation });
    return bytesOfPixels(data, levels);
  });
  expect(differing).toEqual({});
});
