/**
 * GIF decoder with 8-bit RGB output. Draws the first frame on the GIF's screen (the area of the whole
 * animation), with the pixels of Pillow's `Image.open(file).convert('RGB')`. Browsers give other colours to
 * transparent pixels and to the area around the frame. Firefox shows the readable part of a truncated file.
 */
import { Slices } from '../platform/pause.js';
import { checkPixels, damaged, endsTooEarly, pixelMemory, SLICE_MS } from './decodeErrors.js';
import type { Pixels } from './pixels.js';

const MOST_CODES = 4096;
/** Number of pixels filled before the decoder checks whether to pause for other tasks. */
const PIXELS_PER_STEP = 2 ** 20;
/** Number of LZW codes read before the decoder checks whether to pause for other tasks. */
const CODES_PER_STEP = 1024;

interface Frame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly interlaced: boolean;
  /** The palette as RGB triples. If undefined, each index is itself the grey value. */
  readonly palette: Uint8Array | undefined;
  /**
   * Index of the transparent colour. Pillow fills the whole screen with the palette's colour of this index.
   */
  readonly transparent: number;
  /** The file's minimum LZW code size in bits. The first codes have one bit more. */
  readonly bits: number;
  /** Offset of the first block of compressed data. */
  readonly dataAt: number;
  readonly screen: readonly [width: number, height: number];
}

/**
 * Decodes the first frame of a GIF.
 *
 * @throws ImageError IMAGE_DECODE, if Pillow refuses the file; IMAGE_SIZE, if the image has more pixels than
 *   `checkPixels` allows or than memory holds
 * @throws `signal.reason` after an abort
 */
export async function decodeGif(bytes: Uint8Array, name: string, signal?: AbortSignal): Promise<Pixels> {
  const frame = readFrame(bytes, name);
  const [width, height] = [
    Math.max(frame.screen[0], frame.left + frame.width),
    Math.max(frame.screen[1], frame.top + frame.height),
  ];
  checkPixels(name, { width, height });
  if (frame.width === 0 || frame.height === 0)
    throw damaged(name, 'GIF', `a first frame of ${frame.width} × ${frame.height} pixels`);
  const data = pixelMemory(name, width, height, 4);
  const slices = new Slices(SLICE_MS, signal);
  const indices = await unpack(bytes, frame, name, slices);
  const colours = coloursOf(frame.palette);
  const pixels = new Uint32Array(data.buffer);
  for (let at = 0; at < pixels.length; at += PIXELS_PER_STEP) {
    pixels.fill(colours[frame.transparent]!, at, at + PIXELS_PER_STEP);
    const rest = slices.rest();
    if (rest) await rest;
  }
  for (let y = 0; y < frame.height; y++) {
    const rest = slices.rest(); // once per row is enough: a row has fewer than 65536 pixels
    if (rest) await rest;
    const to = (frame.top + y) * width + frame.left;
    const from = y * frame.width;
    for (let x = 0; x < frame.width; x++) pixels[to + x] = colours[indices[from + x]!]!;
  }
  return { data, width, height };
}

/**
 * Returns the RGBA pixel for every palette index, as a 32-bit word in memory order. An index beyond the
 * palette gives black, as in Pillow.
 */
function coloursOf(palette: Uint8Array | undefined): Uint32Array {
  const bytes = new Uint8Array(1024);
  for (let i = 0; i < 256; i++) {
    const colour = palette
      ? [palette[3 * i] ?? 0, palette[3 * i + 1] ?? 0, palette[3 * i + 2] ?? 0]
      : [i, i, i];
    bytes.set([...colour, 255], 4 * i);
  }
  return new Uint32Array(bytes.buffer);
}

