// The library's PNG decoder: pixels compared with Pillow, and rejection of invalid files.
import { crc32, deflateSync } from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.js';
import { decodePng } from '../../src/image/png.js';
import { Random } from '../random.js';
import { read } from './files.js';
import { difference, tensorOf } from './fixtures.js';

const ours = read('test/fixtures/pixels/png.safetensors');
const names = [...parseSafetensors(ours).tensors.keys()]
  .filter((name) => name.endsWith('.png'))
  .map((name) => name.slice(0, -4));
const fixture = (name: string): Uint8Array<ArrayBuffer> => tensorOf(ours, `${name}.png`).bytes;
const decode = (bytes: Uint8Array<ArrayBuffer>, signal?: AbortSignal) => decodePng(bytes, 'file.png', signal);

async function rgbOf(bytes: Uint8Array<ArrayBuffer>): Promise<{ bytes: Uint8Array; shape: number[] }> {
  const { data, width, height } = await decode(bytes);
  return { bytes: data.filter((_, i) => i % 4 !== 3), shape: [height, width, 3] };
}

/** A PNG made of these chunks, with valid checksums. */
function pngOf(...chunks: readonly (readonly [string, Uint8Array])[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)];
  for (const [kind, content] of chunks) {
    const chunk = Buffer.alloc(12 + content.length);
    chunk.writeUInt32BE(content.length);
    chunk.write(kind, 4, 'latin1');
    chunk.set(content, 8);
    chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + content.length)), 8 + content.length);
    parts.push(chunk);
  }
  return new Uint8Array(Buffer.concat(parts));
}
function header(
  width: number,
  height: number,
  bitDepth: number,
  colourType: number,
  rest: readonly number[] = [0, 0, 0],
): readonly [string, Uint8Array] {
  const content = Buffer.alloc(13);
  content.writeUInt32BE(width);
  content.writeUInt32BE(height, 4);
  content.set([bitDepth, colourType, ...rest], 8);
  return ['IHDR', content];
}
const end = ['IEND', new Uint8Array(0)] as const;
const data = (...bytes: number[]) => ['IDAT', new Uint8Array(deflateSync(Uint8Array.from(bytes)))] as const;
const grey2 = header(2, 1, 8, 0);

describe('decodePng', () => {
  it.each(names)(`%s: the bytes equal those of Pillow's convert("RGB")`, async (name) => {
    const expected = tensorOf(ours, `${name}.rgb`);
    const found = await rgbOf(fixture(name));
    expect(found.shape).toEqual(expected.shape);
    expect(difference(found.bytes, expected.bytes)).toEqual({ bytes: 0, most: 0 });
  });

  it.each([
    'rgba',
    'palette-transparency',
    'grey-alpha',
    'bit',
    'gamma',
    'rgb16-interlaced',
    'exif6',
    '300x1',
    '8000x2',
    '2x8000',
  ])(`%s.png of the image fixtures: the bytes equal those of Pillow's convert("RGB")`, async (name) => {
    const expected = tensorOf(read('test/fixtures/pixels/expected.safetensors'), `${name}.png.rgb`);
    const found = await rgbOf(read(`test/fixtures/pixels/images/${name}.png`));
    expect(found.shape).toEqual(expected.shape);
    expect(difference(found.bytes, expected.bytes)).toEqual({ bytes: 0, most: 0 });
  });

  it("an image with deflate's highest possible compression ratio is decoded", async () => {
    const packed = new Uint8Array(deflateSync(new Uint8Array(1024 * 1025), { level: 9 }));
    expect(1024 * 1025).toBeGreaterThan(1000 * packed.length);
    const { data: rgba } = await decode(pngOf(header(8192, 1024, 1, 0), ['IDAT', packed], end));
    expect(new Uint32Array(rgba.buffer).every((pixel) => pixel === 0xff000000)).toBe(true);
  });

  it('clamps 16-bit grey to 255, and keeps the high byte of 16-bit colours, as Pillow does', async () => {
    const grey = await decode(pngOf(header(3, 1, 16, 0), data(0, 0, 128, 1, 0, 255, 255), end));
    expect([0, 4, 8].map((i) => grey.data[i])).toEqual([128, 255, 255]);
    const colour = await decode(pngOf(header(1, 1, 16, 2), data(0, 0, 255, 1, 255, 255, 0), end));
    expect([...colour.data]).toEqual([0, 1, 255, 255]);
  });

  it('shows indices beyond the palette as black, as Pillow does', async () => {
    const { data: rgba } = await decode(
      pngOf(header(2, 1, 8, 3), ['PLTE', Uint8Array.of(9, 8, 7)], data(0, 0, 1), end),
    );
    expect([...rgba]).toEqual([9, 8, 7, 255, 0, 0, 0, 255]);
  });

  it('ignores data after the last row, and unknown chunks', async () => {
    const { data: rgba } = await decode(
      pngOf(grey2, ['tEXt', Uint8Array.of(1)], data(0, 5, 6, 7, 7, 7), end, ['eXIf', Uint8Array.of(1)]),
    );
    expect([rgba[0], rgba[4]]).toEqual([5, 6]);
    const unknown = pngOf(grey2, ['ABCD', new Uint8Array(0)], data(0, 5, 6), end);
    expect((await decode(unknown)).data[4]).toBe(6);
  });

  it('fills missing rows with 0, as Pillow does', async () => {
    const { data: rgba } = await decode(pngOf(header(2, 2, 8, 0), data(0, 1, 2), end));
    expect([0, 4, 8, 12].map((i) => rgba[i])).toEqual([1, 2, 0, 0]);
  });
});

