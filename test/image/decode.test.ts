// How image files are prepared for the browser's decoder, and decoded without one. Runs in Node.
import { deflateRawSync, deflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { plainAvif } from '../../src/image/avif.js';
import { Slices } from '../../src/platform/pause.js';
import { decodeFile } from '../../src/image/decode.js';
import { inflate, type Inflated } from '../../src/image/inflate.js';
import { prepareJpeg } from '../../src/image/jpeg.js';
import { swapsSides, TURNS } from '../../src/image/orientation.js';
import { plainPng } from '../../src/image/pngChunks.js';
import { plainWebp } from '../../src/image/webp.js';
import { Random } from '../random.js';
import awkward from '../fixtures/images/awkward.json' with { type: 'json' };
import bmp from '../fixtures/images/bmp.json' with { type: 'json' };
import { awkwardThatDiffer } from './awkward.js';
import { read } from './files.js';
import { upright } from './fixtures.js';

const decode = (bytes: Uint8Array<ArrayBuffer>, name = 'file') =>
  decodeFile(bytes, name, '', { losesAlpha: () => Promise.resolve(true) });
const fixture = (name: string): Uint8Array<ArrayBuffer> => read(`test/fixtures/pixels/images/${name}`);

/** The Exif orientation of a fixture file, read by the parser of its format. */
async function orientationOf(name: string): Promise<number> {
  const bytes = fixture(name);
  if (name.endsWith('.jpg')) return (await prepareJpeg(bytes, name)).orientation;
  return name.endsWith('.webp')
    ? plainWebp(bytes, name).orientation
    : (await plainPng(bytes, name)).orientation;
}

it.each([
  ['awkward', awkward],
  ['bmp', bmp],
] as const)(
  "%s: pixels of PNG, GIF and BMP equal Pillow's, and files that Pillow rejects are rejected",
  async (name, expected) => {
    const differing = await awkwardThatDiffer(
      read(`test/fixtures/images/${name}.safetensors`),
      expected,
      async (blob, orientation) => {
        const bytes = new Uint8Array(await blob.arrayBuffer());
        const { image, orientation: lies } = await decode(bytes, (blob as File).name);
        if (!('data' in image)) throw new Error('a bitmap in Node');
        const rgb = { ...image, data: image.data.filter((_, i) => i % 4 !== 3) };
        const { data } = orientation === 'respect' ? upright(rgb, lies) : rgb;
        return data as Uint8Array<ArrayBuffer>;
      },
      (name) => /\.(png|gif|bmp)$/.test(name),
    );
    expect(differing).toEqual({});
  },
);

describe('orientation', () => {
  it('the eight orientations give eight different arrangements of the pixels', () => {
    expect(new Set(TURNS.slice(1)).size).toBe(8);
    expect([1, 2, 3, 4, 5, 6, 7, 8].filter(swapsSides)).toEqual([5, 6, 7, 8]);
  });

  it.each([
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`exif${n}.jpg`, n] as const),
    ['exif6.png', 6],
    ['exif5-alpha.png', 5],
    ['exif8.webp', 8],
    ['exif6-alpha.webp', 6],
    ['rgb.png', 1],
    ['lossless.webp', 1],
  ] as const)('of %s is %i', async (name, n) => {
    expect(await orientationOf(name)).toBe(n);
  });

  it('is removed from JPEG, PNG and WebP', async () => {
    const exif = /Exif\0\0|eXIf|EXIF/;
    const jpeg = fixture('exif8.jpg');
    await prepareJpeg(jpeg, 'file');
    expect(Buffer.from(jpeg).toString('latin1')).not.toMatch(exif);
    const { pieces } = await plainPng(fixture('exif6.png'), 'file');
    expect(Buffer.concat(pieces).toString('latin1')).not.toMatch(exif);
    expect(Buffer.concat(plainWebp(fixture('exif8.webp'), 'file').pieces).toString('latin1')).not.toMatch(
      exif,
    );
  });
});

