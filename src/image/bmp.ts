/**
 * BMP decoder with 8-bit RGB output. Reads the variants that Pillow 12.3 reads, and rounds as Pillow does.
 * Browsers round 5-bit channels differently, blend alpha, and show the readable part of a truncated file.
 */
import type { ImageError } from '../errors.js';
import { Slices } from '../platform/pause.js';
import type { Pixels } from './pixels.js';
import { checkPixels, damaged, endsTooEarly, pixelMemory, SLICE_MS } from './decodeErrors.js';

const [RAW, RLE8, RLE4, BITFIELDS] = [0, 1, 2, 3];
/**
 * Number of pixels written before the decoder checks whether to pause for other tasks. A multiple of 8,
 * because a byte may hold 8 pixels.
 */
const PIXELS_PER_STEP = 2 ** 16;
/** Number of run-length codes unpacked before the decoder checks whether to pause for other tasks. */
const RUNS_PER_STEP = 4096;

/**
 * Byte offsets of red, green and blue in a 32-bit pixel. Key: the file's bit masks in hexadecimal (red,
 * green, blue, alpha).
 */
const BYTES_OF_MASKS: Readonly<Record<string, readonly number[]>> = {
  'ff0000,ff00,ff,0': [2, 1, 0],
  'ff000000,ff0000,ff00,0': [3, 2, 1],
  'ff000000,ff00,ff,0': [3, 1, 0],
  'ff000000,ff0000,ff00,ff': [3, 2, 1],
  'ff,ff00,ff0000,ff000000': [0, 1, 2],
  'ff0000,ff00,ff,ff000000': [2, 1, 0],
  'ff000000,ff00,ff,ff0000': [3, 1, 0],
  '0,0,0,0': [2, 1, 0],
};
/**
 * The accepted formats of 16-bit pixels: true if green has 6 bits, false if green has 5 bits. Key: the file's
 * bit masks in hexadecimal (red, green, blue).
 */
const GREEN_OF_MASKS: Readonly<Record<string, boolean>> = { 'f800,7e0,1f': true, '7c00,3e0,1f': false };

interface Bitmap {
  readonly width: number;
  readonly height: number;
  readonly topDown: boolean;
  readonly bits: number;
  readonly compression: number;
  /** Offset of the first pixel in the file. */
  readonly begin: number;
  /**
   * Decodes `count` pixels of `bytes` from offset `from` and writes them to `data` from offset `to`, as RGBA.
   */
  readonly writeRow: (data: Uint8Array, to: number, bytes: Uint8Array, from: number, count: number) => void;
  /** Bits per pixel in the bytes that `writeRow` reads. */
  readonly readBits: number;
}

/**
 * Decodes a BMP.
 *
 * @throws ImageError IMAGE_DECODE, if Pillow refuses the file; IMAGE_SIZE, if the image has more pixels than
 *   `checkPixels` allows or than memory holds
 * @throws `signal.reason` after an abort
 */
export async function decodeBmp(bytes: Uint8Array, name: string, signal?: AbortSignal): Promise<Pixels> {
  const bitmap = readHeader(bytes, name);
  const { width, height, bits, compression, begin, readBits } = bitmap;
  checkPixels(name, { width, height });
  if (width === 0 || height === 0) throw damaged(name, 'BMP', `${width} × ${height} pixels`);
  const slices = new Slices(SLICE_MS, signal);
  let [source, first, stride] = [bytes, begin, Math.floor((width * bits + 31) / 32) * 4];
  if (compression === RLE8 || compression === RLE4) {
    source = await unpackRuns(bytes, bitmap, name, slices);
    [first, stride] = [0, width];
  } else {
    const rowBytes = Math.ceil((width * readBits) / 8);
    const needed = begin + stride * (height - 1) + rowBytes;
    if (rowBytes > stride) throw damaged(name, 'BMP', `${bits} bits a pixel and a palette of grey`);
    if (needed > bytes.length) throw endsTooEarly(name, 'BMP', `at byte ${bytes.length} of ${needed}`);
  }
  const data = pixelMemory(name, width, height, 4);
  for (let y = 0; y < height; y++) {
    const row = bitmap.topDown ? y : height - 1 - y;
    for (let x = 0; x < width; x += PIXELS_PER_STEP) {
      const from = first + y * stride + (x * readBits) / 8;
      bitmap.writeRow(data, (row * width + x) * 4, source, from, Math.min(PIXELS_PER_STEP, width - x));
      const rest = slices.rest();
      if (rest) await rest;
    }
  }
  return { data, width, height };
}

