// Compares the preprocessing of many checkpoints on the GPU with Python, bit for bit.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.js';
import { levelsOf } from '../../src/image/normalization.js';
import { Preprocessor, type PixelOptions } from '../../src/image/preprocess.js';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../../src/image/preprocessing.js';
import { parsePreprocessorConfig, timmPreprocessing } from '../../src/image/preprocessorConfig.js';
import { normalize, resize } from '../reference/resize.js';
import { differingFloats, noiseImage } from './fixtures.js';
import { planOf, resolve } from './plan.js';
import { outcomeOf, timmCases, transformersCases } from './preprocessingCases.js';

let gpu: Gpu;
beforeAll(async () => {
  gpu = await acquireGpu();
});
afterEach(() => expect(gpu.uncaptured).toBeUndefined());
afterAll(() => gpu.release());

const bit = (config: object): Preprocessing =>
  parsePreprocessorConfig({ image_processor_type: 'BitImageProcessor', ...config });

async function using<T>(
  preprocessing: Preprocessing,
  task: (preprocessor: Preprocessor) => Promise<T>,
): Promise<T> {
  const preprocessor = await Preprocessor.create(gpu, { preprocessing });
  try {
    return await task(preprocessor);
  } finally {
    preprocessor.dispose();
  }
}

describe('pixels on the GPU', () => {
  it.each([
    ['transformers', transformersCases()],
    ['timm', timmCases()],
  ] as const)(
    "with the configurations of %s's fixtures equal Python's",
    async (_, cases) => {
      const wrong: unknown[] = [];
      for (const { preprocessing, width, height, expected, ...rest } of cases) {
        const found = await using(preprocessing, (preprocessor) =>
          outcomeOf(() => preprocessor.read([noiseImage(width, height)])),
        );
        if (found !== expected) wrong.push({ ...rest, width, height, expected, found });
      }
      expect(wrong).toEqual([]);
    },
    120_000,
  );

  it('are the same in a batch; another filter or a padded crop compiles no pipeline', async () => {
    const preprocessing = bit({ size: 20, crop_size: { height: 42, width: 28 }, resample: 1 });
    await using(preprocessing, async (preprocessor) => {
      const images = [noiseImage(50, 40), noiseImage(33, 90), noiseImage(64, 64)];
      const compiled = gpu.pipelines.size;
      const { data, batch } = await preprocessor.read(images);
      expect(batch).toBe(3);
      for (const [index, image] of images.entries()) {
        const alone = await preprocessor.read([image]);
        const each = alone.data.length;
        expect(differingFloats(data.subarray(index * each, (index + 1) * each), alone.data)).toBe(0);
      }
      expect(gpu.pipelines.size).toBe(compiled);
    });
  });

  it('padded with the mean colour equal the CPU reference', async () => {
    const preprocessing = timmPreprocessing({
      architecture: 'vit',
      input_size: [3, 42, 56],
      crop_mode: 'border',
      crop_pct: 1,
      interpolation: 'hamming',
    })!;
    const geometry = planOf(90, 31, {}, preprocessing);
    expect([geometry.left, geometry.top]).toEqual([0, -11]);
    const image = noiseImage(90, 31);
    const expected = normalize(resize(image, geometry, 'hamming'), levelsOf(preprocessing.normalization));
    await using(preprocessing, async (preprocessor) => {
      expect(differingFloats((await preprocessor.read([image])).data, expected)).toBe(0);
    });
  });

  it('of tall images, resized vertically first, equal the CPU reference with every filter', async () => {
    await using(DEFAULT_PREPROCESSING, async (preprocessor) => {
      for (const resample of ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming'] as const) {
        for (const [width, height] of [
          [4, 2047],
          [2047, 4],
        ] as const) {
          const options: PixelOptions = { resize: 'square', size: 33, resample };
          const image = noiseImage(width, height);
          const geometry = planOf(width, height, options);
          expect(geometry.verticalFirst).toBe(height > width);
          const expected = normalize(
            resize(image, geometry, resample),
            levelsOf(DEFAULT_PREPROCESSING.normalization),
          );
          expect(differingFloats((await preprocessor.read([image], options)).data, expected)).toBe(0);
        }
      }
    });
  });

  it('use the normalization and filter of the call, which do not affect the next call', async () => {
    const image = noiseImage(61, 47);
    const options: PixelOptions = {
      cropSize: 42,
      resample: 'lanczos',
      normalization: { mean: [0.1, 0.2, 0.3], rescaleFactor: 0.01 },
    };
    await using(DEFAULT_PREPROCESSING, async (preprocessor) => {
      for (const each of [options, { cropSize: 42 }, options]) {
        const { resample, normalization } = resolve(each);
        const bytes = resize(image, planOf(61, 47, each), resample);
        const { data } = await preprocessor.read([image], each);
        expect(differingFloats(data, normalize(bytes, levelsOf(normalization)))).toBe(0);
      }
      // Buffers of earlier normalizations must be destroyed, not accumulate.
      const { buffers } = gpu.memory;
      for (let i = 1; i < 20; i++)
        await preprocessor.read([image], { cropSize: 42, normalization: { std: [i, i, i] } });
      expect(gpu.memory.buffers).toBe(buffers);
    });
  });

  it('for the model lack the remainder that fills no whole patch', async () => {
    await using(bit({ size: 40, do_center_crop: false }), async (preprocessor) => {
      const image = noiseImage(90, 60);
      const { data, height, width } = await preprocessor.read([image]);
      expect([height, width]).toEqual([40, 60]);
      const part = await gpu.task('test', undefined, async (task) => {
        const made = await preprocessor.batch(task, [image]);
        expect(made).toMatchObject({ batch: 1, height: 28, width: 56 });
        return new Float32Array(await task.read(made.buffer, 0, 3 * 28 * 56 * 4));
      });
      const expected = new Float32Array(part.length).map((_, i) => {
        const [plane, row, col] = [Math.floor(i / (28 * 56)), Math.floor(i / 56) % 28, i % 56];
        return data[(plane * 40 + row) * 60 + col]!;
      });
      expect(differingFloats(part, expected)).toBe(0);
    });
    await using(bit({ do_resize: false, do_center_crop: false }), async (preprocessor) => {
      expect(await preprocessor.read([noiseImage(9, 30)])).toMatchObject({ height: 30, width: 9 });
      await expect(
        gpu.task('test', undefined, (task) => preprocessor.batch(task, [noiseImage(9, 30)])),
      ).rejects.toThrow(
        /at least one patch of 14 × 14 pixels after resizing, found 9 × 30\. Use a larger image/,
      );
    });
  });
});
