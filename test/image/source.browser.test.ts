// Compares every kind of image source that a page can pass, decoded by the browser, with Pillow's bytes.
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.js';
import { IMAGENET, levelsOf } from '../../src/image/normalization.js';
import { Preprocessor, type PixelOptions } from '../../src/image/preprocess.js';
import type { ImageSource } from '../../src/image/source.js';
import { parseSafetensors } from '../../src/safetensors.js';
import sizeCases from '../fixtures/pixels/cases.json';
import largeCases from '../fixtures/pixels/large.json';
import {
  bytesOfPixels,
  difference,
  differingFloats,
  digest,
  floatsOf,
  noiseImage,
  tensorOf,
  type SizeCase,
} from './fixtures.js';
import { largeFile, type LargeCase } from './large.js';

const full = inject('full');
const levels = levelsOf(IMAGENET);
/** Options that leave an image of 42 × 28 pixels at its size. */
const asIs = { resize: 'fit', longestSide: 42 } as const;

let gpu: Gpu;
let preprocessor: Preprocessor;

const imageUrl = (name: string): string => `/test/fixtures/pixels/images/${name}`;
const photoUrl = (name: string): string => `/demo/photos/${name}`;
async function fetchBytes(url: string): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
const expected = await fetchBytes('/test/fixtures/pixels/expected.safetensors');
const fetchBlob = async (url: string): Promise<Blob> => new Blob([await fetchBytes(url)]);
async function loaded(blob: Blob): Promise<HTMLImageElement> {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  return image;
}
function drawn<Canvas extends HTMLCanvasElement | OffscreenCanvas>(
  canvas: Canvas,
  image: CanvasImageSource & { width: number; height: number },
): Canvas {
  canvas.width = image.width;
  canvas.height = image.height;
  (canvas.getContext('2d') as CanvasRenderingContext2D).drawImage(image, 0, 0);
  return canvas;
}

/** Compares an image, by default with its Exif orientation ignored, with a tensor of the fixture. */
async function differenceTo(
  tensor: string,
  source: ImageSource,
  options: PixelOptions = {},
): Promise<{ bytes: number; most: number }> {
  const { bytes, shape } = tensorOf(expected, tensor);
  const { data, width, height } = await preprocessor.read([source], { ...asIs, ...options });
  expect([height, width, 3]).toEqual(shape);
  return difference(bytesOfPixels(data, levels), bytes);
}
/**
 * The files for which an <img> has other colours than Python, and the largest difference. Browsers round 16-bit
 * colours to 8 bits where Pillow truncates, take the high byte of 16-bit grey where Pillow clamps, and lose the
 * colours of transparent pixels of a GIF or a canvas. Passing the file itself avoids all three.
 */
const ELEMENTS: Record<string, number> = {
  'rgb16.png': 1,
  'rgb16-interlaced.png': 1,
  'grey16.png': 255,
  'rgba16.png': 255,
  'exif7-rgba16.png': 255,
  'exif5-alpha.png': 255,
  'transparency.gif': 255,
};
const exact = { bytes: 0, most: 0 };

beforeAll(async () => {
  gpu = await acquireGpu();
  preprocessor = await Preprocessor.create(gpu);
});
afterEach(() => expect(gpu.uncaptured).toBeUndefined());
afterAll(() => {
  preprocessor.dispose();
  expect(gpu.memory.bytes).toBe(0);
  gpu.release();
});

/** Decodes without colour management, because Python does not apply the colour profile of rocket.jpg. */
const bitmapOf = (blob: Blob): Promise<ImageBitmap> =>
  createImageBitmap(blob, { colorSpaceConversion: 'none' });

