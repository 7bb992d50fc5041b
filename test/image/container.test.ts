import { describe, expect, it } from 'vitest';
import { plainFile } from '../../src/image/container.js';
import { liesOnItsSide, TURNS } from '../../src/image/orientation.js';
import { read } from './files.js';

const joined = (bytes: Uint8Array<ArrayBuffer>): Buffer => Buffer.concat(plainFile(bytes).pieces);
const orientationOf = (bytes: Uint8Array<ArrayBuffer>): number => plainFile(bytes).orientation;

/** A JPEG that is nothing but Exif data around `tiff`. */
const jpegOf = (tiff: readonly number[]): Uint8Array<ArrayBuffer> =>
  Uint8Array.of(
    0xff,
    0xd8,
    0xff,
    0xe1,
    0,
    2 + 6 + tiff.length,
    ...Buffer.from('Exif\0\0'),
    ...tiff,
    0xff,
    0xd9,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
  );
const bigEndian = (orientation: number, type = 3): number[] => [
  0x4d,
  0x4d,
  0,
  42,
  0,
  0,
  0,
  8,
  0,
  2,
  1,
  0x0f,
  0,
  2,
  0,
  0,
  0,
  1,
  0,
  0,
  0,
  0,
  1,
  0x12,
  0,
  type,
  0,
  0,
  0,
  1,
  0,
  orientation,
  0,
  0,
];
const littleEndian = (orientation: number): number[] => [
  0x49,
  0x49,
  42,
  0,
  8,
  0,
  0,
  0,
  1,
  0,
  0x12,
  1,
  3,
  0,
  1,
  0,
  0,
  0,
  orientation,
  0,
  0,
  0,
];

describe('plainFile', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('reads orientation %i of a JPEG, in either order of bytes', (n) => {
    expect(orientationOf(read(`test/fixtures/pixels/images/exif${n}.jpg`))).toBe(n);
    expect(orientationOf(jpegOf(bigEndian(n)))).toBe(n);
    expect(orientationOf(jpegOf(littleEndian(n)))).toBe(n);
  });

  it.each([
    ['exif6.png', 6],
    ['exif5-alpha.png', 5],
    ['exif8.webp', 8],
    ['exif6-alpha.webp', 6],
    ['rgb.png', 1],
    ['lossless.webp', 1],
    ['rgb.bmp', 1],
  ])('reads that of %s', (name, n) => {
    expect(orientationOf(read(`test/fixtures/pixels/images/${name}`))).toBe(n);
  });

  it('takes no orientation that is none', () => {
    for (const tiff of [
      bigEndian(0),
      bigEndian(9),
      bigEndian(6, 4),
      [],
      bigEndian(6).slice(0, 20),
      [0x4d, 0x4d, 0, 42, 255, 255, 255, 255],
      [0x58, ...bigEndian(6).slice(1)],
    ]) {
      expect(orientationOf(jpegOf(tiff))).toBe(1);
    }
  });

  it('turns by whole pixels: eight ways, each its own', () => {
    expect(new Set(TURNS.slice(1)).size).toBe(8);
    expect([1, 2, 3, 4, 5, 6, 7, 8].filter(liesOnItsSide)).toEqual([5, 6, 7, 8]);
  });

  it.each(['exif1.jpg', 'exif8.jpg', 'exif6.png', 'exif8.webp'])('takes the Exif data out of %s', (name) => {
    const bytes = read(`test/fixtures/pixels/images/${name}`);
    expect(Buffer.from(bytes).toString('latin1')).toMatch(/Exif\0\0|eXIf|EXIF/);
    expect(joined(bytes).toString('latin1')).not.toMatch(/Exif\0\0|eXIf|EXIF/);
  });

  it('leaves the same JPEG whatever the orientation was', () => {
    const all = [1, 2, 3, 4, 5, 6, 7, 8].map((n) =>
      joined(read(`test/fixtures/pixels/images/exif${n}.jpg`)).toString('latin1'),
    );
    expect(new Set(all).size).toBe(1);
  });

  it.each([
    ['palette-transparency.png', (file: Buffer) => file.includes('tRNS')],
    ['lossy-alpha.webp', (file: Buffer) => file.includes('ALPH') || (file[20]! & 0x10) !== 0],
    ['alpha.webp', (file: Buffer) => (file[file.indexOf('VP8L') + 12]! & 0x10) !== 0],
    [
      'exif6-alpha.webp',
      (file: Buffer) => (file[20]! & 0x10) !== 0 || (file[file.indexOf('VP8L') + 12]! & 0x10) !== 0,
    ],
    ['transparency.gif', (file: Buffer) => (file[file.indexOf(Buffer.of(0x21, 0xf9, 4)) + 3]! & 1) !== 0],
  ])('takes the alpha out of %s', (name, hasAlpha) => {
    const bytes = read(`test/fixtures/pixels/images/${name}`);
    expect(hasAlpha(Buffer.from(bytes))).toBe(true);
    expect(hasAlpha(joined(bytes))).toBe(false);
  });

  it.each(['rgb.png', '444.jpg', 'lossless.webp', 'palette.gif', 'rgb.bmp'])('leaves %s as it is', (name) => {
    const bytes = read(`test/fixtures/pixels/images/${name}`);
    expect(joined(bytes).equals(bytes)).toBe(true);
  });

  it.each(['exif6.jpg', 'exif6.png', 'exif6-alpha.webp', 'lossy-alpha.webp', 'transparency.gif'])(
    'stands %s cut off anywhere',
    (name) => {
      const bytes = read(`test/fixtures/pixels/images/${name}`);
      for (let length = 0; length < bytes.length; length++) {
        expect(joined(bytes.slice(0, length)).length).toBeLessThanOrEqual(length);
      }
    },
  );

  it('stands bytes that only look like a JPEG, a PNG, a WebP or a GIF', () => {
    for (const magic of ['\xff\xd8\xff', '\x89PNG', 'RIFF....WEBP', 'GIF89a']) {
      for (const fill of [0, 1, 0x7f, 0xe1, 0xff]) {
        const bytes = new Uint8Array(4096).fill(fill);
        bytes.set(Buffer.from(magic, 'latin1'));
        expect(joined(bytes).length).toBeLessThanOrEqual(4096);
      }
    }
  });
});
