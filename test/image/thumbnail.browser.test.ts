// Small pictures by the decode that the model's pixels come from, against those of a decode of their own.
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/index.ts';
import { decodeSlots } from '../../src/image/decodeSlots.ts';
import { thumbnailOf, type Thumbnail } from '../../src/image/thumbnail.ts';
import { decodeSource } from '../../src/image/source.ts';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { configOf } from '../../src/model/config.ts';

const images = import.meta.glob('../fixtures/pixels/images/*', {
  query: '?url',
  import: 'default',
  eager: true,
});
const photos = import.meta.glob('../../demo/photos/*.{jpg,png}', {
  query: '?url',
  import: 'default',
  eager: true,
});
const urls = [...Object.values(images), ...Object.values(photos)] as string[];
const nameOf = (url: string): string => url.replace(/[?#].*/, '').replace(/.*\//, '');
const blobOf = async (url: string): Promise<Blob> => (await fetch(url)).blob();
const PX = 24;

let gpu: Gpu;
beforeAll(async () => {
  gpu = await acquireGpu();
});
afterEach(() => {
  vi.restoreAllMocks();
  expect([decodeSlots().running, decodeSlots().bytes]).toEqual([0, 0]);
});

interface Shown {
  readonly width: number;
  readonly height: number;
  /** On white, as a page shows it. */
  readonly values: Uint8ClampedArray;
}

function shown(bitmap: ImageBitmap, width = bitmap.width, height = bitmap.height): Shown {
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
  context.imageSmoothingQuality = 'high';
  context.fillStyle = 'white';
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return { width, height, values: context.getImageData(0, 0, width, height).data };
}

/** What a decode of its own shows in this size. */
async function expected(blob: Blob, px: number): Promise<Shown | undefined> {
  const bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image' }).catch(() => undefined);
  if (!bitmap) return undefined;
  const scale = Math.min(1, px / Math.max(bitmap.width, bitmap.height));
  const sideOf = (length: number): number => Math.max(1, Math.round(length * scale));
  const small = await createImageBitmap(bitmap, {
    resizeWidth: sideOf(bitmap.width),
    resizeHeight: sideOf(bitmap.height),
    resizeQuality: 'high',
  });
  bitmap.close();
  return shown(small);
}

const largestDifference = (a: Shown, b: Shown): number =>
  a.values.reduce((most, value, i) => Math.max(most, Math.abs(value - b.values[i]!)), 0);

/** Of 255. Alpha that is multiplied before or after the resize makes a little. */
const MOST_DIFFERENCE = 3;

/** WebP loses more than what is looked for. */
function withoutLoss(): void {
  const { convertToBlob } = OffscreenCanvas.prototype;
  vi.spyOn(OffscreenCanvas.prototype, 'convertToBlob').mockImplementation(function (this: OffscreenCanvas) {
    return convertToBlob.call(this, { type: 'image/png' });
  });
}

async function thumbnailBy(blob: Blob, px: number): Promise<Thumbnail | undefined> {
  const decoded = await decodeSource(gpu, blob);
  try {
    return await thumbnailOf(decoded, blob, px);
  } finally {
    decoded.close();
  }
}

describe('a thumbnail shows the photograph, upright and with its colours', () => {
  test.each(urls.map((url) => [nameOf(url), url]))('%s', async (_, url) => {
    const blob = await blobOf(url);
    withoutLoss();
    const wanted = await expected(blob, PX);
    const thumbnail = await thumbnailBy(blob, PX);
    if (!wanted || !thumbnail) return void expect([wanted, thumbnail]).toEqual([undefined, undefined]);
    const found = shown(await createImageBitmap(thumbnail.blob));
    expect(Math.max(found.width, found.height)).toBe(Math.max(wanted.width, wanted.height));
    expect(found.width > found.height).toBe(thumbnail.width > thumbnail.height);
    if (/^exif.*(png|webp)$/.test(nameOf(url))) return; // browsers do not turn these
    expect([found.width, found.height]).toEqual([wanted.width, wanted.height]);
    expect(largestDifference(found, wanted)).toBeLessThanOrEqual(MOST_DIFFERENCE);
  });
});

test('a photograph without a colour profile is decoded once, whatever its orientation; another one twice', async () => {
  const decoded = vi.spyOn(globalThis, 'createImageBitmap');
  const decodesOf = async (name: string): Promise<number> => {
    const blob = await blobOf(urls.find((url) => nameOf(url) === name)!);
    decoded.mockClear();
    expect(await thumbnailBy(blob, PX)).toBeDefined();
    return decoded.mock.calls.filter(([source]) => (source as unknown) instanceof Blob).length;
  };
  expect(await decodesOf('444.jpg')).toBe(1);
  expect(await decodesOf('exif6.jpg')).toBe(1);
  expect(await decodesOf('rgb.png')).toBe(1);
  expect(await decodesOf('profile.jpg')).toBe(2);
});

test('embedAll gives them beside vectors and patches, with the bits of embed', async () => {
  const model = await DINOv2.synthetic(
    { ...configOf('small'), embedDim: 128, depth: 2, numHeads: 2, hiddenFeatures: 512 },
    { selfTest: false },
  );
  const names = ['exif6.jpg', '444.jpg', 'profile.jpg', 'rgb16.png', 'palette.gif'];
  const blobs = await Promise.all(names.map((name) => blobOf(urls.find((url) => nameOf(url) === name)!)));
  const options = { resize: 'fit', longestSide: 56, orientation: 'respect', pooling: 'mean' } as const;
  const alone: Float32Array[] = [];
  for (const blob of blobs) alone.push(await model.embed(blob, options));
  const bytes = model.gpuBytes;
  const broken = new Blob(['no image']);
  let at = 0;
  for await (const result of model.embedAll([broken, ...blobs], {
    ...options,
    patches: true,
    thumbnailPx: PX,
  })) {
    if (result.index === 0) {
      expect(result.error?.code).toBe('IMAGE_DECODE');
      continue;
    }
    expect(result.embedding).toEqual(alone[at++]);
    const { rows, cols, tokens } = result.patches!;
    expect(tokens).toHaveLength(rows * cols * model.config.embedDim);
    expect(result.thumbnail!.blob.type).toMatch(/^image\/(webp|jpeg)$/);
    const { width, height } = result.thumbnail!;
    expect([names[result.index - 1], width > height]).toEqual([names[result.index - 1], cols > rows]);
  }
  expect(at).toBe(names.length);
  for await (const result of model.embedAll(blobs, options))
    expect([result.patches, result.thumbnail]).toEqual([undefined, undefined]);
  expect(model.gpuBytes).toBeLessThanOrEqual(bytes + 2_000_000); // programs of further batch sizes
  model.dispose();
});