describe('photographs', () => {
  // Chromium's libjpeg-turbo gives 0 differences for the JPEG; other browsers may decode a JPEG differently.
  describe.each(['astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg'])('%s', (name) => {
    const sources: Record<string, (blob: Blob) => ImageSource | Promise<ImageSource>> = {
      Blob: (blob) => blob,
      File: (blob) => new File([blob], name),
      'URL, as a string': () => photoUrl(name),
      URL: () => new URL(photoUrl(name), location.href),
      'blob: URL': (blob) => URL.createObjectURL(blob),
      ImageBitmap: bitmapOf,
      HTMLImageElement: loaded,
      'HTMLImageElement that is still loading': (blob) =>
        Object.assign(new Image(), { src: URL.createObjectURL(blob) }),
      HTMLCanvasElement: async (blob) => drawn(document.createElement('canvas'), await bitmapOf(blob)),
      OffscreenCanvas: async (blob) => drawn(new OffscreenCanvas(1, 1), await bitmapOf(blob)),
      ImageData: async (blob) => {
        const canvas = drawn(new OffscreenCanvas(1, 1), await bitmapOf(blob));
        return canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height);
      },
      VideoFrame: async (blob) => new VideoFrame(await bitmapOf(blob), { timestamp: 0 }),
    };
    // Every kind of source for a PNG and for a JPEG with a profile; the full run has them for every photograph.
    const kinds = full || ['coffee.png', 'rocket.jpg'].includes(name) ? Object.keys(sources) : ['Blob'];
    it.each(kinds)('as %s: 0 of 150,528 floats differ from Python', async (kind) => {
      const source = await sources[kind]!(await fetchBlob(photoUrl(name)));
      const pixels = await preprocessor.read([source]);
      if (source instanceof VideoFrame) source.close();
      const python = floatsOf(
        await fetchBytes(`/test/fixtures/photos/expected/${name.split('.')[0]}.pixel_values.safetensors`),
        'pixel_values',
      );
      expect(differingFloats(pixels.data, python)).toBe(0);
    });
  });

  it("differ from Python's if the browser converted them to sRGB", async () => {
    const python = floatsOf(
      await fetchBytes('/test/fixtures/photos/expected/rocket.pixel_values.safetensors'),
      'pixel_values',
    );
    const converted = await createImageBitmap(await fetchBlob(photoUrl('rocket.jpg')));
    const { data } = await preprocessor.read([converted]);
    // In Chromium 147, 130,792 bytes differ, by up to 29.
    expect(difference(bytesOfPixels(data, levels), bytesOfPixels(python, levels)).bytes).toBeGreaterThan(
      100_000,
    );
  });

  it('in a batch', async () => {
    const names = ['chelsea.png', 'rocket.jpg'];
    const pixels = await preprocessor.read(names.map(photoUrl));
    expect(pixels.batch).toBe(2);
    for (const [index, name] of names.entries()) {
      const python = floatsOf(
        await fetchBytes(`/test/fixtures/photos/expected/${name.split('.')[0]}.pixel_values.safetensors`),
        'pixel_values',
      );
      expect(
        differingFloats(pixels.data.subarray(index * python.length, (index + 1) * python.length), python),
      ).toBe(0);
    }
  });
});

