// Images that `embed` decodes with sharp have the same bits as with Pillow. Formats that would differ are
// refused, for example 16-bit TIFF.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.ts';
import { images, publish, type Published } from './published.ts';

let line: Published;
beforeAll(async () => void (line = await publish(['webgpu', 'sharp'])));
afterAll(() => line.remove());

const pillow = readFileSync(join(images, '../expected.safetensors'));
const { tensors } = parseSafetensors(pillow);

/** Writes the pixels that Pillow reads from an image fixture as a PNG. */
function asPng(name: string): string {
  const {
    shape: [height, width],
    begin,
  } = tensors.get(`${name}.rgb`)!;
  const png = new PNG({ width: width!, height: height! });
  for (let i = 0; i < width! * height!; i++)
    png.data.set([...pillow.subarray(begin + 3 * i, begin + 3 * i + 3), 255], 4 * i);
  const path = join(line.folder, `${name}.png`);
  writeFileSync(path, PNG.sync.write(png));
  return path;
}

test('JPEG, WebP and GIF: grey, CMYK, progressive, rotated, with a profile or transparency', () => {
  const names = [
    '420.jpg',
    '444.jpg',
    'progressive.jpg',
    'grey.jpg',
    'cmyk.jpg',
    'profile.jpg',
    'exif6.jpg',
    'lossless.webp',
    'lossy.webp',
    'alpha.webp',
    'lossy-alpha.webp',
    'profile.webp',
    'palette.gif',
    'transparency.gif',
  ];
  const out = join(line.folder, 'vectors.safetensors');
  const { status, stderr } = line.embed(
    ...names.flatMap((name) => [join(images, name), asPng(name)]),
    '--out',
    out,
  );
  expect([status, stderr]).toEqual([0, '']);
  const file = new Uint8Array(readFileSync(out));
  const {
    begin,
    shape: [rows, columns],
  } = parseSafetensors(file).tensors.get('embeddings')!;
  expect(rows).toBe(2 * names.length);
  const vectors = new Float32Array(file.slice(begin).buffer);
  const row = (i: number): Float32Array => vectors.subarray(i * columns!, (i + 1) * columns!);
  names.forEach((name, i) => expect.soft(row(2 * i), name).toEqual(row(2 * i + 1)));
});

test('TIFF, rotated by its tag; TIFF of 16 bits, which sharp reads differently from Pillow, is refused', () => {
  const awkward = join(images, '../../images');
  const names = ['rgb.tif', 'palette.tif', 'alpha.tif', 'turned6.tif', 'turned7.tif'];
  const out = join(line.folder, 'tiff.safetensors');
  const { status, stderr } = line.embed(
    ...names.flatMap((name) => [join(awkward, name), join(awkward, `${name}.png`)]),
    join(awkward, 'grey16.tif'),
    '--out',
    out,
  );
  expect(stderr).toMatch(/grey16\.tif: expected 8 bits a channel in RGB or grey, found ushort in grey16/);
  expect(status).toBe(3);
  const file = new Uint8Array(readFileSync(out));
  const { begin, shape } = parseSafetensors(file).tensors.get('embeddings')!;
  expect(shape[0]).toBe(2 * names.length);
  const vectors = new Float32Array(file.slice(begin).buffer);
  const row = (i: number): Float32Array => vectors.subarray(i * shape[1]!, (i + 1) * shape[1]!);
  names.forEach((name, i) => expect.soft(row(2 * i), name).toEqual(row(2 * i + 1)));
});
