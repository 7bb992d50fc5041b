/**
 * Image files made to harm: headers that take long to read, claims of impossible sizes, and servers that send
 * too much, redirect to http, or get an address with a password.
 */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { plainAvif } from '../../src/image/avif.js';
import { decodeFile } from '../../src/image/decode.js';
import { fetchImage } from '../../src/image/fetchImage.js';
import { decodedBytes, readImageHeader } from '../../src/image/imageHeader.js';
import { plainWebp } from '../../src/image/webp.js';
import { read } from './files.js';

afterEach(() => vi.unstubAllGlobals());

const uint32 = (value: number): string =>
  String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
const uint32Little = (value: number): string => [...uint32(value)].reverse().join('');

/** `head`, then `part` repeated up to `size` bytes. */
function fileOf(head: string, part: string, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  bytes.fill(Buffer.from(part, 'latin1') as never);
  Buffer.from(bytes.buffer).fill(part, 'latin1').write(head, 'latin1');
  return bytes;
}

describe('a header of 32 MB', () => {
  const SIZE = 2 ** 25;
  const avif = (part: string): Uint8Array<ArrayBuffer> =>
    fileOf(`${uint32(24)}ftypavif\0\0\0\0mif1avif${uint32(SIZE - 24)}meta\0\0\0\0`, part, SIZE);
  const webp = (part: string): Uint8Array<ArrayBuffer> =>
    fileOf(`RIFF${uint32Little(SIZE - 8)}WEBP`, part, SIZE);

  // Before the limits, each of the first four took about a second.
  it.each([
    ['an AVIF of sizes', avif('ispe')],
    ['an AVIF of profiles', avif('\x7f\0\0\0colrprof')],
    ['an AVIF of empty boxes', avif(`${uint32(8)}abcd`)],
    ['a PNG of empty chunks', fileOf(`\x89PNG\r\n\x1a\n${uint32(13)}IHDR`, '\0\0\0\0abcdefgh', SIZE)],
    ['a WebP with an XMP', webp(`XMP ${uint32Little(SIZE - 20)}tiff:Orientation:`)],
    ['a WebP of empty chunks', webp('abcd\0\0\0\0')],
    ['a JPEG of fill bytes', fileOf('\xff\xd8', '\xff', SIZE)],
    ['a GIF of empty blocks', fileOf('GIF89a\x01\0\x01\0\0\0\0', '!\xf9\x01a\0', SIZE)],
  ])('%s is read within 400 ms', (_, bytes) => {
    const begin = process.cpuUsage(); // on a busy machine, a process waits for the CPU
    readImageHeader(bytes);
    if (bytes[4] === 0x66) plainAvif(bytes, 'file');
    if (bytes[8] === 0x57)
      try {
        plainWebp(bytes, 'file');
      } catch (error) {
        expect(error).toMatchObject({ code: 'IMAGE_DECODE' });
      }
    const { user, system } = process.cpuUsage(begin);
    expect((user + system) / 1000).toBeLessThan(400);
  });
});

describe('a box or chunk that ends too early, or claims too much', () => {
  const latin = (text: string): Uint8Array<ArrayBuffer> => new Uint8Array(Buffer.from(text, 'latin1'));
  const box = (kind: string, content = ''): string => `${uint32(8 + content.length)}${kind}${content}`;
  const chunk = (kind: string, content: string): string =>
    `${kind}${uint32Little(content.length)}${content}${content.length % 2 ? '\0' : ''}`;
  const uint24 = (value: number): string => uint32Little(value).slice(0, 3);
  const webp = (...chunks: string[]): Uint8Array<ArrayBuffer> => {
    const content = `WEBP${chunks.join('')}`;
    return latin(`RIFF${uint32Little(content.length)}${content}`);
  };
  const picture = chunk('VP8 ', `\0\0\0\x9d\x01\x2a\x10\0\x10\0${'\0'.repeat(10)}`);
  const frame = chunk('ANMF', `${uint24(0)}${uint24(0)}${uint24(15)}${uint24(15)}\0\0\0\0${picture}`);
  const animated = (width: number, height: number): string =>
    chunk('VP8X', `\x02\0\0\0${uint24(width - 1)}${uint24(height - 1)}`);
  const decoding = (bytes: Uint8Array<ArrayBuffer>): Promise<unknown> =>
    decodeFile(bytes, 'file', '', { losesAlpha: () => Promise.resolve(true) });

  it.each([
    ['pitm', box('pitm')],
    ['ipma', box('iprp', box('ipco') + box('ipma'))],
    ['irot', box('iprp', box('ipma', '\0\0\0\0\0\0\0\x01\0\x01\x01\x01') + box('ipco', box('irot')))],
    ['imir', box('iprp', box('ipma', '\0\0\0\0\0\0\0\x01\0\x01\x01\x01') + box('ipco', box('imir')))],
  ])('an AVIF that ends in the box %s is IMAGE_DECODE', async (_, inner) => {
    const avif = latin(box('ftyp', 'avif\0\0\0\0avif') + box('meta', `\0\0\0\0${inner}`));
    await expect(decoding(avif)).rejects.toMatchObject({
      code: 'IMAGE_DECODE',
      message: expect.stringMatching(/^file: expected a valid AVIF file, found a box that ends/) as string,
    });
  });

  it('a WebP has a canvas only if its first chunk is VP8X', () => {
    const whole = plainWebp(webp(animated(20, 20), frame), 'file');
    expect(whole.canvas).toEqual({ left: 0, top: 0, width: 20, height: 20 });
    for (const size of [20, 16_777_216])
      expect(plainWebp(webp(picture, animated(size, size), frame), 'file').canvas).toBeUndefined();
  });

  it('a canvas of more pixels than Pillow accepts is IMAGE_SIZE', async () => {
    for (const size of [16_000, 16_777_216]) {
      const bytes = (): Uint8Array<ArrayBuffer> => webp(animated(size, size), frame);
      expect(() => plainWebp(bytes(), 'file')).toThrow(/^file: expected at most 178956970 pixels/);
      await expect(decoding(bytes())).rejects.toMatchObject({ code: 'IMAGE_SIZE' });
    }
  });

  it.each([
    [
      'an AVIF with a box of unknown length before its sizes',
      () => latin(`${box('ftyp', 'avif\0\0\0\0avif')}\0\0\0\0free`),
    ],
    ['a file of an unknown format', () => latin('\x01\x02\x03\x04'.repeat(8))],
  ])('%s: the decoded bitmap is measured, and closed if it is too large', async (_, bytes) => {
    const close = vi.fn();
    vi.stubGlobal('createImageBitmap', async () => ({ width: 20_000, height: 9000, close }));
    await expect(decoding(bytes())).rejects.toMatchObject({ code: 'IMAGE_SIZE' });
    expect(close).toHaveBeenCalledOnce();
    vi.stubGlobal('createImageBitmap', async () => ({ width: 20_000, height: 8000, close }));
    await expect(decoding(bytes())).resolves.toMatchObject({ image: { width: 20_000 } });
    expect(close).toHaveBeenCalledOnce();
  });
});