/** Records the length of every `Uint8Array` made from now on. Lengths of `tooMany` or more fail to allocate. */
function watchAllocations(tooMany = Infinity): number[] {
  const lengths: number[] = [];
  const construct = (target: Uint8ArrayConstructor, args: unknown[], made: new () => object): object => {
    if (typeof args[0] === 'number') {
      if (args[0] >= tooMany) throw new RangeError('Array buffer allocation failed');
      lengths.push(args[0]);
    }
    return Reflect.construct(target, args, made) as object;
  };
  vi.stubGlobal('Uint8Array', new Proxy(Uint8Array, { construct }));
  return lengths;
}

describe('invalid files are rejected', () => {
  afterEach(() => vi.unstubAllGlobals());

  it.each<[string, Uint8Array<ArrayBuffer>, RegExp]>([
    ['an empty file', new Uint8Array(0), /a valid signature, found other bytes/],
    ['only the signature', pngOf(), /ends too early: at byte 8 without image data \(IDAT\)/],
    ['no IHDR', pngOf(data(0, 1, 2), end), /one IHDR of 13 bytes as the first chunk, found IDAT of/],
    ['two IHDR', pngOf(grey2, grey2, data(0, 1, 2), end), /one IHDR/],
    ['a short IHDR', pngOf(['IHDR', new Uint8Array(12)], end), /found IHDR of 12/],
    [
      'a width of 0',
      pngOf(header(0, 1, 8, 0), end),
      /a valid IHDR, found 0 × 1 pixels, then the bytes 8, 0, 0, 0, 0/,
    ],
    ['a depth of 3 bits', pngOf(header(1, 1, 3, 0), end), /found 1 × 1 pixels, then the bytes 3, 0, 0, 0, 0/],
    ['colour type 5', pngOf(header(1, 1, 8, 5), end), /then the bytes 8, 5, 0, 0, 0/],
    ['a palette with 16 bits', pngOf(header(1, 1, 16, 3), end), /then the bytes 16, 3, 0, 0, 0/],
    ['an unknown compression', pngOf(header(1, 1, 8, 0, [1, 0, 0]), end), /then the bytes 8, 0, 1, 0, 0/],
    ['interlace method 2', pngOf(header(1, 1, 8, 0, [0, 0, 2]), end), /then the bytes 8, 0, 0, 0, 2/],
    [
      'no palette',
      pngOf(header(1, 1, 8, 3), data(0, 0), end),
      /a palette of whole RGB triples, found 0 bytes/,
    ],
    [
      'a palette that ends within a colour',
      pngOf(header(1, 1, 8, 3), ['PLTE', new Uint8Array(4)], data(0, 0), end),
      /found 4 bytes\./,
    ],
    ['no IDAT', pngOf(grey2, end), /data that can inflate to 3 bytes, found 0 bytes/],
    [
      'data that ends within a row',
      pngOf(header(2, 2, 8, 0), data(0, 1, 2, 0), end),
      /inflate to 4 of 6 bytes/,
    ],
    ['filter type 5', pngOf(grey2, data(5, 1, 2), end), /filters 0 to 4, found 5/],
    [
      'image data that is not deflate',
      pngOf(grey2, ['IDAT', Uint8Array.of(1, 2, 3, 4)], end),
      /valid compressed data, found an error after 0 of 3 bytes/,
    ],
    [
      'more pixels than the data can inflate to',
      pngOf(header(8192, 8192, 16, 6), data(0, 0), end),
      /data that can inflate to 536879104 bytes, found 10 bytes/,
    ],
  ])('%s', async (_, bytes, message) => {
    await expect(decode(bytes)).rejects.toMatchObject({
      name: 'ImageError',
      code: 'IMAGE_DECODE',
      message: expect.stringMatching(
        /^file\.png: (expected a PNG with .*\. Save the image again|the PNG file ends too early: .*\. Copy or download the file again)\.$/,
      ) as string,
    });
    await expect(decode(bytes)).rejects.toThrow(message);
  });

  it('an image with too many pixels, before its pixels are allocated', async () => {
    await expect(decode(pngOf(header(89_478_486, 2, 8, 0), end))).rejects.toMatchObject({
      code: 'IMAGE_SIZE',
      message:
        "file.png: expected at most 178956970 pixels (Pillow's limit), found 89478486 × 2. Make the image smaller first.",
    });
    await expect(decode(pngOf(header(4_294_967_295, 4_294_967_295, 16, 6), end))).rejects.toMatchObject({
      code: 'IMAGE_SIZE',
    });
  });

  it('a header with more pixels than its data can inflate to, before they are allocated', async () => {
    const allocated = watchAllocations();
    for (const [width, height, interlace] of [
      [8192, 8192, 0],
      [8192, 8192, 1],
      [1, 8192, 0],
    ] as const) {
      await expect(
        decode(pngOf(header(width, height, 8, 0, [0, 0, interlace]), data(), end)),
      ).rejects.toMatchObject({ code: 'IMAGE_DECODE' });
    }
    expect(Math.max(0, ...allocated)).toBeLessThan(8192);
  });

  it('a failed allocation, with an error code of this library', async () => {
    watchAllocations(8 * 4);
    const refused = decode(pngOf(header(4, 2, 8, 0), data(0, 1, 2, 3, 4, 0, 1, 2, 3, 4), end));
    await expect(refused).rejects.toMatchObject({
      name: 'ImageError',
      code: 'IMAGE_SIZE',
      message: 'file.png: not enough memory for 4 × 2 pixels. Make the image smaller first.',
    });
  });

  it('a flipped bit in any byte that Pillow checks', async () => {
    const whole = fixture('2-8-9x2');
    const { data: right } = await decode(whole);
    for (let at = 0; at < whole.length; at++) {
      const bytes = whole.slice();
      bytes[at]! ^= 1 << (at % 8);
      const found = await decode(bytes).catch((error: unknown) => error);
      // Pillow 12.3 ignores damage in the other bytes: it checks neither the checksum of the image data nor IEND.
      const counts = at < 73 || (at > 80 && at < 118 && at !== 113);
      if (counts) expect(found, `byte ${at}`).toMatchObject({ name: 'ImageError' });
      else expect((found as { data: Uint8Array }).data, `byte ${at}`).toEqual(right);
    }
  });

  it('a file that ends anywhere in its data', async () => {
    const whole = fixture('6-16-adam7-14x14');
    for (let length = 0; length < whole.length - 20; length += 7)
      await expect(decode(whole.slice(0, length)), `${length} bytes`).rejects.toMatchObject({
        code: 'IMAGE_DECODE',
      });
  });

  it('random bytes with valid checksums', async () => {
    const random = new Random(7);
    for (let i = 0; i < 500; i++) {
      const packed = new Uint8Array(
        deflateSync(
          Uint8Array.from({ length: Math.floor(random.next() * 60) }, () => Math.floor(random.next() * 6)),
        ),
      );
      if (random.next() < 0.5)
        packed[Math.floor(random.next() * packed.length)]! ^= 1 << Math.floor(random.next() * 8);
      const shape = header(
        1 + Math.floor(random.next() * 4),
        1 + Math.floor(random.next() * 4),
        8,
        [0, 2, 4, 6][Math.floor(random.next() * 4)]!,
        [0, 0, Math.floor(random.next() * 2)],
      );
      const outcome = await decode(pngOf(shape, ['IDAT', packed], end)).then(
        () => 'decoded',
        (error: { code?: string }) => error.code,
      );
      expect(['decoded', 'IMAGE_DECODE']).toContain(outcome);
    }
  });

  it('an aborted decode, with the reason of the abort', async () => {
    const reason = new Error('enough');
    await expect(decode(fixture('6-16-14x14'), AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});