describe('files that a browser decodes', () => {
  it('have their alpha removed', async () => {
    const webp = (name: string): Buffer => Buffer.concat(plainWebp(fixture(name), name).pieces);
    expect(webp('lossy-alpha.webp').includes('ALPH')).toBe(false);
    expect(webp('lossy-alpha.webp')[20]! & 0x10).toBe(0);
    const alpha = webp('alpha.webp');
    expect(alpha[alpha.indexOf('VP8L') + 12]! & 0x10).toBe(0);
    const { pieces } = await plainPng(fixture('palette-transparency.png'), 'file');
    expect(Buffer.concat(pieces).includes('tRNS')).toBe(false);
  });

  it('are unchanged if they have neither alpha nor an orientation', async () => {
    for (const name of ['444.jpg', 'cmyk.jpg', 'lossless.webp']) {
      const bytes = fixture(name);
      if (name.endsWith('.jpg')) await (await prepareJpeg(bytes, name)).checkScans();
      else expect(plainWebp(bytes, name).pieces).toEqual([bytes]);
      expect(Buffer.from(bytes).equals(fixture(name))).toBe(true);
    }
  });

  it.each(['exif6.jpg', 'exif6.png', 'exif6-alpha.webp', 'transparency.gif', 'rgb.bmp', '444.avif'])(
    '%s with its end missing or bits flipped is rejected with an error code of this library',
    async (name) => {
      const bytes = fixture(name);
      const random = new Random(5);
      for (let i = 0; i < 400; i++) {
        const broken =
          i < 200 ? bytes.slice(0, Math.floor((i / 200) * bytes.length)) : Uint8Array.from(bytes);
        if (i >= 200)
          broken[Math.floor(random.next() * broken.length)]! ^= 1 << Math.floor(random.next() * 8);
        const code = await decode(broken).then(
          () => 'IMAGE_DECODE',
          (error: { code?: string }) => error.code,
        );
        expect(['IMAGE_DECODE', 'IMAGE_SIZE']).toContain(code);
      }
    },
  );

  it('files with only the signature of a format are rejected', async () => {
    for (const magic of [
      '\xff\xd8\xff',
      '\x89PNG\r\n\x1a\n',
      'RIFF\x10\x10\0\0WEBP',
      'GIF89a',
      '\0\0\0\x20ftypavif',
    ]) {
      for (const fill of [0, 1, 0x7f, 0xe1, 0xff]) {
        const bytes = new Uint8Array(4096).fill(fill);
        bytes.set(Buffer.from(magic, 'latin1'));
        const error: unknown = await decode(bytes).catch((reason: unknown) => reason);
        expect((error as { code?: string }).code).toMatch(/^IMAGE_(DECODE|SIZE)$/);
      }
    }
  });

  it('the error message for a truncated file says at which byte it ends', async () => {
    const messageOf = async (bytes: Uint8Array<ArrayBuffer>): Promise<string> =>
      ((await decode(bytes, 'a').catch((error: unknown) => error)) as Error).message;
    const half = (name: string): Uint8Array<ArrayBuffer> => {
      const bytes = fixture(name);
      return bytes.slice(0, bytes.length * 0.8);
    };
    expect(await messageOf(half('444.jpg'))).toMatch(
      /^a: the JPEG file ends too early: at byte \d+ without its end marker \(EOI\)\. Copy or download/,
    );
    expect(await messageOf(half('rgb.png'))).toMatch(
      /ends too early: its data inflate to \d+ of 3556 bytes\./,
    );
    expect(await messageOf(half('lossy.webp'))).toMatch(/ends too early: at byte \d+ of \d+\./);
    expect(await messageOf(half('palette.gif'))).toMatch(
      /ends too early: at byte \d+, with \d+ of 28 rows\./,
    );
    expect(await messageOf(half('rgb.bmp'))).toMatch(/ends too early: at byte \d+ of \d+\./);
  });

  it('the orientation of an AVIF is read', () => {
    expect(plainAvif(fixture('444.avif'), 'file').orientation).toBe(1);
  });
});

