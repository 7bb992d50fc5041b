/**
 * Makes PNG files of images that exceed the maximum texture size (`large_cases` of
 * scripts/make-fixtures/make_pixels.py). Runs in Node and in a browser.
 */
import { noiseImage } from './fixtures.js';

export interface LargeCase {
  readonly kind: 'noise' | 'file';
  readonly width: number;
  readonly height: number;
  readonly orientation: number;
  readonly sha256: string;
}

/** The PNG file of a case: noise has 8 bits per channel, a pattern has 1 bit per pixel. */
export async function largeFile({ kind, width, height, orientation }: LargeCase): Promise<Blob> {
  const rows = kind === 'noise' ? noiseRows(width, height) : patternRows(width, height);
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header.set(kind === 'noise' ? [8, 2] : [1, 0], 8);
  // A TIFF header with one entry: tag 274 (orientation), one SHORT.
  const exif = [
    0x4d,
    0x4d,
    0,
    42,
    0,
    0,
    0,
    8,
    0,
    1,
    1,
    18,
    0,
    3,
    0,
    0,
    0,
    1,
    0,
    orientation,
    0,
    0,
    0,
    0,
    0,
    0,
  ];
  return new Blob([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10),
    chunk('IHDR', header),
    ...(orientation === 1 ? [] : [chunk('eXIf', Uint8Array.from(exif))]),
    chunk('IDAT', await deflated(rows)),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** PNG rows of noise, each with a leading filter byte of 0 (no filter). */
function noiseRows(width: number, height: number): Uint8Array<ArrayBuffer> {
  const { data } = noiseImage(width, height);
  const rows = new Uint8Array(height * (1 + width * 3));
  for (let y = 0; y < height; y++)
    rows.set(data.subarray(y * width * 3, (y + 1) * width * 3), y * (1 + width * 3) + 1);
  return rows;
}

function patternRows(width: number, height: number): Uint8Array<ArrayBuffer> {
  const rowBytes = 1 + Math.ceil(width / 8);
  const rows = new Uint8Array(height * rowBytes);
  for (let y = 0; y < height; y++) {
    const down = Math.floor(y / 64) * 3;
    for (let x = 0; x < width; x++) {
      const value = Math.floor(x / 48) * 5 + down + Math.floor((x * y) / 100_003);
      if (value % 7 < 3) rows[y * rowBytes + 1 + (x >> 3)]! |= 128 >> (x & 7);
    }
  }
  return rows;
}

async function deflated(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function chunk(type: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (const byte of bytes.subarray(4, 8 + data.length)) crc = crcTable[(crc ^ byte) & 255]! ^ (crc >>> 8);
  view.setUint32(8 + data.length, ~crc);
  return bytes;
}