describe(`files of all kinds: the bytes equal those of Pillow's convert("RGB")`, () => {
  const names = parseSafetensors(expected).tensors.keys();
  const small = [...names]
    .filter((name) => name.endsWith('.rgb') && !/^\d+x\d+\./.test(name))
    .map((name) => name.slice(0, -4));

  it.each(small)('%s, as Blob and as URL', async (name) => {
    expect(
      await differenceTo(`${name}.rgb`, await fetchBlob(imageUrl(name)), { orientation: 'ignore' }),
    ).toEqual(exact);
    expect(await differenceTo(`${name}.rgb`, imageUrl(name), { orientation: 'ignore' })).toEqual(exact);
    expect(await differenceTo(`${name}.rgb`, await fetchBlob(imageUrl(name)))).toEqual(exact); // 'ignore' is the default
    if (!name.startsWith('exif'))
      expect(
        await differenceTo(`${name}.rgb`, await fetchBlob(imageUrl(name)), { orientation: 'respect' }),
      ).toEqual(exact);
  });

  it.each(small.filter((name) => !name.startsWith('exif') && !(name in ELEMENTS)))(
    '%s, as <img>',
    async (name) => {
      expect(await differenceTo(`${name}.rgb`, await loaded(await fetchBlob(imageUrl(name))))).toEqual(exact);
    },
  );

  it.each(Object.entries(ELEMENTS))(
    "%s, as <img>: differs from Pillow's bytes by the known amount",
    async (name, most) => {
      const upright = name.startsWith('exif');
      const found = await differenceTo(
        `${name}.${upright ? 'upright' : 'rgb'}`,
        await loaded(await fetchBlob(imageUrl(name))),
      );
      expect(found.bytes).toBeGreaterThan(0);
      expect(found.most).toBeLessThanOrEqual(most);
    },
  );

  it.each(['1x1.png', '300x1.png', '8000x2.png', '2x8000.png'])('%s', async (name) => {
    const { bytes, shape } = tensorOf(expected, `${name}.rgb`);
    const blob = await fetchBlob(imageUrl(name));
    const raw = { data: bytes, width: shape[1]!, height: shape[0]! };
    for (const options of [{}, { resize: 'fit' }, { resize: 'square' }] as const) {
      const [a, b] = [await preprocessor.read([blob], options), await preprocessor.read([raw], options)];
      expect(differingFloats(a.data, b.data)).toBe(0);
    }
  });

  it('PNG of every colour type, bit depth and interlacing', async () => {
    const file = await fetchBytes('/test/fixtures/pixels/png.safetensors');
    const wrong: unknown[] = [];
    for (const name of [...parseSafetensors(file).tensors.keys()].filter((each) =>
      each.endsWith('14x14.png'),
    )) {
      const { data } = await preprocessor.read([new Blob([tensorOf(file, name).bytes])], {
        resize: 'square',
        size: 14,
      });
      const found = difference(
        bytesOfPixels(data, levels),
        tensorOf(file, name.replace(/png$/, 'rgb')).bytes,
      );
      if (found.bytes > 0) wrong.push({ name, ...found });
    }
    expect(wrong).toEqual([]);
  });

  it('ImageData with alpha', async () => {
    const image = await createImageBitmap(await fetchBlob(imageUrl('rgb.png')));
    const data = drawn(new OffscreenCanvas(1, 1), image).getContext('2d')!.getImageData(0, 0, 42, 28);
    for (let i = 3; i < data.data.length; i += 4) data.data[i] = i % 256;
    expect(await differenceTo('rgb.png.rgb', data)).toEqual(exact);
  });
});

describe('larger than a texture', () => {
  const files = (largeCases as LargeCase[]).filter(({ kind }) => kind === 'file');
  it.each(full ? files : files.filter(({ width, height }) => width * height < 1e8))(
    "$width × $height: Pillow's pixels",
    async (large) => {
      const { data } = await preprocessor.read([await largeFile(large)]);
      expect(await digest(bytesOfPixels(data, levels))).toBe(large.sha256);
    },
  );

  it('a canvas and a bitmap of the page', async () => {
    const noise = noiseImage(9000, 60);
    const rgba = new Uint8ClampedArray(9000 * 60 * 4).fill(255);
    for (let i = 0; i < 9000 * 60; i++) rgba.set(noise.data.subarray(i * 3, i * 3 + 3), i * 4);
    const canvas = new OffscreenCanvas(9000, 60);
    canvas.getContext('2d')!.putImageData(new ImageData(rgba, 9000, 60), 0, 0);
    const options = { resize: 'square', size: 56 } as const;
    const strips = await Preprocessor.create(gpu, { stripBytes: 1_000_000 });
    const python = await strips.read([noise], options);
    for (const source of [canvas, await createImageBitmap(canvas)])
      for (const each of [preprocessor, strips])
        expect(differingFloats((await each.read([source], options)).data, python.data)).toBe(0);
    strips.dispose();
  });
});

