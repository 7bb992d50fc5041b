// Image comparisons of the Firefox tests, run in the page and in a worker. Each function returns the
// differences from Python by name and skips no file.
import { parseSafetensors } from '../../src/safetensors.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { IMAGENET, levelsOf } from '../../src/image/normalization.ts';
import { Preprocessor, type PixelOptions } from '../../src/image/preprocess.ts';
import type { ImageSource } from '../../src/image/source.ts';
import { awkwardThatDiffer, FIXTURES, type Expected } from '../image/awkward.ts';
import { largeFile, type LargeCase } from '../image/large.ts';
import { bytesOfPixels, difference, digest, noiseImage, tensorOf, type SizeCase } from '../image/fixtures.ts';

/** For each file, the number of differing values and the largest difference, or the error. */
export type Differing = Record<string, { bytes: number; most: number } | string>;

const levels = levelsOf(IMAGENET);
const fetched = async (path: string): Promise<Response> => {
  const response = await fetch(new URL(path, location.origin));
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
};
const bytesAt = async (path: string): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(await (await fetched(path)).arrayBuffer());
const imagePath = (name: string): string => `/test/fixtures/pixels/images/${name}`;

/** The forms in which a file is passed to the library. */
const sources = {
  Blob: async (path: string): Promise<ImageSource> => (await fetched(path)).blob(),
  URL: async (path: string): Promise<ImageSource> => new URL(path, location.origin),
  element: async (path: string): Promise<ImageSource> => {
    const image = Object.assign(new Image(), { src: path });
    await image.decode();
    return image;
  },
};
export type SourceKind = keyof typeof sources;

async function withPreprocessor<T>(
  use: (
    read: (
      source: ImageSource,
      options: PixelOptions,
    ) => Promise<{ bytes: Uint8Array; size: string; data: Float32Array }>,
  ) => Promise<T>,
): Promise<T> {
  const gpu = await acquireGpu();
  const preprocessor = await Preprocessor.create(gpu);
  try {
    return await use(async (source, options) => {
      const { data, height, width } = await preprocessor.read([source], options);
      return { bytes: bytesOfPixels(data, levels), size: `${height} × ${width}`, data };
    });
  } finally {
    preprocessor.dispose();
    gpu.release();
  }
}

/** Every fixture file, without (`NAME.rgb`) and with (`NAME.upright`) its Exif orientation applied. */
export const filesThatDiffer = (kind: SourceKind): Promise<Differing> =>
  withPreprocessor(async (read) => {
    const expected = await bytesAt('/test/fixtures/pixels/expected.safetensors');
    const differing: Differing = {};
    for (const tensor of parseSafetensors(expected).tensors.keys()) {
      const [, name, way] = /^(.*)\.(rgb|upright)$/.exec(tensor) ?? [];
      // An <img> always applies the orientation.
      if (name === undefined || (kind === 'element' && way === 'rgb' && name.startsWith('exif'))) continue;
      const { bytes, shape } = tensorOf(expected, tensor);
      const [height, width] = shape as [number, number];
      const asIs = Math.max(width, height) === 42; // at this size 'fit' does not resize
      const options: PixelOptions = {
        ...(asIs ? { resize: 'fit', longestSide: 42 } : { resize: 'square', size: 56 }),
        orientation: way === 'upright' ? 'respect' : 'ignore',
      };
      try {
        const python = await read({ data: bytes, width, height }, options);
        const found = await read(await sources[kind](imagePath(name)), options);
        if (found.size !== python.size) throw new Error(`${found.size} in place of ${python.size}`);
        const away = difference(found.bytes, python.bytes);
        if (away.bytes > 0) differing[tensor] = away;
      } catch (error) {
        differing[tensor] = String(error);
      }
    }
    return differing;
  });

export const pngsThatDiffer = (): Promise<Differing> =>
  withPreprocessor(async (read) => {
    const file = await bytesAt('/test/fixtures/pixels/png.safetensors');
    const differing: Differing = {};
    for (const name of [...parseSafetensors(file).tensors.keys()].filter((each) =>
      each.endsWith('14x14.png'),
    )) {
      const { bytes } = await read(new Blob([tensorOf(file, name).bytes]), { resize: 'square', size: 14 });
      const away = difference(bytes, tensorOf(file, name.replace(/png$/, 'rgb')).bytes);
      if (away.bytes > 0) differing[name] = away;
    }
    return differing;
  });

