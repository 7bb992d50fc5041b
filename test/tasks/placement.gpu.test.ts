// A square painted in the original image changes the pixels of the patches that `patchAt` and `patchArea` name.
import { crc32 } from 'node:zlib';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import { Preprocessor, type PixelOptions } from '../../src/image/preprocess.ts';
import { DEFAULT_PREPROCESSING, type Preprocessing } from '../../src/image/preprocessing.ts';
import type { ImageSource } from '../../src/image/source.ts';
import { patchArea, patchAt, type PlacedPatches } from '../../src/tasks/placement.ts';
import { full } from '../full.ts';
import { sharedDevice, sharedGpu } from '../gpu/sharedDevice.ts';
import { settled, tiny } from '../gpu/tiny.ts';
import { upright } from '../image/fixtures.ts';
import type { Rgb } from '../reference/resize.ts';

const PATCH = 14;
let gpu: Gpu;
beforeAll(async () => {
  gpu = await sharedGpu();
});

/** The patches of an image, and the mean of each patch's normalised pixels. */
async function patchesOf(
  source: ImageSource,
  options: PixelOptions,
  preprocessing: Preprocessing = DEFAULT_PREPROCESSING,
): Promise<PlacedPatches & { means: number[] }> {
  using preprocessor = await Preprocessor.create(gpu, { preprocessing });
  return await gpu.task('test', undefined, async (task) => {
    const { buffer, height, width, placements } = await preprocessor.batch(task, [source], options);
    const pixels = new Float32Array(await task.read(buffer, 0, buffer.size));
    const [rows, cols] = [height / PATCH, width / PATCH];
    const means = Array.from({ length: rows * cols }, () => 0);
    for (let i = 0; i < pixels.length; i++) {
      const [y, x] = [Math.floor(i / width) % height, i % width];
      means[Math.floor(y / PATCH) * cols + Math.floor(x / PATCH)]! += pixels[i]! / (3 * PATCH * PATCH);
    }
    return { rows, cols, placements, means };
  });
}

/** A grey image with a white square of `side` pixels whose centre is (x, y). */
function withSquare(width: number, height: number, x: number, y: number, side: number): Rgb {
  const data = new Uint8Array(3 * width * height).fill(90);
  for (let row = Math.round(y - side / 2); row < y + side / 2; row++)
    for (let col = Math.round(x - side / 2); col < x + side / 2; col++)
      if (row >= 0 && col >= 0 && row < height && col < width)
        data.fill(255, 3 * (row * width + col), 3 * (row * width + col + 1));
  return { data, width, height };
}