function readHeader(bytes: Uint8Array, name: string): Bitmap {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const need = (end: number): void => {
    if (end > bytes.length) throw endsTooEarly(name, 'BMP', `at byte ${bytes.length}, within its header`);
  };
  const uint16 = (at: number): number => view.getUint16(at, true);
  const uint32 = (at: number): number => view.getUint32(at, true);
  need(18);
  const headerBytes = uint32(14);
  if (![12, 40, 52, 56, 64, 108, 124].includes(headerBytes))
    throw damaged(name, 'BMP', `a header of ${headerBytes} bytes`);
  let at = 14 + headerBytes;
  need(at);
  const os2 = headerBytes === 12;
  const [width, tall] = os2 ? [uint16(18), uint16(20)] : [uint32(18), uint32(22)];
  const topDown = !os2 && bytes[25] === 0xff;
  const bits = uint16(os2 ? 24 : 28);
  const compression = os2 ? RAW : uint32(30);
  if (![1, 4, 8, 16, 24, 32].includes(bits)) throw damaged(name, 'BMP', `${bits} bits a pixel`);
  if (compression > BITFIELDS) throw damaged(name, 'BMP', `the compression ${compression}`);
  let masks: number[] = [];
  if (compression === BITFIELDS) {
    // Three bit masks follow a header of 40 bytes. A longer header contains three or four bit masks.
    if (headerBytes === 40) need((at += 12));
    masks = [54, 58, 62].map(uint32);
    masks.push(headerBytes >= 56 ? uint32(66) : 0);
  }
  const entryBytes = os2 ? 3 : 4;
  const count = (os2 ? 0 : uint32(46)) || 2 ** bits;
  let [begin, palette] = [uint32(10), new Uint8Array(0)];
  if (bits <= 8) {
    if (begin === 14 + headerBytes) begin += entryBytes * count;
    if (count > 65_536) throw damaged(name, 'BMP', `a palette of ${count} colours`);
    palette = Uint8Array.from(bytes.subarray(at, at + entryBytes * count));
    at += palette.length;
  }
  const runs = compression === RLE8 || compression === RLE4;
  if (runs && bits > 8) throw damaged(name, 'BMP', `run-length encoding of pixels of ${bits} bits`);
  const pixels = pixelsOf({ bits, runs, masks, palette, entryBytes, count }, name);
  const height = topDown ? 2 ** 32 - tall : tall;
  return { width, height, topDown, bits, compression, begin: begin || at, ...pixels };
}

interface Colours {
  readonly bits: number;
  /** True for RLE4 and RLE8, which `unpackRuns` unpacks to one byte per pixel. */
  readonly runs: boolean;
  /** Bit masks of red, green, blue and alpha. Empty if the compression is not BITFIELDS. */
  readonly masks: readonly number[];
  readonly palette: Uint8Array;
  readonly entryBytes: number;
  readonly count: number;
}

/**
 * Chooses the function that decodes pixels of the file's pixel format.
 *
 * @throws ImageError IMAGE_DECODE, if Pillow does not read this pixel format
 */
