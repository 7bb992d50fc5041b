// Compares preprocessing on the GPU, from image bytes to the model's input, with Python's fixtures bit for bit.
import { crc32 } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { acquireGpu, type Gpu } from '../../src/gpu/device.js';
import { IMAGENET, levelsOf } from '../../src/image/normalization.js';
import type { PreparedImage } from '../../src/image/preparedImage.js';
import { Preprocessor, type PixelOptions } from '../../src/image/preprocess.js';
import { DEFAULT_PREPROCESSING } from '../../src/image/preprocessing.js';
import type { ImageSource, RawImage } from '../../src/image/source.js';
import { RESAMPLES } from '../../src/image/coefficients.js';
import { full } from '../full.js';
import { Random } from '../random.js';
import { normalize, resize, type Rgb } from '../reference/resize.js';
import {
  bytesOfPixels,
  difference,
  differingFloats,
  digest,
  floatsOf,
  noise,
  noiseImage,
  tensorOf,
  upright,
} from './fixtures.js';
import { pngFiles, read, readPng, sizeCases } from './files.js';
import { largeFile, type LargeCase } from './large.js';
import { planOf } from './plan.js';
import largeCasesJson from '../fixtures/pixels/large.json';

const levels = levelsOf(IMAGENET);
const largeCases = largeCasesJson as LargeCase[];
let gpu: Gpu;
let preprocessor: Preprocessor;
let bytesAtStart: number;

beforeAll(async () => {
  gpu = await acquireGpu();
  bytesAtStart = gpu.memory.bytes;
  preprocessor = await Preprocessor.create(gpu);
});
afterEach(() => expect(gpu.uncaptured).toBeUndefined());
afterAll(() => {
  preprocessor.dispose();
  expect(gpu.memory.bytes).toBe(bytesAtStart);
  gpu.release();
});

const codeOf = async (action: () => unknown): Promise<unknown> => {
  try {
    return await action();
  } catch (error) {
    return (error as { code?: string }).code ?? error;
  }
};
/** Writes one image in a GPU task of its own. */
const write = (image: PreparedImage, pixels: GPUBuffer, offset?: number): Promise<void> =>
  gpu.task('test', undefined, (task) =>
    task.burst((burst) => preprocessor.write(burst, image, pixels, offset)),
  );
const batch = (images: readonly ImageSource[], options?: PixelOptions): Promise<unknown> =>
  gpu.task('test', undefined, (task) => preprocessor.batch(task, images, options));
const twinOf = (image: Rgb, options: PixelOptions = {}): Float32Array =>
  normalize(resize(image, planOf(image.width, image.height, options), options.resample), levels);

/** Adds an alpha channel of noise to an image. */
function withNoisyAlpha({ data, width, height }: Rgb): RawImage {
  const rgba = noise('alpha', width * height * 4);
  for (let i = 0; i < width * height; i++) rgba.set(data.subarray(i * 3, i * 3 + 3), i * 4);
  return { data: new Uint8ClampedArray(rgba.buffer), width, height };
}