it('a BMP with a negative width claims no negative memory', () => {
  const bmp = fileOf(`BM${'\0'.repeat(12)}${uint32Little(40)}\xff\xff\xff\xff\x01\0\0\0`, '\0', 54);
  expect(decodedBytes(readImageHeader(bmp))).toBeGreaterThan(2 ** 32);
});

it.each([
  ['the indices of a GIF', read('test/fixtures/pixels/images/palette.gif'), 42 * 28],
  ['the pixels of a GIF', read('test/fixtures/pixels/images/palette.gif'), 42 * 28 * 4],
  ['the pixels of a BMP', read('test/fixtures/pixels/images/rgb.bmp'), 42 * 28 * 4],
  [
    'the indices of a BMP with runs',
    fileOf(
      `BM${'\0'.repeat(8)}${uint32Little(1078)}${[40, 100, 90].map(uint32Little).join('')}\x01\0\x08\0\x01${'\0'.repeat(23)}`,
      '\x01',
      2000,
    ),
    9000,
  ],
])('no memory for %s: an error with a code of this library', async (_, bytes, length) => {
  vi.stubGlobal(
    'Uint8Array',
    new Proxy(Uint8Array, {
      construct: (target, args: unknown[], made: new () => object): object => {
        if (args[0] === length) throw new RangeError('Array buffer allocation failed');
        return Reflect.construct(target, args, made) as object;
      },
    }),
  );
  await expect(
    decodeFile(bytes, 'file', '', { losesAlpha: () => Promise.resolve(true) }),
  ).rejects.toMatchObject({
    code: 'IMAGE_SIZE',
    message: expect.stringMatching(/^file: not enough memory for \d+ × \d+ pixels\./) as string,
  });
});

describe('an image by URL', () => {
  const url = 'https://example.com/a.png?token=secret';
  const answer = (response: Response, at = url): void => {
    Object.defineProperty(response, 'url', { value: at });
    vi.stubGlobal('fetch', async () => response);
  };

  it('gives the bytes and the type', async () => {
    answer(new Response(Uint8Array.of(1, 2, 3), { headers: { 'content-type': 'image/png' } }));
    const { blob, name } = await fetchImage(url, undefined);
    expect([...new Uint8Array(await blob.arrayBuffer())]).toEqual([1, 2, 3]);
    expect(blob.type).toBe('image/png');
    expect(name).toBe('https://example.com/a.png');
  });

  it('of an endless body is refused after 1 GiB, and the body is cancelled', async () => {
    const chunk = new Uint8Array(2 ** 26);
    const cancel = vi.fn();
    let sent = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        controller.enqueue(chunk);
        sent += 1;
      },
      cancel,
    });
    answer(new Response(endless));
    await expect(fetchImage(url, undefined)).rejects.toMatchObject({ code: 'IMAGE_SIZE' });
    expect(sent).toBeLessThanOrEqual(19);
    expect(cancel).toHaveBeenCalledOnce();
  });

  it('of an announced length above 1 GiB is refused before its body is read', async () => {
    answer(new Response(new ReadableStream({}), { headers: { 'content-length': String(2 ** 31) } }));
    await expect(fetchImage(url, undefined)).rejects.toMatchObject({ code: 'IMAGE_SIZE' });
  });

  it('that redirects from https to http is refused', async () => {
    answer(new Response('x'), 'http://example.com/a.png');
    await expect(fetchImage(url, undefined)).rejects.toMatchObject({
      code: 'IMAGE_FETCH',
      message: expect.stringMatching(/^https:\/\/example\.com\/a\.png: the server redirected/) as string,
    });
  });

  it('with a password is refused without a request, and no message repeats a secret', async () => {
    const fetched = vi.fn();
    vi.stubGlobal('fetch', fetched);
    for (const address of ['https://someone:secret@example.com/a.png', 'http://[?token=secret'])
      await expect(fetchImage(address, undefined)).rejects.toMatchObject({
        code: 'IMAGE_FETCH',
        message: expect.not.stringContaining('secret') as string,
      });
    expect(fetched).not.toHaveBeenCalled();
  });
});
