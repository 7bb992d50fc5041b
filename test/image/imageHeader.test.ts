// readImageHeader: size, colour profile and alpha of an image file, read without decoding it.
import { deflateSync } from 'node:zlib';
import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodeFile } from '../../src/image/decode.js';
import { decodedBytes, readImageHeader } from '../../src/image/imageHeader.js';
import { parseSafetensors } from '../../src/safetensors.js';
import { isSrgbProfile } from '../../src/image/iccProfile.js';
import { read } from './files.js';
import { tensorOf } from './fixtures.js';
import { DISPLAY_P3, profileOf, SRGB, withProfile } from './iccProfiles.js';

const sizeOf = (name: string): number => {
  const { width, height } = readImageHeader(fixture(name))!;
  return width * height;
};
const fixture = (name: string): Uint8Array<ArrayBuffer> => read(`test/fixtures/pixels/images/${name}`);

function chunk(kind: string, content: number[] | Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([length, Buffer.from(kind), Uint8Array.from(content), Buffer.alloc(4)]);
}
const uint32s = (...values: number[]): number[] =>
  values.flatMap((value) => [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]);
const png = (...chunks: Buffer[]): Uint8Array =>
  Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', [...uint32s(300, 200), 8, 2, 0, 0, 0]),
    ...chunks,
    chunk('IDAT', deflateSync(Buffer.alloc(200 * 901))),
  ]);
const segment = (marker: number, content: Uint8Array): Buffer =>
  Buffer.from([0xff, marker, (content.length + 2) >> 8, (content.length + 2) & 255, ...content]);

describe('the size in the header', () => {
  it('of every fixture equals the size that sharp reads', async () => {
    const awkward = read('test/fixtures/images/awkward.safetensors');
    const whole = [...parseSafetensors(awkward).tensors.keys()]
      .filter((name) => /^(jpeg|png|apng|webp|camera|type)[\w-]*\.\w+$/.test(name))
      .filter((name) => !/\d8\.|minus|flip|lost|length|wrong|outside|no-frame/.test(name));
    let compared = 0;
    const files: [string, Uint8Array][] = whole.map((name) => [name, tensorOf(awkward, name).bytes]);
    for (const name of ['rgb.png', '420.avif', '444.avif', '420.jpg', 'progressive.jpg', 'lossy.webp'])
      files.push([name, fixture(name)]);
    for (const [name, bytes] of files) {
      const before = Uint8Array.from(bytes);
      const theirs = await sharp(bytes)
        .metadata()
        .catch(() => undefined); // sharp rejects some damaged files that Pillow reads
      if (!theirs) continue;
      const { width, height } = theirs;
      expect(readImageHeader(bytes), name).toMatchObject({ width, height });
      expect(bytes).toEqual(before);
      compared += 1;
    }
    expect(compared).toBeGreaterThan(150);
  });

  it('of BMP and GIF', () => {
    const comment = [0x21, 0xfe, 2, 0x2c, 0x2c, 1, 0x2c, 0];
    const gif = Buffer.concat([
      Buffer.from('GIF89a\x2c\x01\xc8\0\0\0\0', 'latin1'),
      Buffer.from(comment),
      Buffer.from([0x2c, 10, 0, 20, 0, 0x10, 0, 0x20, 0]),
    ]);
    expect(readImageHeader(gif)).toEqual({
      width: 300,
      height: 200,
      hasColorProfile: false,
      hasAlpha: true,
      bytesPerPixel: 5,
    });
    gif[gif.length - 3] = 4; // a frame that extends beyond its screen
    expect(readImageHeader(gif)).toMatchObject({ width: 10 + 1040, height: 200 });
    expect(decodedBytes(readImageHeader(gif))).toBe(5 * 1050 * 200);
    const bmp = Buffer.from(fixture('rgb.bmp'));
    const height = bmp.readInt32LE(22);
    expect(readImageHeader(bmp)).toEqual({
      width: bmp.readInt32LE(18),
      height,
      hasColorProfile: false,
      hasAlpha: false,
      bytesPerPixel: 4,
    });
    bmp.writeUInt32LE(1, 30); // run-length encoding
    expect(readImageHeader(bmp)?.bytesPerPixel).toBe(5);
    bmp.writeInt32LE(-height, 22); // a negative height: rows are stored from the top
    expect(readImageHeader(bmp)).toMatchObject({ height });
  });

  it('of a JPEG is found after fill bytes, garbage, an Exif thumbnail and empty markers', () => {
    const jpeg = fixture('420.jpg');
    const { width, height } = readImageHeader(jpeg)!;
    const exif = segment(0xe1, Buffer.concat([Buffer.from('Exif\0\0'), fixture('grey.jpg')]));
    const around = [Buffer.from([0xff, 0xff]), exif, Buffer.from([0xff, 1, 0xff, 0xd0, 7, 7])];
    const file = Buffer.concat([jpeg.subarray(0, 2), ...around, jpeg.subarray(2)]);
    expect(readImageHeader(file)).toEqual({
      width,
      height,
      hasColorProfile: false,
      hasAlpha: false,
      bytesPerPixel: 4,
    });
    expect(decodedBytes(readImageHeader(file))).toBe(4 * width * height);
    expect(decodedBytes(readImageHeader(fixture('cmyk.jpg')))).toBe(20 * sizeOf('cmyk.jpg'));
    expect(decodedBytes(undefined)).toBe(0);
  });

  it('of a JPEG full of garbage is given up after a short search', () => {
    // A search byte by byte would take 64 million steps.
    const spentMs = (bytes: Uint8Array): number => {
      const before = process.cpuUsage();
      readImageHeader(bytes);
      const { user, system } = process.cpuUsage(before);
      return (user + system) / 1000;
    };
    for (const [what, garbage] of [
      ['stuffed bytes', [0xff, 0]],
      ['fill', [0xff]],
      ['empty segments', [0xff, 0xe0, 0, 2]],
      ['lone markers', [0xff, 0xd0]],
      ['no marker', [7]],
    ] as const) {
      const bytes = Buffer.alloc(2 ** 26, Buffer.from(garbage));
      bytes.set([0xff, 0xd8, 0xff, 0xff]);
      spentMs(bytes.subarray(0, 2 ** 20)); // lets the JavaScript engine compile the code first
      expect(readImageHeader(bytes), what).toBeUndefined();
      expect(spentMs(bytes), what).toBeLessThan(60);
    }
    const gif = Buffer.alloc(2 ** 26);
    gif.write('GIF89a');
    expect(spentMs(gif)).toBeLessThan(60);
  });

  it('is undefined for other files, and for files that end before their size field', () => {
    for (const name of ['420.jpg', 'rgb.png', 'alpha.webp', '420.avif', 'rgb.bmp', 'palette.gif']) {
      const bytes = fixture(name);
      const whole = readImageHeader(bytes);
      expect(whole).toBeDefined();
      for (let length = 0; length < Math.min(bytes.length, 1500); length++) {
        const found = readImageHeader(bytes.subarray(0, length));
        if (found && name !== '420.avif') expect(found, `${name} ${length}`).toEqual(whole);
      }
    }
    expect(readImageHeader(Buffer.from('no image'))).toBeUndefined();
    expect(readImageHeader(new Uint8Array(0))).toBeUndefined();
  });
});

