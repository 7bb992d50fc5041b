// Thumbnails made from the decoded image that the model uses, compared with thumbnails from a separate decode.
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/index.ts';
import { decodeSlots } from '../../src/image/decodeSlots.ts';
import { thumbnailOf, type Thumbnail } from '../../src/image/thumbnail.ts';
import { decodeSource } from '../../src/image/source.ts';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { DISPLAY_P3, profileOf, SRGB, withProfile } from './iccProfiles.ts';
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
  /** Red, green, blue and alpha, drawn on a white background. */
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

/** A thumbnail of this size from a separate decode; undefined if the browser cannot decode the file. */
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

/** Allowed difference, of 255. Premultiplying alpha before or after the resize changes the rounding. */
const MOST_DIFFERENCE = 3;

/** Makes thumbnails lossless, because WebP's compression changes more than the differences under test. */
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
    if (/^exif.*(png|webp)$/.test(nameOf(url))) return; // browsers ignore the Exif orientation of PNG and WebP
    expect([found.width, found.height]).toEqual([wanted.width, wanted.height]);
    expect(largestDifference(found, wanted)).toBeLessThanOrEqual(MOST_DIFFERENCE);
  });
});

test('a photograph without a colour profile is decoded once, whatever its orientation; one with a profile twice', async () => {
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

describe('a photograph with saturated colours', () => {
  /** A JPEG of saturated colours, which look different under a wide-gamut profile. */
  async function photograph(profile: Uint8Array): Promise<Blob> {
    const canvas = new OffscreenCanvas(320, 240);
    const context = canvas.getContext('2d')!;
    for (const [i, colour] of ['red', 'lime', 'blue', 'orange', 'teal', 'white'].entries()) {
      const wash = context.createLinearGradient(0, 0, 320, 240);
      wash.addColorStop(0, colour);
      wash.addColorStop(1, 'rgb(40 50 60)');
      context.fillStyle = wash;
      context.fillRect((i % 3) * 107, Math.floor(i / 3) * 120, 107, 120);
    }
    const jpeg = await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.95 });
    return new Blob([withProfile(new Uint8Array(await jpeg.arrayBuffer()), profile)]);
  }
  const decodesBy = async (blob: Blob): Promise<{ found: Shown; decodes: number }> => {
    withoutLoss();
    const decoded = vi.spyOn(globalThis, 'createImageBitmap');
    const { blob: small } = (await thumbnailBy(blob, 64))!;
    const decodes = decoded.mock.calls.filter(([source]) => (source as unknown) instanceof Blob).length;
    return { found: shown(await createImageBitmap(small)), decodes };
  };

  test('in Display P3 keeps its colours: they equal those of a separate decode', async () => {
    const blob = await photograph(profileOf(DISPLAY_P3, 'sRGB'));
    const wanted = (await expected(blob, 64))!;
    // Without the profile the colours differ, so the comparison below depends on the profile.
    const unmanaged = (await expected(await photograph(profileOf(SRGB, 'sRGB')), 64))!;
    expect(largestDifference(unmanaged, wanted)).toBeGreaterThan(20);
    const { found, decodes } = await decodesBy(blob);
    expect(largestDifference(found, wanted)).toBeLessThanOrEqual(MOST_DIFFERENCE);
    expect(decodes).toBe(2);
  });

  test.each([
    ['the curve as a formula', profileOf(SRGB, 'sRGB')],
    ['the curve in 1024 entries', profileOf(SRGB, { entries: 1024 })],
  ])('with an sRGB profile, %s, is decoded once', async (_, profile) => {
    const blob = await photograph(profile);
    const wanted = (await expected(blob, 64))!;
    const { found, decodes } = await decodesBy(blob);
    expect(largestDifference(found, wanted)).toBeLessThanOrEqual(MOST_DIFFERENCE);
    expect(decodes).toBe(1);
  });
});

test('files created in another window are decoded in parallel, and have thumbnails', async () => {
  const frame = document.createElement('iframe');
  document.body.append(frame);
  const { File: Foreign } = frame.contentWindow as unknown as typeof globalThis;
  const blob = await blobOf(urls.find((url) => nameOf(url) === '444.jpg')!);
  const files = Array.from({ length: 3 }, (_, i) => new Foreign([blob], `${i}.jpg`));
  expect(files[0]).not.toBeInstanceOf(Blob);
  const model = await DINOv2.synthetic(
    { ...configOf('small'), embedDim: 128, depth: 2, numHeads: 2, hiddenFeatures: 512 },
    { selfTest: false },
  );
  let asked = 0;
  let askedAtFirstDecode = 0;
  const create = createImageBitmap;
  vi.spyOn(globalThis, 'createImageBitmap').mockImplementation(async (...given: unknown[]) => {
    if (given[0] instanceof Blob) await new Promise((resolve) => setTimeout(resolve, 20)); // delays the decoding of a file, not of pixels
    askedAtFirstDecode ||= asked;
    return Reflect.apply(create, globalThis, given) as Promise<ImageBitmap>;
  });
  function* counted(): Generator<File> {
    for (const file of files) {
      asked += 1;
      yield file;
    }
  }
  let results = 0;
  for await (const { embedding, thumbnail, error } of model.embedAll(counted(), {
    thumbnailPx: PX,
    cropSize: 56,
  })) {
    expect([error, embedding?.length]).toEqual([undefined, 128]);
    expect(thumbnail).toBeDefined();
    results += 1;
  }
  expect([results, askedAtFirstDecode]).toEqual([3, 3]);
  model.dispose();
  frame.remove();
});

test('an <img> takes a decode slot, and waits for a free one', async () => {
  const image = Object.assign(new Image(), { src: urls.find((url) => nameOf(url) === '444.jpg')! });
  await image.decode();
  const slots = decodeSlots();
  const decoding = decodeSource(gpu, image);
  expect([slots.running, slots.bytes]).toEqual([1, 4 * image.naturalWidth * image.naturalHeight]);
  const decoded = await decoding;
  decoded.close();
  expect(slots.running).toBe(0);
  const held: { release(): void }[] = [];
  for (let slot = slots.takeNow(0); slot; slot = slots.takeNow(0)) held.push(slot);
  const controller = new AbortController();
  const aborted = Promise.resolve(decodeSource(gpu, image, { signal: controller.signal }));
  const waiting = Promise.resolve(decodeSource(gpu, image));
  controller.abort(new Error('enough'));
  await expect(aborted).rejects.toThrow('enough');
  expect(await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 50, 'waits'))])).toBe(
    'waits',
  );
  for (const slot of held) slot.release();
  (await waiting).close();
  image.src = 'data:image/png;base64,AAAA';
  await expect(Promise.resolve(decodeSource(gpu, image))).rejects.toMatchObject({ code: 'IMAGE_DECODE' });
});

test('embedAll returns thumbnails with vectors and patches, whose bits equal those of embed', async () => {
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
  expect(model.gpuBytes).toBeLessThanOrEqual(bytes + 2_000_000); // programs for further batch sizes
  model.dispose();
});
