// Every kind of image source has the same pixels in a worker as in the page. The dev server serves the
// library's sources.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DINOv2 as PageDINOv2, type ImageSource } from '../../src/index.ts';
import { DINOv2 } from '../../src/worker.ts';

const config = {
  embedDim: 128,
  depth: 1,
  numHeads: 2,
  headDim: 64,
  patchSize: 14,
  imageSize: 70,
  numChannels: 3,
  numRegisterTokens: 0,
  ffn: 'mlp',
  hiddenFeatures: 512,
  layerNormEps: 1e-6,
  posEmbed: 'plain',
} as const;
let inPage: PageDINOv2;
let inWorker: DINOv2;
beforeAll(async () => {
  inPage = await PageDINOv2.synthetic(config, { selfTest: false });
  inWorker = await DINOv2.synthetic(config, { selfTest: false });
});
afterAll(() => {
  inPage.dispose();
  inWorker.dispose();
});

const options = { resize: 'fit', longestSide: 42 } as const;
const fetchBlob = async (url: string): Promise<Blob> => (await fetch(url)).blob();
const imageUrl = (name: string): string => `/test/fixtures/pixels/images/${name}`;
async function loaded(blob: Blob): Promise<HTMLImageElement> {
  const image = Object.assign(new Image(), { src: URL.createObjectURL(blob) });
  await image.decode();
  return image;
}
/** Many combinations of colour and alpha. A canvas stores them premultiplied. */
function alphas(): ImageData {
  const image = new ImageData(42, 28);
  for (let i = 0; i < image.data.length; i++) image.data[i] = i % 4 === 3 ? (i * 7) % 256 : (i * 31) % 256;
  return image;
}
function drawn<Canvas extends HTMLCanvasElement | OffscreenCanvas>(
  canvas: Canvas,
  settings: CanvasRenderingContext2DSettings = {},
): Canvas {
  canvas.width = 42;
  canvas.height = 28;
  (canvas.getContext('2d', settings) as CanvasRenderingContext2D).putImageData(alphas(), 0, 0);
  return canvas;
}

async function same(source: ImageSource): Promise<void> {
  const [first, second] = [await inPage.pixels(source, options), await inWorker.pixels(source, options)];
  expect([second.width, second.height]).toEqual([first.width, first.height]);
  expect(second.data).toEqual(first.data);
  expect(new Set(first.data).size).toBeGreaterThan(8);
  expect((await inWorker.pixels(source, options)).data).toEqual(first.data); // the source is still usable after it was sent
}

describe('a photograph', () => {
  const kinds: Record<string, (blob: Blob) => ImageSource | Promise<ImageSource>> = {
    Blob: (blob) => blob,
    File: (blob) => new File([blob], 'photo'),
    'relative URL': () => '/demo/photos/rocket.jpg',
    URL: () => new URL('/demo/photos/rocket.jpg', location.href),
    'blob: URL': (blob) => URL.createObjectURL(blob),
    ImageBitmap: (blob) => createImageBitmap(blob),
    'ImageBitmap without conversion': (blob) =>
      createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' }),
    HTMLImageElement: loaded,
    'HTMLImageElement that is still loading': (blob) =>
      Object.assign(new Image(), { src: URL.createObjectURL(blob) }),
    VideoFrame: async (blob) => new VideoFrame(await createImageBitmap(blob), { timestamp: 0 }),
  };
  it.each(Object.keys(kinds))('as %s', async (kind) =>
    same(await kinds[kind]!(await fetchBlob('/demo/photos/rocket.jpg'))),
  );
});

describe('colours with alpha', () => {
  const kinds: Record<string, () => ImageSource | Promise<ImageSource>> = {
    ImageData: alphas,
    RawImage: () => ({ data: alphas().data, width: 42, height: 28 }),
    'RawImage that views a part of a larger buffer': () => ({
      data: new Uint8Array(new ArrayBuffer(42 * 28 * 3 + 1000), 500, 42 * 28 * 3).map(
        (_, i) => (i * 13) % 256,
      ),
      width: 42,
      height: 28,
      channels: 3,
    }),
    HTMLCanvasElement: () => drawn(document.createElement('canvas')),
    'HTMLCanvasElement in CPU memory': () =>
      drawn(document.createElement('canvas'), { willReadFrequently: true }),
    'HTMLCanvasElement without alpha': () => drawn(document.createElement('canvas'), { alpha: false }),
    OffscreenCanvas: () => drawn(new OffscreenCanvas(1, 1)),
    'HTMLCanvasElement in Display P3': () =>
      drawn(document.createElement('canvas'), { colorSpace: 'display-p3' }),
    ImageBitmap: () => createImageBitmap(alphas()),
    'ImageBitmap without premultiplied alpha': () =>
      createImageBitmap(alphas(), { premultiplyAlpha: 'none' }),
  };
  it.each(Object.keys(kinds))('as %s', async (kind) => same(await kinds[kind]!()));
});

describe('as <img>', () => {
  const names = [
    'rgb.png',
    'rgba.png',
    'rgb16.png',
    'rgba16.png',
    'grey16.png',
    'profile.jpg',
    'profile-alpha.png',
    'exif6.jpg',
    'exif5-alpha.png',
    'exif8.webp',
    'lossy-alpha.webp',
    'transparency.gif',
    'cmyk.jpg',
    '444.avif',
  ];
  it.each(names)('%s', async (name) => {
    const [first, second] = [
      await inPage.pixels(await loaded(await fetchBlob(imageUrl(name))), options),
      await inWorker.pixels(await loaded(await fetchBlob(imageUrl(name))), options),
    ];
    expect(second.data).toEqual(first.data);
  });
});

it('a playing video', async () => {
  const canvas = drawn(document.createElement('canvas'), { alpha: false });
  const video = document.createElement('video');
  video.srcObject = canvas.captureStream(30);
  video.muted = true;
  const painting = setInterval(() => drawn(canvas, { alpha: false }), 20);
  await video.play();
  clearInterval(painting);
  await same(video);
  video.pause();
});

describe('pixels of another origin', () => {
  const otherOrigin = async (): Promise<HTMLImageElement> => {
    const image = Object.assign(new Image(), {
      src: `http://localhost:${location.port}/demo/photos/chelsea.png`,
    });
    await image.decode();
    return image;
  };
  const kinds: Record<string, () => Promise<ImageSource>> = {
    '<img>': otherOrigin,
    '<canvas>': async () => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 42, height: 28 });
      canvas.getContext('2d')!.drawImage(await otherOrigin(), 0, 0);
      return canvas;
    },
    ImageBitmap: async () => createImageBitmap(await otherOrigin()),
  };
  it.each(Object.keys(kinds))('%s', async (kind) => {
    await expect(inWorker.pixels(await kinds[kind]!(), options)).rejects.toMatchObject({
      code: 'IMAGE_FETCH',
      message: expect.stringMatching(/found pixels from a different origin/) as string,
    });
    const found = [];
    for await (const each of inWorker.embedAll([alphas(), await kinds[kind]!(), alphas()], options))
      found.push(each.error?.code ?? each.embedding?.length);
    expect(found).toEqual([128, 'IMAGE_FETCH', 128]);
  });
});
