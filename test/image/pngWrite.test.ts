// The PNG encoder: files that other decoders read.
import { PNG } from 'pngjs';
import { expect, test } from 'vitest';
import { encodePng } from '../../src/image/pngWrite.ts';
import { decodePng } from '../../src/image/png.ts';
import { Random } from '../random.ts';

test.each([
  [1, 1],
  [7, 5],
  [300, 41],
])('a picture of %i × %i pixels, opaque and with alpha', async (width, height) => {
  const random = new Random(width);
  for (const opaque of [true, false]) {
    const pixels = Uint8ClampedArray.from({ length: 4 * width * height }, (_, i) =>
      opaque && i % 4 === 3 ? 255 : random.integer(0, 254),
    );
    const file = await encodePng(pixels, width, height);
    expect(file[25], 'the colour type: RGB or RGBA').toBe(opaque ? 2 : 6);
    const other = PNG.sync.read(Buffer.from(file));
    expect([other.width, other.height]).toEqual([width, height]);
    expect([...other.data]).toEqual([...pixels]);
    const own = await decodePng(file, 'file.png');
    expect([own.width, own.height]).toEqual([width, height]);
    // Pillow's conversion to RGB drops alpha, and so does the library's decoder.
    expect([...own.data]).toEqual([...pixels].map((value, i) => (i % 4 === 3 ? 255 : value)));
  }
});

test('an enlarged picture becomes a small file', async () => {
  const random = new Random(1);
  const [side, scale] = [37, 14];
  const patches = Array.from({ length: 3 * side * side }, () => random.integer(0, 255));
  const pixels = Uint8ClampedArray.from({ length: 4 * (side * scale) ** 2 }, (_, i) => {
    const [x, y] = [(i >> 2) % (side * scale), Math.floor((i >> 2) / (side * scale))];
    const patch = Math.floor(y / scale) * side + Math.floor(x / scale);
    return i % 4 === 3 ? 255 : patches[3 * patch + (i % 4)]!;
  });
  expect((await encodePng(pixels, side * scale, side * scale)).length).toBeLessThan(30_000);
});