describe('pixels on the GPU', () => {
  it.each(['astronaut', 'chelsea', 'coffee'])(
    "of %s equal Python's: 0 of 150,528 floats differ",
    async (name) => {
      const pixels = await preprocessor.read([readPng(`demo/photos/${name}.png`)]);
      expect(pixels).toMatchObject({ batch: 1, height: 224, width: 224 });
      expect(
        differingFloats(
          pixels.data,
          floatsOf(read(`test/fixtures/photos/expected/${name}.pixel_values.safetensors`), 'pixel_values'),
        ),
      ).toBe(0);
    },
  );

  it(`of noise in ${sizeCases.length} sizes equal Pillow's`, async () => {
    const wrong: unknown[] = [];
    for (const { width, height, sha256, outputWidth, outputHeight, ...options } of sizeCases) {
      const pixels = await preprocessor.read([noiseImage(width, height)], options);
      if (outputWidth !== undefined)
        expect([pixels.width, pixels.height]).toEqual([outputWidth, outputHeight]);
      if ((await digest(bytesOfPixels(pixels.data, levels))) !== sha256)
        wrong.push({ width, height, ...options });
    }
    expect(wrong).toEqual([]);
  });

  it('do not depend on alpha', async () => {
    const image = noiseImage(61, 47);
    const pixels = await preprocessor.read([withNoisyAlpha(image)], { cropSize: 42 });
    expect(differingFloats(pixels.data, twinOf(image, { cropSize: 42 }) as Float32Array)).toBe(0);
  });

  it.each(largeCases.filter(({ kind }) => kind === 'noise'))(
    "of $width × $height, larger than a texture, with orientation $orientation, equal Pillow's",
    async (large) => {
      const pixels = await preprocessor.read([await largeFile(large)], { orientation: 'respect' });
      expect(await digest(bytesOfPixels(pixels.data, levels))).toBe(large.sha256);
    },
  );

  it('computed in strips of a few rows, in every orientation, equal the CPU reference', async () => {
    const random = new Random(41);
    for (let i = 0; i < (full ? 48 : 16); i++) {
      const [width, height] = [random.integer(1, 120), random.integer(1, i % 4 === 0 ? 20_000 : 120)];
      const large: LargeCase = { kind: 'noise', width, height, orientation: (i % 8) + 1, sha256: '' };
      const options = {
        orientation: 'respect',
        resample: random.pick(RESAMPLES),
        ...random.pick([
          { resize: 'square', size: 28 },
          { cropSize: 42, shortestEdge: 30 },
        ] as const),
      } as const;
      const strips = await Preprocessor.create(gpu, { stripBytes: random.integer(1, 30_000) });
      const pixels = await strips.read([await largeFile(large)], options);
      strips.dispose();
      const twin = twinOf(upright(noiseImage(width, height), large.orientation), options);
      expect(differingFloats(pixels.data, twin), JSON.stringify([large, options])).toBe(0);
    }
  });

  it('of a batch equal those of each image alone, and no other bytes are written', async () => {
    const sizes = [
      [50, 40],
      [1, 1],
      [33, 90],
      [64, 64],
    ] as const;
    const options = { cropSize: 42, shortestEdge: 45 };
    const images = sizes.map(([width, height]) => noiseImage(width, height));
    const each = 3 * 42 * 42;
    const guard = new Uint32Array(each * 6 + 9).fill(0xdeadbeef);
    const buffer = gpu.memory.storageOf('guarded', guard);
    for (const [index, image] of images.entries()) {
      // Slots in reverse order, after a gap of 3 floats, with one slot in the middle left empty.
      const slot = [4, 3, 1, 0][index]!;
      await write(await preprocessor.prepare(image, options), buffer, (3 + slot * each) * 4);
    }
    const words = new Uint32Array(await gpu.memory.read(buffer, 0, guard.byteLength));
    gpu.memory.destroy(buffer);
    const expected = guard.slice();
    images.forEach((image, index) =>
      expected.set(new Uint32Array(twinOf(image, options).buffer), 3 + [4, 3, 1, 0][index]! * each),
    );
    expect(words.findIndex((word, i) => word !== expected[i])).toBe(-1);

    const together = await preprocessor.read(images, options);
    expect(together).toMatchObject({ batch: 4, height: 42, width: 42 });
    images.forEach((image, index) => {
      expect(
        differingFloats(together.data.subarray(index * each, (index + 1) * each), twinOf(image, options)),
      ).toBe(0);
    });
  });

  it('use the mean and standard deviation of the options', async () => {
    const normalization = { rescaleFactor: 1 / 127, mean: [0.1, 0.2, 0.3], std: [3, 2, 1] } as const;
    const other = await Preprocessor.create(gpu, {
      preprocessing: { ...DEFAULT_PREPROCESSING, normalization },
      patchSize: 16,
    });
    const { data, width, height } = await other.read([noiseImage(64, 32)], {
      resize: 'fit',
      longestSide: 64,
    });
    expect([width, height]).toEqual([64, 32]);
    expect(differingFloats(data, normalize(noiseImage(64, 32).data, levelsOf(normalization)))).toBe(0);
    other.dispose();
  });
});