function pixelsOf(
  { bits, runs, masks, palette, entryBytes, count }: Colours,
  name: string,
): Pick<Bitmap, 'writeRow' | 'readBits'> {
  const text = masks.map((mask) => mask.toString(16));
  const unknown = (): ImageError => damaged(name, 'BMP', `masks of ${text.join(', ')} for ${bits} bits`);
  if (bits >= 24) {
    const offsets = masks.length > 0 && bits === 32 ? BYTES_OF_MASKS[text.join()] : [2, 1, 0];
    if (!offsets || (masks.length > 0 && bits === 24 && text.slice(0, 3).join() !== 'ff0000,ff00,ff'))
      throw unknown();
    const [red, green, blue] = offsets as [number, number, number];
    const step = bits / 8;
    return {
      readBits: bits,
      writeRow(data, to, bytes, from, count) {
        for (const end = to + 4 * count; to < end; to += 4, from += step) {
          data[to] = bytes[from + red]!;
          data[to + 1] = bytes[from + green]!;
          data[to + 2] = bytes[from + blue]!;
          data[to + 3] = 255;
        }
      },
    };
  }
  if (bits === 16) {
    const wideGreen = masks.length > 0 ? GREEN_OF_MASKS[text.slice(0, 3).join()] : false;
    if (wideGreen === undefined) throw unknown();
    const [redAt, greens] = wideGreen ? [11, 63] : [10, 31];
    return {
      readBits: 16,
      writeRow(data, to, bytes, from, count) {
        for (const end = to + 4 * count; to < end; to += 4, from += 2) {
          const pixel = bytes[from]! | (bytes[from + 1]! << 8);
          data[to] = Math.floor((((pixel >> redAt) & 31) * 255) / 31);
          data[to + 1] = Math.floor((((pixel >> 5) & greens) * 255) / greens);
          data[to + 2] = Math.floor(((pixel & 31) * 255) / 31);
          data[to + 3] = 255;
        }
      },
    };
  }
  if (masks.length > 0) throw unknown();
  // Pillow ignores a palette that holds the grey ramp: each index is then the grey value itself.
  const greys = count === 2 ? [0, 255] : Array.from({ length: count }, (_, i) => i & 255);
  const isGrey = greys.every((grey, i) =>
    [0, 1, 2].every((channel) => palette[i * entryBytes + channel] === grey),
  );
  if (!isGrey && palette.length / entryBytes >= 257)
    throw damaged(name, 'BMP', `a palette of ${count} colours`);
  if (runs && isGrey && count === 2)
    throw damaged(name, 'BMP', 'run-length encoding of a black and white image');
  const readBits = isGrey && count === 2 ? 1 : isGrey || runs ? 8 : bits;
  const [perByte, mask] = [8 / readBits, 2 ** readBits - 1];
  const colours = new Uint8Array(3 * 256);
  for (let i = 0; i < 256; i++) {
    const grey = count === 2 ? 255 * i : i;
    const entry = i * entryBytes;
    colours.set(isGrey ? [grey, grey, grey] : [2, 1, 0].map((each) => palette[entry + each] ?? 0), 3 * i);
  }
  return {
    readBits,
    writeRow(data, to, bytes, from, count) {
      for (let x = 0; x < count; x++, to += 4) {
        const byte = bytes[from + Math.floor(x / perByte)]!;
        const colour = 3 * ((byte >> (8 - readBits - (x % perByte) * readBits)) & mask);
        data[to] = colours[colour]!;
        data[to + 1] = colours[colour + 1]!;
        data[to + 2] = colours[colour + 2]!;
        data[to + 3] = 255;
      }
    },
  };
}

/**
 * Unpacks run-length encoding to one byte per pixel, row by row. Literal pixels that exceed a row continue in
 * the next row, as in Pillow.
 *
 * @throws ImageError IMAGE_DECODE, if the data hold too few pixels
 */
async function unpackRuns(
  bytes: Uint8Array,
  { width, height, compression, begin }: Bitmap,
  name: string,
  slices: Slices,
): Promise<Uint8Array> {
  const pixels = pixelMemory(name, width, height, 1);
  const two = compression === RLE4; // a byte holds two pixels
  let [at, done, x] = [begin, 0, 0];
  for (let step = 1; done < pixels.length && at + 2 <= bytes.length; step++) {
    const rest = step % RUNS_PER_STEP === 0 && slices.rest();
    if (rest) await rest;
    const [count, value] = [bytes[at]!, bytes[at + 1]!];
    at += 2;
    if (count > 0) {
      const length = Math.max(0, Math.min(count, width - x));
      for (let i = 0; i < length; i++)
        pixels[done + i] = !two ? value : i % 2 === 0 ? value >> 4 : value & 15;
      done += length;
      x += length;
    } else if (value === 0) {
      done = Math.ceil(done / width) * width; // end of the row
      x = 0;
    } else if (value === 1) {
      break; // end of the image
    } else if (value === 2) {
      if (at + 2 > bytes.length) break;
      done += bytes[at]! + bytes[at + 1]! * width; // skips pixels to the right, and rows up
      at += 2;
      x = done % width;
    } else {
      const length = two ? value >> 1 : value; // in bytes; Pillow drops the last of an odd number of pixels
      for (let i = 0; i < length && at + i < bytes.length; i++) {
        const byte = bytes[at + i]!;
        if (two) pixels[done++] = byte >> 4;
        pixels[done++] = two ? byte & 15 : byte;
      }
      at += length;
      x += value;
      at += at % 2;
    }
  }
  if (done < pixels.length)
    throw endsTooEarly(name, 'BMP', `its data hold ${done} of ${pixels.length} pixels`);
  return pixels;
}
