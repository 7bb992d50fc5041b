/**
 * PNG decoder with 8-bit RGB output, exact to Pillow's `Image.open(file).convert('RGB')`. Used in Node, and
 * for files that browsers decode differently: 16 bits per channel, colours under transparency, and damaged
 * files that Pillow reads. The platform's `DecompressionStream` inflates the data.
 */
import { Slices } from '../platform/pause.js';
import type { Pixels } from './pixels.js';
import { checkPixels, endsTooEarly, pixelMemory, SLICE_MS } from './decodeErrors.js';
import {
  bitsPerPixel,
  CHANNELS,
  failOf,
  GREY,
  inflatedBytes,
  inflatedStream,
  PALETTE,
  passesOf,
  readChunks,
  type Fail,
  type Header,
} from './pngChunks.js';

export { plainPng } from './pngChunks.js';

function joined(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * Decodes a PNG. As in Pillow 12.3, 16-bit grey values are clamped to 255 (most such images become white),
 * and other 16-bit values keep their high byte. An animation gives its default image.
 *
 * @param name the file's name, for error messages
 * @throws ImageError IMAGE_DECODE, if Pillow refuses the file; IMAGE_SIZE, if the image has more pixels than
 *   `checkPixels` allows or than memory holds
 * @throws `signal.reason` after an abort
 */
export async function decodePng(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  signal?: AbortSignal,
): Promise<Pixels> {
  const fail: Fail = failOf(name);
  const slices = new Slices(SLICE_MS, signal);
  const { header, palette, pieces } = await readChunks(bytes, name, fail, slices);
  const { width, height } = header;
  checkPixels(name, { width, height });
  const passes = passesOf(header);
  // Checked before allocating, because a small file may claim any size. Deflate expands data at most 1032
  // times: a code of two bits can stand for 258 bytes.
  const [packed, needed] = [pieces.reduce((sum, piece) => sum + piece.length, 0), inflatedBytes(passes)];
  if (packed * 1032 < needed) fail(`data that can inflate to ${needed} bytes`, `${packed} bytes`);
  const data = pixelMemory(name, width, height, 4);
  const write = pixelWriter(header, palette, data);
  const distance = Math.max(1, bitsPerPixel(header) / 8); // in bytes, to the pixel on the left
  /**
   * Decodes all rows. Calls `fill` for each row, which must write the bytes of the row. Returns false as soon
   * as `fill` returns false.
   */
  const rowsOf = async (fill: (row: Uint8Array) => boolean | Promise<boolean>): Promise<boolean> => {
    for (const { left, top, stepX, stepY, columns, rows, rowBytes } of passes) {
      let [row, above] = [new Uint8Array(1 + rowBytes), new Uint8Array(1 + rowBytes)];
      for (let y = 0; y < rows; y++) {
        const filled = fill(row); // awaited only if it is a promise: a row is often shorter than a chunk
        if (!(typeof filled === 'boolean' ? filled : await filled)) return false;
        if (row[0]! > 4) fail('filters 0 to 4', `${row[0]}`);
        const to = ((top + y * stepY) * width + left) * 4;
        for (let i = 1; i <= rowBytes; i += PER_STEP) {
          unfilter(row, above, distance, i, Math.min(i + PER_STEP, row.length));
          const rest = slices.rest();
          if (rest) await rest;
        }
        for (let x = 0; x < columns; x += PER_STEP) {
          write(row, x, Math.min(x + PER_STEP, columns), to, stepX * 4);
          const rest = slices.rest();
          if (rest) await rest;
        }
        [row, above] = [above, row];
      }
    }
    return true;
  };
  const reader = inflatedStream(pieces, slices).getReader();
  let chunk: Uint8Array = new Uint8Array(0);
  /** Fills `row` with the next inflated bytes. Returns false if the stream ends or fails first. */
  const nextRow = async (row: Uint8Array): Promise<boolean> => {
    for (let at = 0; at < row.length;) {
      if (chunk.length === 0) {
        signal?.throwIfAborted();
        const read = await reader.read().catch(() => undefined); // inflate() below recovers the readable part
        if (!read || read.done) return false;
        chunk = read.value;
      }
      const part = chunk.subarray(0, row.length - at);
      row.set(part, at);
      at += part.length;
      chunk = chunk.subarray(part.length);
    }
    return true;
  };
  /**
   * Does the same as `nextRow`, but returns a boolean instead of a promise if the current chunk holds the
   * whole row.
   */
  const fromChunk = (row: Uint8Array): boolean | Promise<boolean> => {
    if (chunk.length < row.length) return nextRow(row);
    row.set(chunk.subarray(0, row.length));
    chunk = chunk.subarray(row.length);
    return true;
  };
  try {
    // After the last row, the end of the stream may still be invalid, for example its checksum. `inflate`
    // below then decides, as Pillow does, whether the file is refused.
    if ((await rowsOf(fromChunk)) && (chunk.length > 0 || (await reader.read().catch(() => undefined))))
      return { data, width, height };
  } finally {
    await reader.cancel().catch(() => undefined); // the stream may have failed already
  }
  signal?.throwIfAborted();
  // The stream is truncated or broken. Pillow refuses such a file, with two exceptions. A file that holds all
  // rows is read. A file whose stream is valid but ends after fewer complete rows is read with zeros in the
  // missing rows.
  const { inflate } = await import('./inflate.js');
  const { bytes: inflated, length, end } = await inflate(joined(pieces, packed), needed, slices);
  if (end === 'broken') fail('valid compressed data', `an error after ${length} of ${needed} bytes`);
  let rowEnd = 0;
  for (const { rows, rowBytes } of passes)
    rowEnd += (1 + rowBytes) * Math.min(rows, Math.floor((length - rowEnd) / (1 + rowBytes)));
  if (length < needed && (end === 'short' || length === 0 || rowEnd !== length))
    throw endsTooEarly(name, 'PNG', `its data inflate to ${length} of ${needed} bytes`);
  let at = 0;
  await rowsOf((row) => {
    if (at + row.length <= length) row.set(inflated.subarray(at, at + row.length));
    else row.fill(0);
    at += row.length;
    return true;
  });
  return { data, width, height };
}

/** Number of bytes unfiltered, or of pixels written, before the decoder checks whether to pause. */
const PER_STEP = 2 ** 16;

/** Undoes the filter of bytes [begin, end) of a row in place. Byte 0 of both rows is the filter type. */
function unfilter(row: Uint8Array, above: Uint8Array, distance: number, begin: number, end: number): void {
  const filter = row[0];
  if (filter === 0) return;
  for (let i = begin; i < end; i++) {
    const left = i > distance ? row[i - distance]! : 0;
    const up = above[i]!;
    if (filter === 1) row[i]! += left;
    else if (filter === 2) row[i]! += up;
    else if (filter === 3) row[i]! += (left + up) >> 1;
    else row[i]! += paeth(left, up, i > distance ? above[i - distance]! : 0);
  }
}

function paeth(left: number, up: number, corner: number): number {
  const [toLeft, toUp, toCorner] = [
    Math.abs(up - corner),
    Math.abs(left - corner),
    Math.abs(left + up - 2 * corner),
  ];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/**
 * Returns a function that writes pixels [begin, end) of a row into `data`. Pixel 0 of the row goes to offset
 * `to`; consecutive pixels are `step` bytes apart.
 */
function pixelWriter(
  { bitDepth, colourType }: Header,
  palette: Uint8Array,
  data: Uint8Array,
): (row: Uint8Array, begin: number, end: number, to: number, step: number) => void {
  const channels = CHANNELS[colourType]!;
  const colour = channels < 3 ? 0 : 1; // distance in samples from red to green to blue
  const largest = 2 ** bitDepth - 1;
  /** Returns sample `i` of a row. A byte may hold several samples. */
  const sampleOf = (row: Uint8Array, i: number): number => {
    if (bitDepth === 8) return row[1 + i]!;
    if (bitDepth === 16) return row[1 + 2 * i]! * 256 + row[2 + 2 * i]!;
    const bit = i * bitDepth;
    return (row[1 + (bit >> 3)]! >> (8 - bitDepth - (bit & 7))) & largest;
  };
  /**
   * Converts a sample to a byte as Pillow does: a palette index beyond the palette gives black, a 16-bit grey
   * value is clamped to 255, and any other 16-bit sample keeps its high byte.
   */
  const byteOf = (sample: number, c: number): number => {
    if (colourType === PALETTE) return palette[sample * 3 + c] ?? 0;
    if (bitDepth === 16) return colourType === GREY ? Math.min(sample, 255) : sample >> 8;
    return (sample * 255) / largest;
  };
  return (row, begin, end, to, step) => {
    to += begin * step;
    for (let x = begin; x < end; x++, to += step) {
      for (let c = 0; c < 3; c++) data[to + c] = byteOf(sampleOf(row, x * channels + c * colour), c);
      data[to + 3] = 255;
    }
  };
}
