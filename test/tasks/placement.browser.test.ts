// The area of each patch, on photographs of every Exif orientation as an <img> shows them.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { IMAGENET, levelsOf } from '../../src/image/normalization.ts';
import { Preprocessor } from '../../src/image/preprocess.ts';
import { patchArea } from '../../src/tasks/placement.ts';
import { bytesOfPixels } from '../image/fixtures.ts';

const PATCH = 14;
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

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  'a JPEG of orientation %i: a patch has the colours of its area of the <img>',
  async (orientation) => {
    const blob = await (await fetch(`/test/fixtures/pixels/images/exif${orientation}.jpg`)).blob();
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext('2d')!;
    context.drawImage(image, 0, 0);
    for (const how of ['ignore', 'respect'] as const) {
      const options = { resize: 'fit', longestSide: 42, orientation: how } as const; // the size of the files
      const { made, pixels } = await gpu.task('test', undefined, async (task) => {
        const batch = await preprocessor.batch(task, [blob], options);
        return { made: batch, pixels: await task.read(batch.buffer, 0, batch.buffer.size) };
      });
      const features = {
        rows: made.height / PATCH,
        cols: made.width / PATCH,
        placements: made.placements,
      };
      expect(features.placements[0]).toMatchObject({ width: canvas.width, height: canvas.height });
      const bytes = bytesOfPixels(new Float32Array(pixels), levelsOf(IMAGENET));
      for (let row = 0; row < features.rows; row++)
        for (let col = 0; col < features.cols; col++) {
          let seen = 0;
          for (let i = 0; i < PATCH * PATCH; i++) {
            const y = row * PATCH + Math.floor(i / PATCH);
            seen += bytes[3 * (y * made.width + col * PATCH + (i % PATCH))]!;
          }
          const { x, y, width, height } = patchArea(features, { row, col });
          let shown = 0;
          context
            .getImageData(x, y, width, height)
            .data.forEach((value, i) => (shown += i % 4 === 0 ? value : 0));
          expect(Math.abs(seen - shown) / (PATCH * PATCH)).toBeLessThan(0.5);
        }
    }
    URL.revokeObjectURL(image.src);
  },
);