describe('a colour profile', () => {
  const inPng = (...chunks: Buffer[]): boolean | undefined =>
    readImageHeader(png(...chunks))?.hasColorProfile;
  const primaries = uint32s(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000);

  it.each([
    ['profile.jpg', true],
    ['profile.png', true],
    ['profile-alpha.png', true],
    ['profile.webp', true],
    ['profile-alpha.webp', true],
    ['gamma.png', true],
    ['420.jpg', false],
    ['cmyk.jpg', false],
    ['rgb.png', false],
    ['lossy.webp', false],
    ['lossless.webp', false],
    ['alpha.webp', false],
    ['444.avif', false],
    ['palette.gif', false],
  ])('of %s: %s', (name, has) => {
    expect(readImageHeader(fixture(name))?.hasColorProfile).toBe(has);
  });

  it('of a photograph of the demo', () => {
    const rocket = readFileSync(new URL('../../demo/photos/rocket.jpg', import.meta.url));
    expect(readImageHeader(rocket)).toEqual({
      width: 640,
      height: 427,
      hasColorProfile: true,
      hasAlpha: false,
      bytesPerPixel: 4,
    });
  });

  it.each<[string, boolean, Uint8Array, number?]>([
    ['sRGB', false, profileOf(SRGB, 'sRGB')],
    ['sRGB with a curve of 1024 entries', false, profileOf(SRGB, { entries: 1024 })],
    ['sRGB with a curve of 64 entries, interpolated linearly', false, profileOf(SRGB, { entries: 64 })],
    ['sRGB with a curve of 8 entries', true, profileOf(SRGB, { entries: 8 })],
    ['sRGB in two segments', true, profileOf(SRGB, 'sRGB'), 2],
    ['sRGB with a table of colours', true, profileOf(SRGB, 'sRGB', ['A2B0'])],
    ['primaries of sRGB with a gamma of 2.2', true, profileOf(SRGB, { gamma: 2.2 })],
    ['Display P3', true, profileOf(DISPLAY_P3, 'sRGB')],
    ['no bytes', true, new Uint8Array(0)],
    ['truncated sRGB', true, profileOf(SRGB, 'sRGB').subarray(0, 300)],
  ])('of a JPEG with the profile of %s: %s', (_, has, profile, segments) => {
    expect(readImageHeader(withProfile(fixture('420.jpg'), profile, segments))?.hasColorProfile).toBe(has);
  });

  it('of files written by sharp', async () => {
    for (const [profile, has] of [
      ['srgb', false],
      ['p3', true],
    ] as const) {
      const picture = sharp(fixture('rgb.png')).withIccProfile(profile);
      for (const bytes of [await picture.jpeg().toBuffer(), await picture.webp().toBuffer()])
        expect(readImageHeader(bytes)?.hasColorProfile).toBe(has);
    }
  });

  it('isSrgbProfile throws no error if any byte of a profile is changed or its end is missing', () => {
    const profile = profileOf(SRGB, 'sRGB');
    for (let i = 0; i < profile.length; i++) {
      isSrgbProfile(profile.with(i, 255));
      isSrgbProfile(profile.subarray(0, i));
    }
    expect(isSrgbProfile(profile)).toBe(true);
  });

  it.each([
    ['444.jpg', false],
    ['rgb.png', false],
    ['grey.png', false],
    ['palette.png', false],
    ['rgba.png', true],
    ['grey-alpha.png', true],
    ['palette-transparency.png', true],
    ['lossy.webp', false],
    ['lossless.webp', false],
    ['lossy-alpha.webp', true],
    ['alpha.webp', true],
    ['444.avif', false],
    ['rgb.bmp', false],
  ])('whether %s may be transparent: %s', (name, may) => {
    expect(readImageHeader(fixture(name))?.hasAlpha).toBe(may);
  });

  it('of a PNG is read from cICP, else iCCP, else sRGB, else gAMA with cHRM', () => {
    expect(inPng()).toBe(false);
    expect(inPng(chunk('gAMA', uint32s(45455)))).toBe(false);
    expect(inPng(chunk('gAMA', uint32s(45455)), chunk('cHRM', primaries))).toBe(true); // changes Chromium's colours by up to 9 of 255
    expect(inPng(chunk('gAMA', uint32s(100000)))).toBe(true);
    expect(inPng(chunk('cHRM', primaries.with(3, 0)))).toBe(false);
    expect(inPng(chunk('gAMA', uint32s(100000)), chunk('sRGB', [0]))).toBe(false);
    expect(inPng(chunk('sRGB', [0]), chunk('iCCP', [65, 0, 0, 1]))).toBe(true);
    expect(inPng(chunk('cICP', [1, 13, 0, 1]), chunk('iCCP', [65, 0, 0, 1]))).toBe(false);
    expect(inPng(chunk('cICP', [12, 13, 0, 1]))).toBe(true);
    expect(inPng(chunk('cICP', [9, 16, 0, 1]))).toBe(true);
  });

  it('of an AVIF: colr with a profile, or with other primaries or transfer', () => {
    const data = Buffer.from(fixture('444.avif'));
    const at = data.indexOf('colrnclx') + 8;
    expect(at).toBeGreaterThan(8);
    const hasIt = (primary: number, transfer: number): boolean | undefined => {
      data.writeUInt16BE(primary, at);
      data.writeUInt16BE(transfer, at + 2);
      return readImageHeader(data)?.hasColorProfile;
    };
    expect([hasIt(1, 13), hasIt(1, 1), hasIt(2, 2), hasIt(1, 6)]).toEqual([false, false, false, false]);
    expect([hasIt(12, 13), hasIt(9, 16), hasIt(1, 16), hasIt(1, 8)]).toEqual([true, true, true, true]);
    data.write('prof', at - 4);
    expect(readImageHeader(data)?.hasColorProfile).toBe(true);
  });

  it('of a BMP: calibrated or embedded', () => {
    const bmp = Buffer.from(fixture('rgb.bmp'));
    bmp.writeUInt32LE(124, 14);
    const hasIt = (space: string): boolean | undefined => {
      bmp.write(space, 70, 'latin1');
      return readImageHeader(bmp)?.hasColorProfile;
    };
    expect(['BGRs', ' niW', 'DEBM', '\0\0\0\0'].map(hasIt)).toEqual([false, false, true, true]);
  });

  it('is reported for a decoded file', async () => {
    const decode = (name: string) =>
      decodeFile(fixture(name), name, '', { losesAlpha: () => Promise.resolve(true) });
    expect(await decode('profile.png')).toMatchObject({ showsStoredColors: false, orientation: 1 });
    expect(await decode('rgb.png')).toMatchObject({ showsStoredColors: true });
    expect(await decode('rgba.png')).toMatchObject({ showsStoredColors: false });
  });
});
