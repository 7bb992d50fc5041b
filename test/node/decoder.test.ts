// Image files that Node decodes with sharp: the pixels equal Pillow's, and files that Pillow rejects are rejected.
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decodeFile } from '../../src/image/decode.js';
import type { Orientation } from '../../src/image/source.js';
import { decodeWithSharp } from '../../src/node/decoder.js';
import { host } from '../../src/platform/host.js';
import awkward from '../fixtures/images/awkward.json' with { type: 'json' };
import jpeg from '../fixtures/images/jpeg.json' with { type: 'json' };
import { full } from '../full.js';
import { awkwardThatDiffer } from '../image/awkward.js';
import { read, readPng, withoutAlpha } from '../image/files.js';
import { difference, digest, tensorOf, upright } from '../image/fixtures.js';
import type { Rgb } from '../reference/resize.js';

beforeAll(() => void (host.decode = decodeWithSharp));
afterAll(() => void delete host.decode);

/** Decodes a file to bytes of shape (height, width, 3). */
async function rgbOf(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  orientation: Orientation = 'ignore',
): Promise<Rgb> {
  const decoded = await decodeFile(bytes, name, '', { losesAlpha: () => Promise.resolve(true) });
  if (!('data' in decoded.image)) throw new Error('a bitmap in Node');
  const rgb = withoutAlpha(decoded.image);
  return orientation === 'respect' ? upright(rgb, decoded.orientation) : rgb;
}

/**
 * Left out: the formats that the library decodes itself; AVIF, and JPEGs with a scan twice, which differ
 * (docs/guide/parity.md); JPEGs with arithmetic coding, which only Pillow and sharp read.
 */
const isRead = (name: string): boolean => !/\.(png|gif|bmp|avif)$|^arithmetic|behind-scan/.test(name);

it.each([
  ['awkward', awkward],
  ['jpeg', jpeg],
] as const)(
  "%s: pixels equal Pillow's, and files that Pillow rejects are rejected",
  async (name, expected) => {
    let count = 0;
    const differing = await awkwardThatDiffer(
      read(`test/fixtures/images/${name}.safetensors`),
      expected,
      async (blob, orientation) =>
        (await rgbOf(new Uint8Array(await blob.arrayBuffer()), (blob as File).name, orientation))
          .data as Uint8Array<ArrayBuffer>,
      (file) => isRead(file) && (count++ % 8 === 0 || full),
    );
    expect(differing).toEqual({});
    expect(count).toBeGreaterThan(100);
  },
);

it('a JPEG with arithmetic coding has the pixels of Pillow', async () => {
  const { bytes } = tensorOf(read('test/fixtures/images/jpeg.safetensors'), 'arithmetic.jpg');
  const { data } = await rgbOf(bytes, 'arithmetic.jpg');
  expect(await digest(data as Uint8Array<ArrayBuffer>)).toBe(jpeg['arithmetic.jpg'].asItLies);
});

it.each(['rgb.tif', 'palette.tif', 'alpha.tif', 'turned6.tif', 'turned7.tif'])(
  "%s: pixels equal Pillow's, rotated by the tag",
  async (name) => {
    const { data, width, height } = await rgbOf(read(`test/fixtures/images/${name}`), name);
    const png = withoutAlpha(readPng(`test/fixtures/images/${name}.png`));
    expect([width, height]).toEqual([png.width, png.height]);
    expect(difference(data as Uint8Array, png.data as Uint8Array)).toEqual({ bytes: 0, most: 0 });
  },
);

it.each<[string, number]>([
  ['waves-444', 1],
  ['photograph-444', 1],
  ['photograph-420', 11],
  ['chequers-422', 77],
  ['chequers-420', 114],
])('%s.avif is off by up to %i of 255, as docs/guide/parity.md says', async (name, most) => {
  const file = read('test/fixtures/images/avif.safetensors');
  const { data } = await rgbOf(tensorOf(file, `${name}.avif`).bytes, name);
  expect(difference(data as Uint8Array, tensorOf(file, `${name}.rgb`).bytes).most).toBe(most);
});

it.each(['avif-frames.avif', 'avif-frames-alpha.avif'])('%s: the first frame is read', async (name) => {
  const { bytes } = tensorOf(read('test/fixtures/images/awkward.safetensors'), name);
  expect((await rgbOf(bytes, name)).width).toBeGreaterThan(1);
});

const messageOf = (bytes: Uint8Array<ArrayBuffer>, name: string): Promise<string> =>
  rgbOf(bytes, name).then(
    () => 'decoded',
    (error: unknown) => `${String((error as { code?: unknown }).code)} ${(error as Error).message}`,
  );

it('refuses what sharp reads differently from Pillow, and what it cannot read, in one line', async () => {
  expect(await messageOf(read('test/fixtures/images/grey16.tif'), 'grey16.tif')).toMatch(
    /^IMAGE_DECODE grey16\.tif: expected 8 bits a channel in RGB or grey, found ushort in grey16.*PNG\.$/,
  );
  const avif = read('test/fixtures/pixels/images/444.avif');
  expect(await messageOf(avif.slice(0, 300), 'cut.avif')).toMatch(
    /^IMAGE_DECODE cut\.avif: expected a valid image, found 300 bytes, which cannot be decoded \(.*\)\. Copy .*again\.$/,
  );
  expect(await messageOf(Uint8Array.of(1, 2, 3, 4, 200, 255), 'noise')).toMatch(
    /^IMAGE_DECODE noise: expected a PNG, JPEG, WebP, AVIF, TIFF, GIF or BMP, found 6 bytes\. Convert it to PNG\.$/,
  );
});

it('without the package sharp, the error says how to install it', async () => {
  vi.doMock('sharp', () => {
    throw Object.assign(new Error('none'), { code: 'ERR_MODULE_NOT_FOUND' });
  });
  try {
    expect(await messageOf(read('test/fixtures/pixels/images/444.jpg'), 'a.jpg')).toMatch(
      /a\.jpg: expected a PNG, GIF or BMP, found JPEG, .*package sharp.*npm install sharp\./,
    );
  } finally {
    vi.doUnmock('sharp');
  }
});