/** A PNG file with an Exif orientation. */
function png({ data, width, height }: Rgb, orientation: number): Blob {
  const image = new PNG({ width, height, colorType: 2 });
  for (let i = 0; i < width * height; i++) image.data.set([...data.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  const bytes = PNG.sync.write(image, { colorType: 2 });
  const body = Buffer.concat([
    Buffer.from('eXIf'),
    Buffer.from([77, 77, 0, 42, 0, 0, 0, 8, 0, 1, 1, 18, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]),
  ]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length - 4);
  sum.writeUInt32BE(crc32(body));
  const afterHeader = 33; // 8 bytes of signature, 25 bytes of IHDR
  return new Blob([
    new Uint8Array(
      Buffer.concat([bytes.subarray(0, afterHeader), length, body, sum, bytes.subarray(afterHeader)]),
    ),
  ]);
}

const brightest = (means: readonly number[]): number => means.indexOf(Math.max(...means));

const padding: Preprocessing = {
  ...DEFAULT_PREPROCESSING,
  resize: { height: 70, width: 56 },
  crop: { height: 99, width: 112, fill: [90, 90, 90] },
};

describe.each<[string, PixelOptions, Preprocessing?]>([
  ['crop', { cropSize: 70 }],
  ['crop that leaves a remainder', { cropSize: 80, shortestEdge: 81 }],
  ['fit', { resize: 'fit', longestSide: 84 }],
  ['square', { resize: 'square', size: 56 }],
  ['crop that pads', {}, padding],
])("'%s': a painted square is in the patch that patchAt names", (_, options, preprocessing) => {
  test.each(full ? [1, 2, 3, 4, 5, 6, 7, 8] : [1, 6])(
    'orientation %i, ignored and respected',
    async (orientation) => {
      const [width, height] = [230, 170];
      const plain = await patchesOf({ ...withSquare(width, height, -99, -99, 1) }, options, preprocessing);
      for (let patch = 0; patch < plain.means.length; patch += full ? 3 : 7) {
        const at = { row: Math.floor(patch / plain.cols), col: patch % plain.cols };
        const area = patchArea(plain, at);
        const [x, y] = [area.x + area.width / 2, area.y + area.height / 2];
        if (x < 4 || y < 4 || x > width - 4 || y > height - 4) continue; // a patch of the padding
        const stored = withSquare(width, height, x, y, 7);
        const shown = upright(stored, orientation);
        const center = centreOf(shown);
        for (const how of ['ignore', 'respect'] as const) {
          const file = png(stored, orientation);
          const found = await patchesOf(file, { ...options, orientation: how }, preprocessing);
          expect(found.placements[0]).toMatchObject({ width: shown.width, height: shown.height });
          const bright = brightest(found.means);
          const here = patchAt(found, center);
          if (how === 'ignore') expect(bright).toBe(patch);
          if (here) expect(here).toEqual({ row: Math.floor(bright / found.cols), col: bright % found.cols });
          else expect(how).toBe('respect'); // a crop of the turned image may leave the square out
        }
      }
    },
  );
});

/** Centre of the white square, in pixels. */
function centreOf({ data, width }: Rgb): { x: number; y: number } {
  let [x, y, count] = [0, 0, 0];
  for (let i = 0; i < data.length; i += 3)
    if (data[i] === 255) {
      x += ((i / 3) % width) + 0.5;
      y += Math.floor(i / 3 / width) + 0.5;
      count += 1;
    }
  return { x: x / count, y: y / count };
}

describe('Features.placements', () => {
  let model: DINOv2;
  beforeAll(async () => {
    model = await DINOv2.synthetic(tiny, { device: await sharedDevice(), selfTest: false });
  });
  afterAll(async () => {
    model.dispose();
    await settled();
  });
  const image = (width: number, height: number): Rgb => withSquare(width, height, 9, 9, 5);

  test('has one entry for each image of a batch', async () => {
    using features = await model.features([image(60, 40), image(90, 160)], { cropSize: 42 });
    expect(features.placements).toMatchObject([
      { width: 60, height: 40, left: 15, top: 3 },
      { width: 90, height: 160, left: 3, top: 21 },
    ]);
    expect(patchAt(features, { x: 45, y: 80 }, { batchIndex: 1 })).toEqual({ row: 1, col: 1 });
  });

  test('featuresBySize gives each group the placements of its images', async () => {
    const images = [image(60, 40), image(40, 60), image(120, 80)];
    const groups = await model.featuresBySize(images, { resize: 'fit', longestSide: 42 });
    for (const { indices, features } of groups) {
      expect(features.placements).toMatchObject(
        indices.map((index) => ({ width: images[index]!.width, height: images[index]!.height })),
      );
      features.dispose();
    }
  });

  test('forward places patches on its pixels', async () => {
    const size = { height: 30, width: 45, batch: 2 };
    using features = await model.forward(new Float32Array(2 * 3 * 30 * 45), size);
    expect(features.placements).toHaveLength(2);
    expect(patchArea(features, { row: 1, col: 2 }, { batchIndex: 1 })).toEqual({
      x: 28,
      y: 14,
      width: 14,
      height: 14,
    });
  });
});