describe('PNG files, decoded without a browser', () => {
  const asIs = { resize: 'fit', longestSide: 42 } as const;
  const expected = read('test/fixtures/pixels/expected.safetensors');
  const file = (name: string): Blob => new Blob([read(`test/fixtures/pixels/images/${name}`)]);
  const found = async (source: ImageSource, options: PixelOptions): Promise<Rgb> => {
    const { data, width, height } = await preprocessor.read([source], options);
    return { data: bytesOfPixels(data, levels), width, height };
  };

  it.each(pngFiles)(
    `%s: the bytes equal those of convert("RGB"), with Exif orientation ignored (the default) and applied`,
    async (name) => {
      for (const [orientation, tensor] of [
        [undefined, 'rgb'],
        ['ignore', 'rgb'],
        ['respect', name.startsWith('exif') ? 'upright' : 'rgb'],
      ] as const) {
        const { bytes, shape } = tensorOf(expected, `${name}.${tensor}`);
        const python = { data: bytes, width: shape[1]!, height: shape[0]! };
        const options: PixelOptions = {
          ...(Math.max(...shape) === 42 ? asIs : { cropSize: 14 }),
          orientation,
        };
        const [ours, theirs] = [await found(file(name), options), await found(python, options)];
        expect(difference(ours.data, theirs.data)).toEqual({ bytes: 0, most: 0 });
        if (options.cropSize === undefined) expect(ours.data).toEqual(python.data);
      }
    },
  );

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'orientation %i: the same result as for an image that is already upright',
    async (orientation) => {
      const bytes = read('test/fixtures/pixels/images/exif6.png');
      const at = Buffer.from(bytes).indexOf(Buffer.from([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0])) + 9;
      expect(bytes[at]).toBe(6);
      bytes[at] = orientation;
      const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const type = chunk.indexOf('eXIf');
      const end = type + 4 + chunk.readUInt32BE(type - 4);
      chunk.writeUInt32BE(crc32(chunk.subarray(type, end)), end);
      const { bytes: data, shape } = tensorOf(expected, 'exif6.png.rgb');
      const turned = upright({ data, width: shape[1]!, height: shape[0]! }, orientation);
      for (const options of [
        asIs,
        { cropSize: 28, shortestEdge: 35 },
        { cropSize: 45, shortestEdge: 30, resample: 'box' },
        { resize: 'square', size: 56 },
      ] as const) {
        expect(await found(new Blob([bytes]), { ...options, orientation: 'respect' })).toEqual(
          await found(turned, options),
        );
      }
    },
  );

  it('of one column, resized vertically first, with an orientation', async () => {
    const bytes = read('test/fixtures/pixels/images/300x1.png');
    const exif = Buffer.from(
      '0000000065584966' + '4d4d002a00000008000101120003000000010006000000000000' + '00000000',
      'hex',
    );
    exif.writeUInt32BE(exif.length - 12);
    exif.writeUInt32BE(crc32(exif.subarray(4, -4)), exif.length - 4);
    const turned = Buffer.concat([bytes.subarray(0, 33), exif, bytes.subarray(33)]);
    const { bytes: data } = tensorOf(expected, '300x1.png.rgb');
    const options = { resize: 'square', size: 14 } as const;
    expect(planOf(1, 300, options).verticalFirst).toBe(true);
    expect(await found(new Blob([turned]), { ...options, orientation: 'respect' })).toEqual(
      await found(upright({ data, width: 300, height: 1 }, 6), options),
    );
  });

  it('by URL', async () => {
    const url = `data:image/png;base64,${Buffer.from(read('test/fixtures/pixels/images/rgba16.png')).toString('base64')}`;
    expect((await found(url, asIs)).data).toEqual(tensorOf(expected, 'rgba16.png.rgb').bytes);
  });

  it('that are damaged are rejected, and leave no texture behind', async () => {
    const bytes = read('test/fixtures/pixels/images/rgba.png');
    bytes[1000]! ^= 1;
    await expect(preprocessor.prepare(new Blob([bytes]))).rejects.toMatchObject({
      code: 'IMAGE_DECODE',
      message: expect.stringMatching(/^Blob: expected a PNG with/) as string,
    });
  });
});

