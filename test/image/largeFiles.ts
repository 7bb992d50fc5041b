/** Makes large image files in Node, each slow to decode for a different reason. */
import { crc32, deflateSync } from 'node:zlib';

export type Rows = (row: Uint8Array, y: number) => void;

/** Writes a row of waves with some noise, which deflate makes about a third smaller. */
export function wavesAt(row: Uint8Array, y: number): void {
  let seed = (y * 2654435761) >>> 0;
  for (let i = 0; i < row.length; i++) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    row[i] = ((i + 3 * y) & 127) + (seed >>> 27);
  }
}

const chunk = (kind: string, content: Uint8Array): Buffer => {
  const whole = Buffer.alloc(12 + content.length);
  whole.writeUInt32BE(content.length);
  whole.write(kind, 4, 'latin1');
  whole.set(content, 8);
  whole.writeUInt32BE(crc32(whole.subarray(4, 8 + content.length)), 8 + content.length);
  return whole;
};

/** An RGB PNG with a single IDAT chunk. Its rows use the Paeth filter. */
export function pngOf(width: number, height: number, bitDepth: 8 | 16, rows: Rows): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([bitDepth, 2], 8);
  const rowBytes = (width * 3 * bitDepth) / 8;
  const raw = Buffer.alloc(height * (1 + rowBytes));
  for (let y = 0; y < height; y++) {
    const at = y * (1 + rowBytes);
    raw[at] = 4;
    rows(raw.subarray(at + 1, at + 1 + rowBytes), y);
  }
  const data = deflateSync(raw, { level: 1 });
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** A GIF in 128 greys with one code for each pixel, the maximum number of codes. */
export function gifOf(width: number, height: number): Buffer {
  const head = Buffer.alloc(13 + 384 + 11);
  head.write('GIF89a');
  head.writeUInt16LE(width, 6);
  head.writeUInt16LE(height, 8);
  head[10] = 0xf6; // a palette of 128 colours
  for (let i = 0; i < 384; i++) head[13 + i] = (Math.floor(i / 3) * 2) & 255;
  head[397] = 0x2c;
  head.writeUInt16LE(width, 402);
  head.writeUInt16LE(height, 404);
  head[407] = 7;
  // A clear code before every 100 codes keeps the code size at 8 bits, so each code is one byte.
  const codes = Buffer.alloc(Math.ceil((width * height) / 100) * 101 + 1);
  let at = 0;
  for (let i = 0; i < width * height; i++) {
    if (i % 100 === 0) codes[at++] = 128;
    codes[at++] = (i + (i >> 9)) & 127;
  }
  codes[at++] = 129;
  const blocks: Uint8Array[] = [];
  for (let from = 0; from < at; from += 255) {
    const block = codes.subarray(from, Math.min(at, from + 255));
    blocks.push(Uint8Array.of(block.length), block);
  }
  return Buffer.concat([head, ...blocks, Uint8Array.of(0, 0x3b)]);
}

function bmpHeader(width: number, height: number, bits: number, compression: number): Buffer {
  const header = Buffer.alloc(54);
  header.write('BM');
  header.writeUInt32LE(bits === 8 ? 54 + 1024 : 54, 10);
  header.writeUInt32LE(40, 14);
  header.writeInt32LE(width, 18);
  header.writeInt32LE(height, 22);
  header.writeUInt16LE(1, 26);
  header.writeUInt16LE(bits, 28);
  header.writeUInt32LE(compression, 30);
  return header;
}

/** A BMP with 24 bits per pixel. */
export function bmpOf(width: number, height: number, rows: Rows): Buffer {
  const stride = Math.ceil((width * 3) / 4) * 4;
  const data = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) rows(data.subarray(y * stride, y * stride + width * 3), y);
  return Buffer.concat([bmpHeader(width, height, 24, 0), data]);
}

/** A run-length encoded BMP with 8 bits per pixel. Every run has two pixels. */
export function runsBmpOf(width: number, height: number): Buffer {
  const palette = Buffer.alloc(1024);
  for (let i = 0; i < 256; i++) palette.set([i, 255 - i, i >> 1, 0], 4 * i);
  const data = Buffer.alloc(height * (width + 2));
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x += 2) {
      data[at++] = 2;
      data[at++] = (x + y) & 255;
    }
    at += 2; // the bytes 0, 0 end a row
  }
  return Buffer.concat([bmpHeader(width, height, 8, 1), palette, data]);
}

/** A CMYK JPEG in mid-grey. Every Huffman code is the single bit 0. */
export function cmykOf(width: number, height: number): Buffer {
  const segment = (marker: number, ...content: number[]): Buffer => {
    const length = content.length + 2;
    return Buffer.from([0xff, marker, length >> 8, length & 255, ...content]);
  };
  const size = [height >> 8, height & 255, width >> 8, width & 255];
  const codes = [1, ...Array.from({ length: 15 }, () => 0), 0]; // a Huffman table with one code, of one bit, for the symbol 0
  const blocks = 4 * Math.ceil(width / 8) * Math.ceil(height / 8);
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    segment(0xee, ...Buffer.from('Adobe'), 0, 100, 0, 0, 0, 0, 0),
    segment(0xdb, 0, ...Array.from({ length: 64 }, () => 1)),
    segment(0xc0, 8, ...size, 4, ...[1, 2, 3, 4].flatMap((id) => [id, 0x11, 0])),
    segment(0xc4, 0, ...codes, 0x10, ...codes),
    segment(0xda, 4, ...[1, 2, 3, 4].flatMap((id) => [id, 0]), 0, 63, 0),
    Buffer.alloc(Math.ceil(blocks / 4)), // two bits per block
    Buffer.from([0xff, 0xd9]),
  ]);
}
