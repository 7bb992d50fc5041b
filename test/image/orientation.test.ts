import { describe, expect, it } from 'vitest';
import { withoutExif } from '../../src/image/orientation.js';
import { read } from './files.js';

const joined = (bytes: Uint8Array<ArrayBuffer>): Buffer => Buffer.concat(withoutExif(bytes));

describe('withoutExif', () => {
  it.each(['exif1.jpg', 'exif8.jpg', 'exif6.png', 'exif8.webp'])('takes the Exif data out of %s', (name) => {
    const bytes = read(`test/fixtures/pixels/images/${name}`);
    expect(Buffer.from(bytes).toString('latin1')).toMatch(/Exif\0\0|eXIf|EXIF/);
    expect(joined(bytes).toString('latin1')).not.toMatch(/Exif\0\0|eXIf|EXIF/);
  });

  it('leaves the same JPEG whatever the orientation was', () => {
    const all = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => joined(read(`test/fixtures/pixels/images/exif${n}.jpg`)).toString('latin1'));
    expect(new Set(all).size).toBe(1);
  });

  it.each(['rgb.png', '444.jpg', 'lossless.webp', 'palette.gif', 'rgb.bmp'])('leaves %s as it is', (name) => {
    const bytes = read(`test/fixtures/pixels/images/${name}`);
    expect(joined(bytes).equals(bytes)).toBe(true);
  });

  it.each(['exif6.jpg', 'exif6.png', 'exif8.webp'])('stands %s cut off anywhere', (name) => {
    const bytes = read(`test/fixtures/pixels/images/${name}`);
    for (let length = 0; length < bytes.length; length++) {
      expect(joined(bytes.slice(0, length)).length).toBeLessThanOrEqual(length);
    }
  });

  it('stands bytes that only look like a JPEG, a PNG or a WebP', () => {
    for (const magic of ['\xff\xd8\xff', '\x89PNG', 'RIFF....WEBP']) {
      for (const fill of [0, 1, 0x7f, 0xe1, 0xff]) {
        const bytes = new Uint8Array(4096).fill(fill);
        bytes.set(Buffer.from(magic, 'latin1'));
        expect(joined(bytes).length).toBeLessThanOrEqual(4096);
      }
    }
  });
});