describe('GPU memory', () => {
  it('holds no buffer of an image after the image was written, failed or was disposed', async () => {
    await preprocessor.read([noiseImage(100, 100)]);
    const { bytes, buffers } = gpu.memory;
    await preprocessor.read([noiseImage(100, 100), noiseImage(100, 100)]);
    (await preprocessor.prepare(noiseImage(100, 100))).dispose();
    const failed = await codeOf(() =>
      batch([noiseImage(100, 100), noiseImage(100, 50)], { resize: 'fit', longestSide: 100 }),
    );
    expect(failed).toBe('INPUT_SHAPE');
    expect(gpu.memory.buffers).toBe(buffers);
    expect(gpu.memory.bytes).toBe(bytes);
  });

  it('holds at most a strip of an image while it is prepared', async () => {
    const preparing = await Preprocessor.create(gpu, { stripBytes: 4000 });
    const options = { cropSize: 14, shortestEdge: 14 };
    await preparing.read([noiseImage(100, 100)], options);
    const { bytes } = gpu.memory;
    let most = 0;
    const create = gpu.device.createBuffer.bind(gpu.device);
    vi.spyOn(gpu.device, 'createBuffer').mockImplementation((descriptor) => {
      most = Math.max(most, gpu.memory.bytes + descriptor.size - bytes);
      return create(descriptor);
    });
    try {
      const between = 100 * 14 * 4;
      const waiting = await preparing.prepare(noiseImage(100, 100), options);
      expect(gpu.memory.bytes - bytes).toBe(between);
      waiting.dispose();
      expect(most).toBeLessThanOrEqual(between + 4000 + 128 + 14 * 40 * 4); // uniforms, and at most 39 taps per pixel
      const controller = new AbortController();
      const aborted = preparing.prepare(noiseImage(20, 20), { ...options, signal: controller.signal });
      controller.abort();
      await codeOf(() => aborted);
      vi.spyOn(gpu.device.queue, 'submit').mockImplementationOnce(() => {
        throw new Error('no more');
      });
      await expect(preparing.prepare(noiseImage(100, 100), options)).rejects.toThrow('no more');
      expect(gpu.memory.bytes).toBe(bytes);
    } finally {
      vi.restoreAllMocks();
      preparing.dispose();
    }
  });

  it('holds no buffers for the sizes of earlier images', async () => {
    const { bytes, buffers } = gpu.memory;
    for (let side = 300; side < 340; side++)
      await preprocessor.read([noiseImage(side, side + 1)], { cropSize: 14 });
    expect(gpu.memory.buffers).toBe(buffers);
    expect(gpu.memory.bytes).toBe(bytes);
  });

  it('a new image size compiles no pipeline', async () => {
    const compiled = gpu.pipelines.size;
    await preprocessor.read([noiseImage(77, 11)], { resize: 'fit', longestSide: 77 });
    expect(gpu.pipelines.size).toBe(compiled);
  });
});