/** Reads the blocks of a GIF up to the image data of the first frame. */
function readFrame(bytes: Uint8Array, name: string): Frame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const need = (end: number): void => {
    if (end > bytes.length)
      throw endsTooEarly(name, 'GIF', `at byte ${bytes.length}, before its first frame`);
  };
  /**
   * Reads a colour table. Returns undefined if the table is a grey ramp (index i has the grey value i),
   * because Pillow ignores such a table.
   */
  const paletteAt = (at: number, flags: number): Uint8Array | undefined => {
    need(at + paletteBytes(flags));
    const palette = bytes.subarray(at, at + paletteBytes(flags));
    return palette.every((value, i) => value === Math.floor(i / 3)) ? undefined : palette;
  };
  need(13);
  let flags = bytes[10]!;
  const screen = [view.getUint16(6, true), view.getUint16(8, true)] as const;
  let palette = flags & 0x80 ? paletteAt(13, flags) : undefined;
  let transparent = 0;
  for (let at = 13 + (flags & 0x80 ? paletteBytes(flags) : 0); ;) {
    need(at + 1);
    const kind = bytes[at++];
    if (kind === 0x3b) throw damaged(name, 'GIF', `its trailer at byte ${at - 1} before any frame`);
    if (kind === 0x21) {
      // An extension: a label, then blocks, each after its length (1 byte). A length of 0 ends the extension.
      need(at + 2);
      if (bytes[at] === 0xf9 && bytes[at + 1]! >= 4 && bytes[at + 2]! & 1) transparent = bytes[at + 5] ?? 0;
      for (at += 1; bytes[at]!; at += 1 + bytes[at]!) need(at + 1);
      at += 1;
    } else if (kind === 0x2c) {
      need(at + 10);
      flags = bytes[at + 8]!;
      const own = flags & 0x80 ? paletteBytes(flags) : 0;
      if (own > 0) palette = paletteAt(at + 9, flags) ?? palette;
      need(at + 10 + own);
      return {
        left: view.getUint16(at, true),
        top: view.getUint16(at + 2, true),
        width: view.getUint16(at + 4, true),
        height: view.getUint16(at + 6, true),
        interlaced: (flags & 0x40) !== 0,
        palette,
        transparent,
        bits: bytes[at + 9 + own]!,
        dataAt: at + 10 + own,
        screen,
      };
    }
  }
}

const paletteBytes = (flags: number): number => 6 << (flags & 7);

/** Unpacks the LZW data of a frame to indices, rows from the top. */
async function unpack(bytes: Uint8Array, frame: Frame, name: string, slices: Slices): Promise<Uint8Array> {
  const { width, height, bits } = frame;
  if (bits > 12) throw damaged(name, 'GIF', `codes of ${bits} bits at byte ${frame.dataAt - 1}`);
  const rows = rowOrder(height, frame.interlaced);
  const indices = pixelMemory(name, width, height, 1);
  const [clear, end] = [1 << bits, (1 << bits) + 1];
  const [last, before] = [new Uint8Array(MOST_CODES), new Uint16Array(MOST_CODES)];
  const text = new Uint8Array(MOST_CODES);
  let [at, block, held, count] = [frame.dataAt, 0, 0, 0];
  let [size, next, previous, first] = [bits + 1, clear + 2, -1, 0];
  let [row, column] = [0, 0];
  for (let step = 1; row < height; step++) {
    const rest = step % CODES_PER_STEP === 0 && slices.rest();
    if (rest) await rest;
    while (count < size) {
      if (block === 0) {
        // A block of length 0 should end the data, but Pillow goes on to the next block.
        if (at >= bytes.length || at + 1 + bytes[at]! > bytes.length)
          throw endsTooEarly(name, 'GIF', `at byte ${bytes.length}, with ${row} of ${height} rows`);
        block = bytes[at++]!;
        continue;
      }
      held |= bytes[at++]! << count;
      count += 8;
      block -= 1;
    }
    const code = held & ((1 << size) - 1);
    held >>>= size;
    count -= size;
    if (code === clear) {
      [size, next, previous] = [bits + 1, clear + 2, -1];
      continue;
    }
    if (code === end)
      throw endsTooEarly(name, 'GIF', `its data end at byte ${at}, with ${row} of ${height} rows`);
    let length = 0; // bytes in `text`, which is filled from its end
    if (code > (previous < 0 ? clear : next) || code >= MOST_CODES)
      throw damaged(name, 'GIF', `an undefined LZW code at byte ${at}`);
    let each = code;
    if (previous >= 0 && code === next) {
      text[MOST_CODES - ++length] = first;
      each = previous;
    }
    for (; each >= clear; each = before[each]!) {
      if (length >= MOST_CODES - 1) throw damaged(name, 'GIF', `an endless chain of LZW codes at byte ${at}`);
      text[MOST_CODES - ++length] = last[each]!;
    }
    text[MOST_CODES - ++length] = first = each;
    if (previous >= 0 && next < MOST_CODES) {
      last[next] = first;
      before[next] = previous;
      if (next === (1 << size) - 1 && size < 12) size += 1;
      next += 1;
    }
    previous = code;
    for (let i = MOST_CODES - length; i < MOST_CODES && row < height;) {
      const part = text.subarray(i, Math.min(MOST_CODES, i + width - column));
      indices.set(part, rows[row]! * width + column);
      i += part.length;
      column += part.length;
      if (column === width) [row, column] = [row + 1, 0];
    }
  }
  return indices;
}

/** Returns the row numbers in the order in which the file stores the rows. */
function rowOrder(height: number, interlaced: boolean): number[] {
  const rows: number[] = [];
  for (const [first, step] of interlaced
    ? ([
        [0, 8],
        [4, 8],
        [2, 4],
        [1, 2],
      ] as const)
    : ([[0, 1]] as const))
    for (let row = first; row < height; row += step) rows.push(row);
  return rows;
}
