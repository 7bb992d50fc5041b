// Compares the CPU reference of the image kernels, the sizes and the levels with Python. The GPU tests compare with
// this reference.
import { describe, expect, it } from 'vitest';
import { IMAGENET, levelsOf } from '../../src/image/normalization.js';
import { normalize, resize, sums } from '../reference/resize.js';
import { differingFloats, digest, floatsOf, noiseImage } from './fixtures.js';
import { read, readPng, sizeCases, withoutAlpha } from './files.js';
import { planOf } from './plan.js';

describe('levelsOf', () => {
  it("gives Python's float32 for every 8-bit value", () => {
    expect(
      differingFloats(
        levelsOf(IMAGENET),
        floatsOf(read('test/fixtures/pixels/expected.safetensors'), 'levels'),
      ),
    ).toBe(0);
  });
});

describe('the CPU reference', () => {
  it.each(['astronaut', 'chelsea', 'coffee'])(
    "of %s equals Python's pixels: 0 of 150,528 floats differ",
    (name) => {
      const image = withoutAlpha(readPng(`demo/photos/${name}.png`));
      const pixels = normalize(resize(image, planOf(image.width, image.height)), levelsOf(IMAGENET));
      expect(
        differingFloats(
          pixels,
          floatsOf(read(`test/fixtures/photos/expected/${name}.pixel_values.safetensors`), 'pixel_values'),
        ),
      ).toBe(0);
    },
  );

  it(`of noise in ${sizeCases.length} sizes equals Pillow's, and every sum fits in 32 bits`, async () => {
    sums.largest = 0;
    const wrong: unknown[] = [];
    for (const { width, height, sha256, outputWidth, outputHeight, ...options } of sizeCases) {
      const geometry = planOf(width, height, options);
      const bytes = resize(noiseImage(width, height), geometry);
      const right =
        (await digest(bytes)) === sha256 &&
        geometry.width === (outputWidth ?? options.cropSize) &&
        geometry.height === (outputHeight ?? options.cropSize);
      if (!right) wrong.push({ width, height, ...options });
    }
    expect(wrong).toEqual([]);
    expect(sums.largest).toBeLessThan(2 ** 31);
  }, 60_000);
});
