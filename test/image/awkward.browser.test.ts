// Decoding of unusual and damaged image files in Chromium: the pixels equal Pillow's, and files that Pillow
// rejects are rejected.
import { afterAll, beforeAll, expect, inject, it, vi } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.js';
import { IMAGENET, levelsOf } from '../../src/image/normalization.js';
import { Preprocessor } from '../../src/image/preprocess.js';
import { awkwardThatDiffer, FIXTURES, type Expected } from './awkward.js';
import { bytesOfPixels } from './fixtures.js';

const levels = levelsOf(IMAGENET);
/**
 * PNG, GIF and BMP are decoded by the library itself: image/decode.test.ts reads all of these files in Node, so
 * the quick run takes every fourth of them here. What the browser decodes is read in every run.
 */
let own = 0;
const isRead = (name: string): boolean => inject('full') || !/\.(png|gif|bmp)$/.test(name) || own++ % 4 === 0;
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

it.each(FIXTURES)(
  "%s: pixels equal Pillow's, with Exif orientation ignored and applied; files that Pillow rejects are rejected",
  async (fixture) => {
    const fetched = (ending: string): Promise<Response> =>
      fetch(`/test/fixtures/images/${fixture}.${ending}`);
    const file = new Uint8Array(await (await fetched('safetensors')).arrayBuffer());
    const expected = (await (await fetched('json')).json()) as Expected;
    expect(Object.keys(expected).length).toBeGreaterThan(290);
    const differing = await awkwardThatDiffer(
      file,
      expected,
      async (blob, orientation) => {
        const { data } = await preprocessor.read([blob], { resize: 'fit', longestSide: 42, orientation });
        return bytesOfPixels(data, levels);
      },
      isRead,
    );
    expect(differing).toEqual({});
  },
);

it("WebP files without VideoFrame support: pixels equal Pillow's", async () => {
  vi.stubGlobal('VideoFrame', undefined);
  try {
    const file = new Uint8Array(
      await (await fetch('/test/fixtures/images/awkward.safetensors')).arrayBuffer(),
    );
    const expected = (await (await fetch('/test/fixtures/images/awkward.json')).json()) as Expected;
    let count = 0;
    const differing = await awkwardThatDiffer(
      file,
      expected,
      async (blob, orientation) => {
        count += 1;
        const { data } = await preprocessor.read([blob], { resize: 'fit', longestSide: 42, orientation });
        return bytesOfPixels(data, levels);
      },
      (name) => name.endsWith('.webp'),
    );
    expect(differing).toEqual({});
    expect(count).toBeGreaterThan(10);
  } finally {
    vi.unstubAllGlobals();
  }
});