describe('invalid sources and calls are rejected', () => {
  it.each<[string, () => unknown, string, RegExp]>([
    ['null', () => null, 'IMAGE_TYPE', /^Image: expected an image, canvas, .* found Null\.$/],
    ['undefined', () => undefined, 'IMAGE_TYPE', /found Undefined/],
    ['a number', () => 5, 'IMAGE_TYPE', /found Number/],
    ['an array', () => [], 'IMAGE_TYPE', /found Array/],
    ['bytes that are no image', () => new Uint8Array(12), 'IMAGE_DECODE', /12 bytes/],
    [
      'floats',
      () => ({ data: new Float32Array(12), width: 2, height: 2 }),
      'IMAGE_TYPE',
      /found Object with data of type Float32Array/,
    ],
    ['no size', () => ({ data: new Uint8Array(12) }), 'IMAGE_SIZE', /found undefined × undefined/],
    [
      'no pixels',
      () => ({ data: new Uint8Array(0), width: 0, height: 4 }),
      'IMAGE_SIZE',
      /at least 1 × 1 pixels, found 0 × 4/,
    ],
    [
      'half a pixel',
      () => ({ data: new Uint8Array(4), width: 0.5, height: 2 }),
      'IMAGE_SIZE',
      /found 0\.5 × 2/,
    ],
    [
      'too few bytes',
      () => ({ data: new Uint8Array(11), width: 2, height: 2 }),
      'IMAGE_SIZE',
      /expected 12 or 16 bytes for 2 × 2 pixels, found 11/,
    ],
    [
      'an unsupported number of channels',
      () => ({ data: new Uint8Array(16), width: 2, height: 2, channels: 3 }),
      'IMAGE_SIZE',
      /expected 12 bytes for 2 × 2 pixels of 3 channels/,
    ],
    [
      'grey',
      () => ({ data: new Uint8Array(4), width: 2, height: 2, channels: 1 }),
      'IMAGE_SIZE',
      /expected 4 bytes for 2 × 2 pixels of 1 channels \(3 or 4\)/,
    ],
    [
      'a Blob that nothing can decode',
      () => new Blob(['x']),
      'IMAGE_DECODE',
      /^Blob: expected an image, found text/,
    ],
    [
      'a URL without a server',
      () => 'http://127.0.0.1:9/image.png?token=1',
      'IMAGE_FETCH',
      /^http:\/\/127\.0\.0\.1:9\/image\.png: the request failed \(/,
    ],
  ])('%s', async (_, make, code, message) => {
    const { bytes } = gpu.memory;
    await expect(preprocessor.prepare(make() as ImageSource)).rejects.toThrow(message);
    expect(await codeOf(() => preprocessor.prepare(make() as ImageSource))).toBe(code);
    expect(gpu.memory.bytes).toBe(bytes);
  });

  it('options, before anything is loaded', async () => {
    expect(await codeOf(() => preprocessor.prepare('http://127.0.0.1:9/', { cropSize: 1 }))).toBe(
      'OPTION_VALUE',
    );
    expect(
      await codeOf(() => preprocessor.prepare('http://127.0.0.1:9/', { orientation: 'up' as 'ignore' })),
    ).toBe('OPTION_VALUE');
  });

  it('an empty batch', async () => {
    expect(await codeOf(() => batch([]))).toBe('INPUT_SHAPE');
  });

  it('a buffer that is too small, or an odd offset; the image can still be written to a valid place', async () => {
    const image = await preprocessor.prepare(noiseImage(20, 20), { cropSize: 14 });
    const buffer = gpu.memory.storage('small', image.bytes);
    for (const offset of [4, -4, 2, Number.NaN])
      await expect(write(image, buffer, offset)).rejects.toThrow(/expected 2352 bytes from offset/);
    await write(image, buffer);
    expect(await codeOf(() => write(image, buffer))).toBe('DISPOSED');
    gpu.memory.destroy(buffer);
  });

  it('an abort stops with its reason', async () => {
    const reason = new Error('enough');
    await expect(
      preprocessor.prepare(noiseImage(20, 20), { signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
    const controller = new AbortController();
    const waiting = preprocessor.prepare(noiseImage(20, 20), { signal: controller.signal });
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  it('any call after dispose', async () => {
    const other = await Preprocessor.create(gpu);
    const image = await other.prepare(noiseImage(20, 20));
    const waiting = other.prepare(noiseImage(20, 20));
    other.dispose();
    expect(await codeOf(() => waiting)).toBe('DISPOSED');
    expect(await codeOf(() => other.prepare(noiseImage(20, 20)))).toBe('DISPOSED');
    expect(await codeOf(() => other.write(undefined as never, image, undefined as never))).toBe('DISPOSED');
    image.dispose();
  });
});
