/**
 * PNG → red, green, blue in 8 bits, with the colours of Pillow's `Image.open(file).convert('RGB')`. For what
 * a browser decodes otherwise (16 bits a channel; colours under transparency; damaged files that Pillow
 * reads), and for Node, which decodes nothing. The platform inflates.
 */
import { ImageError } from '../errors.js';
import { Slices } from '../platform/pause.js';
import type { Pixels } from './decode.js';
import { checkPixels, endsTooEarly, SLICE_MS } from './decodeErrors.js';
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
 * Decodes a PNG. Grey in 16 bits is cut to 255, as `convert('RGB')` does it in Pillow 12.3 (most such files
 * become white); of other kinds of 16 bits it keeps the high byte. Of an animation it is the image that
 * programs without animations show.
 *
 * @param name of the file, for messages
 * @throws ImageError IMAGE_DECODE (not a whole PNG), IMAGE_SIZE (more than `checkPixels` allows, or than
 *   memory holds)
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
  checkPixels(name, width, height);
  const passes = passesOf(header);
  // Ahead of the memory: a small file may claim any size. Deflate makes 1032 bytes of one at best (258 of two
  // bits).
  const [packed, needed] = [pieces.reduce((sum, piece) => sum + piece.length, 0), inflatedBytes(passes)];
  if (packed * 1032 < needed) fail(`data that can inflate to ${needed} bytes`, `${packed} bytes`);
  let data: Uint8Array<ArrayBuffer>;
  try {
    data = new Uint8Array(width * height * 4);
  } catch (cause) {
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: expected memory for ${width} × ${height} pixels, found too little. Make the image smaller first.`,
      { cause },
    );
  }
  const write = pixelWriter(header, palette, data);
  const distance = Math.max(1, bitsPerPixel(header) / 8); // to the byte that filters take for the one to the left
  /** Makes the rows of what `fill` gives; false where that ended early. */
  const rowsOf = async (fill: (row: Uint8Array) => boolean | Promise<boolean>): Promise<boolean> => {
    for (const { left, top, stepX, stepY, columns, rows, rowBytes } of passes) {
      let [row, above] = [new Uint8Array(1 + rowBytes), new Uint8Array(1 + rowBytes)];
      for (let y = 0; y < rows; y++) {
        const filled = fill(row);
        if (!(typeof filled === 'boolean' ? filled : await filled)) return false;
        if (row[0]! > 4) fail('filters 0 to 4', `${row[0]}`);
        const to = ((top + y * stepY) * width + left) * 4;
        for (let i = 1; i <= rowBytes; i += PART) {
          unfilter(row, above, distance, i, Math.min(i + PART, row.length));
          const rest = slices.rest();
          if (rest) await rest;
        }
        for (let x = 0; x < columns; x += PART) {
          write(row, x, Math.min(x + PART, columns), to, stepX * 4);
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
  /** Fills `row` with what comes next. What follows the last row is not read. */
  const nextRow = async (row: Uint8Array): Promise<boolean> => {
    for (let at = 0; at < row.length;) {
      if (chunk.length === 0) {
        signal?.throwIfAborted();
        const read = await reader.read().catch(() => undefined); // inflate() finds out what there is
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
  /** As `nextRow`, without a promise where the row is at hand. */
  const fromChunk = (row: Uint8Array): boolean | Promise<boolean> => {
    if (chunk.length < row.length) return nextRow(row);
    row.set(chunk.subarray(0, row.length));
    chunk = chunk.subarray(row.length);
    return true;
  };
  try {
    // What follows the last row is an error where it is one to Pillow: a wrong check sum, say.
    if ((await rowsOf(fromChunk)) && (chunk.length > 0 || (await reader.read().catch(() => undefined))))
      return { data, width, height };
  } finally {
    await reader.cancel().catch(() => undefined); // it has failed already, or nobody asks for the rest
  }
  signal?.throwIfAborted();
  // The stream ends early or is broken. Pillow refuses it, unless all rows are there, or the stream ends as it
  // should behind fewer: the others are 0 then.
  const { inflate } = await import('./inflate.js');
  const { bytes: inflated, length, end } = await inflate(joined(pieces, packed), needed, slices);
  if (end === 'broken')
    fail('data that can be inflated', `some that cannot, from byte ${length} of ${needed} on`);
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

/** Bytes of a row that are unfiltered, and pixels that are written, in one go: rows may be of any length. */
const PART = 2 ** 16;

/** Undoes the filter of bytes [begin, end) of a row in place; byte 0 of both rows is the filter. */
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

/** Writes the pixels [begin, end) of a row into `data`, of which the row begins at `to`, `step` bytes apart. */
function pixelWriter(
  { bitDepth, colourType }: Header,
  palette: Uint8Array,
  data: Uint8Array,
): (row: Uint8Array, begin: number, end: number, to: number, step: number) => void {
  const channels = CHANNELS[colourType]!;
  const colour = channels < 3 ? 0 : 1; // samples from one to the next
  const largest = 2 ** bitDepth - 1;
  /** Sample i of a row, which may share its byte with others. */
  const sampleOf = (row: Uint8Array, i: number): number => {
    if (bitDepth === 8) return row[1 + i]!;
    if (bitDepth === 16) return row[1 + 2 * i]! * 256 + row[2 + 2 * i]!;
    const bit = i * bitDepth;
    return (row[1 + (bit >> 3)]! >> (8 - bitDepth - (bit & 7))) & largest;
  };
  /** As Pillow has it: black beyond a palette, 16 bits of grey cut to 255, of other kinds the high byte. */
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