/** Noise images of every size in cases.json. */
export const sizesThatDiffer = (): Promise<unknown[]> =>
  withPreprocessor(async (read) => {
    const cases = (await (await fetched('/test/fixtures/pixels/cases.json')).json()) as SizeCase[];
    const differing: unknown[] = [];
    for (const { width, height, sha256, outputWidth, outputHeight, ...options } of cases) {
      const { bytes, size } = await read(noiseImage(width, height), options);
      if (
        size !== `${outputHeight ?? options.cropSize} × ${outputWidth ?? options.cropSize}` ||
        (await digest(bytes as Uint8Array<ArrayBuffer>)) !== sha256
      )
        differing.push({ width, height, ...options });
    }
    return differing;
  });

/** Images larger than a texture: the cases that differ from Pillow, with the result. */
export const largeThatDiffer = (): Promise<unknown[]> =>
  withPreprocessor(async (read) => {
    const cases = (await (await fetched('/test/fixtures/pixels/large.json')).json()) as LargeCase[];
    const differing: unknown[] = [];
    for (const large of cases) {
      const found = await read(await largeFile(large), { orientation: 'respect' }).then(
        ({ bytes }) => digest(bytes as Uint8Array<ArrayBuffer>),
        String,
      );
      if (found !== large.sha256) differing.push({ ...large, found });
    }
    return differing;
  });

/** The number of differing floats (of 150,528) for each photograph. */
export const photographsThatDiffer = (kind: SourceKind): Promise<Differing> =>
  withPreprocessor(async (read) => {
    const differing: Differing = {};
    for (const name of ['astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg']) {
      const { data } = await read(await sources[kind](`/demo/photos/${name}`), {});
      const python = new Float32Array(
        tensorOf(
          await bytesAt(`/test/fixtures/photos/expected/${name.split('.')[0]}.pixel_values.safetensors`),
          'pixel_values',
        ).bytes.buffer,
      );
      const away = python.map((value, i) => Math.abs(value - data[i]!));
      const floats = away.filter((each) => each > 0).length;
      if (floats > 0) differing[name] = { bytes: floats, most: Math.max(...away) };
    }
    return differing;
  });

/** AVIF files with 4:2:0, 4:2:2 and 4:4:4 chroma, each 70 × 70. */
export const avifsThatDiffer = (): Promise<Differing> =>
  withPreprocessor(async (read) => {
    const file = await bytesAt('/test/fixtures/images/avif.safetensors');
    const differing: Differing = {};
    for (const name of parseSafetensors(file).tensors.keys()) {
      if (!name.endsWith('.avif')) continue;
      const { bytes } = await read(new Blob([tensorOf(file, name).bytes]), {
        resize: 'fit',
        longestSide: 70,
      });
      const away = difference(bytes, tensorOf(file, name.replace(/avif$/, 'rgb')).bytes);
      if (away.bytes > 0) differing[name] = away;
    }
    return differing;
  });

/**
 * Awkward files, with and without their orientation applied. `which` selects files by name; by default all.
 */
export const awkwardFilesThatDiffer = (which?: RegExp): Promise<Record<string, string>> =>
  withPreprocessor(async (read) => {
    const differing: Record<string, string> = {};
    for (const fixture of FIXTURES) {
      const file = await bytesAt(`/test/fixtures/images/${fixture}.safetensors`);
      const expected = (await (await fetched(`/test/fixtures/images/${fixture}.json`)).json()) as Expected;
      const found = await awkwardThatDiffer(
        file,
        expected,
        async (blob, orientation) => {
          const { bytes } = await read(blob, { resize: 'fit', longestSide: 42, orientation });
          return bytes as Uint8Array<ArrayBuffer>;
        },
        (name) => which?.test(name) ?? true,
      );
      Object.assign(differing, found);
    }
    return differing;
  });

/** Blobs of two parts, the first of 1 to 3 bytes. Returns an error for each Blob that cannot be read. */
export const blobsThatFail = (): Promise<string[]> =>
  withPreprocessor(async (read) => {
    const failed: string[] = [];
    for (const name of ['exif6.jpg', 'rgb.png', 'lossless.webp', 'palette.gif']) {
      const bytes = await bytesAt(imagePath(name));
      for (const first of [1, 2, 3]) {
        const blob = new Blob([bytes.subarray(0, first), bytes.subarray(first)]);
        await read(blob, {}).catch((error: unknown) => failed.push(`${name}, ${first}: ${String(error)}`));
      }
    }
    return failed;
  });