describe('orientation', () => {
  it.each(
    [...parseSafetensors(expected).tensors.keys()]
      .filter((name) => name.endsWith('.upright'))
      .map((name) => name.slice(0, -8)),
  )('of %s', async (name) => {
    const blob = await fetchBlob(imageUrl(name));
    expect(await differenceTo(`${name}.upright`, blob, { orientation: 'respect' })).toEqual(exact);
    expect(await differenceTo(`${name}.upright`, imageUrl(name), { orientation: 'respect' })).toEqual(exact);
    if (name.endsWith('.webp')) return expect((await loaded(blob)).naturalWidth).toBe(42); // Chromium ignores a WebP's orientation
    if (!(name in ELEMENTS)) expect(await differenceTo(`${name}.upright`, await loaded(blob))).toEqual(exact);
  });
});

describe('sizes', () => {
  // image/preprocess.gpu.test.ts checks all sizes on Dawn, with the same kernels.
  const cases = (sizeCases as SizeCase[]).filter((_, i) => full || i % 6 === 0);
  it(`noise in ${cases.length} sizes is resized as by Pillow`, async () => {
    const wrong: unknown[] = [];
    for (const { width, height, sha256, outputWidth, outputHeight, ...options } of cases) {
      const pixels = await preprocessor.read([noiseImage(width, height)], options);
      if (outputWidth !== undefined)
        expect([pixels.width, pixels.height]).toEqual([outputWidth, outputHeight]);
      if ((await digest(bytesOfPixels(pixels.data, levels))) !== sha256)
        wrong.push({ width, height, ...options });
    }
    expect(wrong).toEqual([]);
  });
});

describe('video', () => {
  it('the current frame of a playing video is read', async () => {
    const canvas = drawn(
      document.createElement('canvas'),
      await createImageBitmap(await fetchBlob(imageUrl('rgb.png'))),
    );
    const context = canvas.getContext('2d')!;
    context.fillStyle = '#c08040';
    context.fillRect(0, 0, 42, 28);
    const video = document.createElement('video');
    await expect(preprocessor.prepare(video)).rejects.toMatchObject({ code: 'IMAGE_SIZE' });
    video.srcObject = canvas.captureStream(30);
    video.muted = true;
    const painting = setInterval(() => context.fillRect(0, 0, 42, 28), 20);
    await video.play();
    clearInterval(painting);
    const { data } = await preprocessor.read([video], asIs);
    const pixels = bytesOfPixels(data, levels);
    const plain = Uint8Array.from({ length: pixels.length }, (_, i) => [0xc0, 0x80, 0x40][i % 3]!);
    expect(difference(pixels, plain).most).toBeLessThanOrEqual(3); // the conversion to YUV and back rounds
    video.pause();
  });
});