describe('the error message for a file that cannot be decoded says what the file is', () => {
  const text = (value: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(value, 'latin1'));
  /** A small JPEG whose frame header has this marker and bit depth, which a baseline JPEG does not have. */
  const jpegOf = (marker: number, bits: number): Uint8Array<ArrayBuffer> => {
    const bytes = fixture('grey.jpg');
    const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0);
    bytes[frame + 1] = marker;
    bytes[frame + 4] = bits;
    return bytes;
  };
  const iso = (brand: string): Uint8Array<ArrayBuffer> =>
    text(`\0\0\0\x18ftyp${brand}\0\0\0\0mif1${brand}more`);
  it.each<[string, Uint8Array<ArrayBuffer>, RegExp]>([
    ['nothing', new Uint8Array(0), /found an empty file \(0 bytes\)\. Copy or download/],
    ['text', text('not an image\n'), /found text \(13 bytes\)\. Choose an image/],
    ['text with several bytes per letter', new TextEncoder().encode('für später'), /found text/],
    ['JSON', text('{"error": "no such file"}'), /found text/],
    ['an SVG', text('<svg xmlns="http://www.w3.org/2000/svg"/>'), /found an SVG drawing.*canvas/],
    ['an SVG after an XML declaration', text('\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a -->\n<svg>'), /SVG/],
    ['a page', text('\n<!doctype html><title>404</title>'), /found an HTML page\. Check the address/],
    ['a PDF', text('%PDF-1.7\n%\xe2'), /found a PDF document/],
    ['an MP4', iso('isom'), /found a video\. Pass a <video>/],
    ['a QuickTime film', iso('qt  '), /found a video/],
    ['a WebM', text('\x1aE\xdf\xa3\x01\0\0\0'), /found a video/],
    ['an archive', text('PK\x03\x04\x14\0'), /found an archive/],
    ['a Git LFS pointer', text('version https://git-lfs.github.com/spec/v1\noid sha256:1\n'), /Git LFS/],
    ...['heic', 'heix', 'hevc', 'mif1', 'msf1'].map(
      (brand) =>
        [`an HEIC (${brand})`, iso(brand), /found an HEIC photograph.*iPhone: Settings/] as [
          string,
          Uint8Array<ArrayBuffer>,
          RegExp,
        ],
    ),
    ['a TIFF', text('II*\0\x08\0\0\0'), /found a TIFF or camera raw file/],
    ['a JPEG XL', text('\xff\x0a\0'), /found a JPEG XL image/],
    ['a JPEG with arithmetic coding', jpegOf(0xc9, 8), /found a JPEG with arithmetic coding\. .*PNG\.$/],
    ['a lossless JPEG', jpegOf(0xc3, 8), /found a JPEG with lossless coding/],
    ['a JPEG of 12 bits', jpegOf(0xc1, 12), /found a JPEG with 12 bits a channel/],
    ['noise', Uint8Array.of(1, 2, 3, 4, 200, 255), /found 6 bytes/],
  ])('%s', async (_, bytes, message) => {
    const error: unknown = await decode(bytes, 'a').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'ImageError', code: 'IMAGE_DECODE' });
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toMatch(/^a: expected /);
  });
});

describe('inflate', () => {
  const inflated = (packed: Uint8Array, most: number): Promise<Inflated> =>
    inflate(packed, most, new Slices(10));
  const bytesOf = (length: number, values: number, random: Random): Uint8Array =>
    Uint8Array.from({ length }, () => Math.floor(random.next() * values));

  it('restores what zlib compressed, at every level', async () => {
    const random = new Random(3);
    for (let i = 0; i < 120; i++) {
      const bytes = bytesOf(Math.floor(random.next() * 3000), 1 + Math.floor(random.next() * 255), random);
      const packed = new Uint8Array(deflateSync(bytes, { level: i % 10, strategy: i % 5 }));
      expect(await inflated(packed, bytes.length)).toEqual({
        bytes: Uint8Array.from(bytes),
        length: bytes.length,
        end: 'whole',
      });
    }
  });

  it("returns the available bytes of a truncated stream with end 'short', and reports a corrupt one as 'broken'", async () => {
    const random = new Random(4);
    const bytes = bytesOf(2000, 9, random);
    const packed = new Uint8Array(deflateSync(bytes));
    for (let length = 0; length < packed.length; length += 3) {
      const found = await inflated(packed.slice(0, length), bytes.length);
      expect(found.end).toBe('short');
      expect(found.bytes.subarray(0, found.length)).toEqual(bytes.subarray(0, found.length));
    }
    packed[packed.length - 1]! ^= 1;
    expect((await inflated(packed, bytes.length)).end).toBe('broken');
    expect((await inflated(new Uint8Array(deflateRawSync(bytes)), bytes.length)).end).toBe('broken');
    expect((await inflated(Uint8Array.of(0x78, 0x9c, 7), 10)).end).toBe('broken');
  });
});