describe('invalid sources are rejected', () => {
  const brokenImage = (): HTMLImageElement =>
    Object.assign(new Image(), { src: 'data:image/png;base64,AAAA' });
  const otherOrigin = async (): Promise<HTMLImageElement> => {
    const image = Object.assign(new Image(), {
      src: `http://localhost:${location.port}${photoUrl('chelsea.png')}`,
    });
    await image.decode();
    return image;
  };
  const closedBitmap = async (): Promise<ImageBitmap> => {
    const bitmap = await createImageBitmap(new ImageData(2, 2));
    bitmap.close();
    return bitmap;
  };
  const closedFrame = (): VideoFrame => {
    const frame = new VideoFrame(new Uint8Array(16), {
      format: 'RGBA',
      codedWidth: 2,
      codedHeight: 2,
      timestamp: 0,
    });
    frame.close();
    return frame;
  };
  it.each<[string, () => unknown, string, RegExp]>([
    [
      'a URL without a file',
      () => '/no-such-image.png?key=secret',
      'IMAGE_FETCH',
      /^\/no-such-image\.png: the request failed with HTTP status 404\. Check the URL\.$/,
    ],
    [
      'a page',
      () => '/test/fixtures/pixels/README.md',
      'IMAGE_DECODE',
      /README\.md: expected an image, found text \(\d+ bytes\)\. Choose an image/,
    ],
    [
      'text',
      () => new Blob(['not an image'], { type: 'image/png' }),
      'IMAGE_DECODE',
      /^Blob: expected an image, found text \(12 bytes\)\. Choose an image/,
    ],
    [
      'an empty file',
      () => new File([], 'empty.png'),
      'IMAGE_DECODE',
      /^empty\.png: expected an image, found an empty file \(0 bytes\)\. Copy or download the file again\.$/,
    ],
    [
      'an <img> without an image',
      () => new Image(),
      'IMAGE_DECODE',
      /^<img>: the image of this <img> did not load/,
    ],
    ['a broken <img>', brokenImage, 'IMAGE_DECODE', /the image of this <img> did not load/],
    [
      'an <img> of another origin',
      otherOrigin,
      'IMAGE_FETCH',
      /another origin, whose pixels this page may not read.*crossorigin/,
    ],
    [
      'a closed bitmap',
      closedBitmap,
      'IMAGE_SIZE',
      /^ImageBitmap: expected an image of at least 1 × 1 pixels, found 0 × 0/,
    ],
    ['a closed frame', closedFrame, 'IMAGE_SIZE', /^VideoFrame: expected an image of at least 1 × 1/],
    [
      'an empty canvas',
      () => Object.assign(document.createElement('canvas'), { width: 0 }),
      'IMAGE_SIZE',
      /^HTMLCanvasElement: expected .* found 0 × 150/,
    ],
    ['another element', () => document.body, 'IMAGE_TYPE', /found HTMLBodyElement/],
  ])('%s', async (_, make, code, message) => {
    const error: unknown = await preprocessor
      .prepare((await make()) as ImageSource)
      .catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'ImageError', code });
    expect((error as Error).message).toMatch(message);
  });

  it('a truncated file', async () => {
    const whole = await fetchBytes(imageUrl('rgb.png'));
    const cut = new Blob([whole.subarray(0, 2000)]);
    expect(
      await preprocessor.prepare(cut).then(
        () => 'decoded',
        (error: { code: string }) => error.code,
      ),
    ).toBe('IMAGE_DECODE');
  });

  it('a bitmap made by the library is closed, also after an error', async () => {
    const made: ImageBitmap[] = [];
    const create = globalThis.createImageBitmap;
    const spy = vi.spyOn(globalThis, 'createImageBitmap').mockImplementation(async (...args: unknown[]) => {
      const bitmap = await Reflect.apply(create, globalThis, args);
      made.push(bitmap);
      return bitmap;
    });
    const blob = await fetchBlob(imageUrl('rgb.png'));
    (await preprocessor.prepare(blob)).dispose();
    (await preprocessor.prepare(await loaded(blob))).dispose();
    await preprocessor.prepare(await otherOrigin()).catch(() => undefined);
    const controller = new AbortController();
    spy.mockImplementationOnce(async (...args: unknown[]) => {
      controller.abort();
      const bitmap = await Reflect.apply(create, globalThis, args);
      made.push(bitmap);
      return bitmap;
    });
    await preprocessor.prepare(blob, { signal: controller.signal }).catch(() => undefined);
    spy.mockRestore();
    expect(made).toHaveLength(4);
    expect(made.filter(({ width }) => width > 0)).toEqual([]);
    // A bitmap that the caller passed stays open.
    const own = await createImageBitmap(blob);
    (await preprocessor.prepare(own)).dispose();
    expect(own.width).toBe(42);
  });

  it('an abort, while fetching and while decoding', async () => {
    const reason = new Error('enough');
    for (const source of [photoUrl('astronaut.png'), await fetchBlob(photoUrl('astronaut.png'))]) {
      const controller = new AbortController();
      const waiting = preprocessor.prepare(source, { signal: controller.signal });
      controller.abort(reason);
      await expect(waiting).rejects.toBe(reason);
    }
  });
});
