/**
 * PNG → red, green, blue in 8 bits, with the colours of Pillow's `Image.open(file).convert('RGB')`. For what
 * a browser decodes otherwise (16 bits a channel; colours under transparency), and for Node, which decodes
 * nothing. The platform inflates; the rest is the PNG specification, second edition, and strict: a check sum
 * that is wrong is an error.
 */
import { ImageError } from '../errors.js';

/** Red, green, blue, and 255 in place of alpha, at which nobody looks. */
export interface DecodedPng {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** What the file says of itself. */
interface Header {
  readonly width: number;
  readonly height: number;
  readonly bitDepth: number;
  readonly colourType: number;
  readonly interlaced: boolean;
}

const GREY = 0;
const RGB = 2;
const PALETTE = 3;
const GREY_ALPHA = 4;
const RGBA = 6;
const CHANNELS: Record<number, number> = { [GREY]: 1, [RGB]: 3, [PALETTE]: 1, [GREY_ALPHA]: 2, [RGBA]: 4 };
/** 1 and 2 bits and so on, each its own bit. */
const BIT_DEPTHS: Record<number, number> = {
  [GREY]: 31,
  [RGB]: 24,
  [PALETTE]: 15,
  [GREY_ALPHA]: 24,
  [RGBA]: 24,
};

/** Adam7: the first column and row of each pass, and its steps. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;
const WHOLE = [[0, 0, 1, 1]] as const;

const isPng = (bytes: Uint8Array): boolean =>
  [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, i) => bytes[i] === byte);

/** What a PNG's first bytes tell; undefined where they are not a PNG's. */
export const pngKind = (
  bytes: Uint8Array,
): { readonly bitDepth: number; readonly alpha: boolean } | undefined =>
  isPng(bytes) ? { bitDepth: bytes[24]!, alpha: bytes[25] === GREY_ALPHA || bytes[25] === RGBA } : undefined;

/**
 * Decodes a PNG. Grey in 16 bits is cut to 255, as `convert('RGB')` does it in Pillow 12.3 (most such files
 * become white); of other kinds of 16 bits it keeps the high byte. Of an animation it is the image that
 * programs without animations show.
 *
 * @param name of the file, for messages
 * @param mostSide the longest side that may be
 * @throws ImageError IMAGE_DECODE (not a whole PNG), IMAGE_SIZE (longer than `mostSide`, or than memory
 *   holds)
 * @throws `signal.reason` after an abort
 */
export async function decodePng(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  mostSide: number,
  signal?: AbortSignal,
): Promise<DecodedPng> {
  const fail = (expected: string, found: string, cause?: unknown): never => {
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected a PNG with ${expected}, found ${found}. Save the image anew.`,
      { cause },
    );
  };
  const { header, palette, pieces } = readChunks(bytes, fail);
  const { width, height, bitDepth, colourType, interlaced } = header;
  if (width > mostSide || height > mostSide) {
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: expected at most ${mostSide} × ${mostSide} pixels on this device, found ${width} × ${height}. Make the image smaller first.`,
    );
  }
  const bitsPerPixel = CHANNELS[colourType]! * bitDepth;
  const passes = (interlaced ? ADAM7 : WHOLE)
    .map(([left, top, stepX, stepY]) => ({
      left,
      top,
      stepX,
      stepY,
      columns: Math.ceil((width - left) / stepX),
      rows: Math.ceil((height - top) / stepY),
    }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0)
    .map((pass) => ({ ...pass, rowBytes: Math.ceil((pass.columns * bitsPerPixel) / 8) }));
  // Ahead of the memory: a small file may claim any size. Deflate makes 1032 bytes of one at best (258 of two
  // bits).
  const [packed, needed] = [
    pieces.reduce((sum, piece) => sum + piece.length, 0),
    passes.reduce((sum, { rows, rowBytes }) => sum + rows * (1 + rowBytes), 0),
  ];
  if (packed * 1032 < needed) fail(`data that can inflate to ${needed} bytes`, `${packed} bytes`);
  let data: Uint8Array<ArrayBuffer>;
  try {
    data = new Uint8Array(width * height * 4).fill(255);
  } catch (cause) {
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: expected memory for ${width} × ${height} pixels, found too little. Make the image smaller first.`,
      { cause },
    );
  }
  const write = pixelWriter(header, palette, data);
  const reader = new Blob(pieces).stream().pipeThrough(new DecompressionStream('deflate')).getReader();
  let chunk: Uint8Array = new Uint8Array(0);
  /** Fills `row` with what comes next. What follows the last row is not read. */
  const fill = async (row: Uint8Array): Promise<void> => {
    for (let at = 0; at < row.length;) {
      if (chunk.length === 0) {
        signal?.throwIfAborted();
        const { done, value } = await reader
          .read()
          .catch((cause: unknown) =>
            fail('data that can be inflated', `some that cannot (${String(cause)})`, cause),
          );
        if (done) return fail(`${height} rows`, 'an end ahead of the last');
        chunk = value;
      }
      const part = chunk.subarray(0, row.length - at);
      row.set(part, at);
      at += part.length;
      chunk = chunk.subarray(part.length);
    }
  };
  try {
    const distance = Math.max(1, bitsPerPixel / 8); // to the byte that filters take for the one to the left
    for (const { left, top, stepX, stepY, columns, rows, rowBytes } of passes) {
      let [row, above] = [new Uint8Array(1 + rowBytes), new Uint8Array(1 + rowBytes)];
      for (let y = 0; y < rows; y++) {
        await fill(row);
        if (row[0]! > 4) fail('filters 0 to 4', `${row[0]}`);
        unfilter(row, above, distance);
        write(row, columns, ((top + y * stepY) * width + left) * 4, stepX * 4);
        [row, above] = [above, row];
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined); // it has failed already, or nobody asks for the rest
  }
  return { data, width, height };
}

/** The chunks that make the picture. Others are passed over, those that must be understood excepted. */
function readChunks(
  bytes: Uint8Array<ArrayBuffer>,
  fail: (expected: string, found: string) => never,
): { header: Header; palette: Uint8Array; pieces: Uint8Array<ArrayBuffer>[] } {
  if (!isPng(bytes)) fail('its signature', 'another beginning');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let header: Header | undefined;
  let palette = new Uint8Array(0);
  for (let at = 8; ;) {
    const end = at + 12 > bytes.length ? Infinity : at + 8 + view.getUint32(at);
    if (end + 4 > bytes.length) fail('whole chunks to IEND', `the end of the file at byte ${bytes.length}`);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, end);
    const critical = (bytes[at + 4]! & 0x20) === 0;
    if (critical && view.getUint32(end) !== crc32(bytes.subarray(at + 4, end)))
      fail(`the check sum of ${kind}`, 'another');
    if (!header || kind === 'IHDR') {
      if (header || kind !== 'IHDR' || content.length !== 13)
        fail('one IHDR of 13 bytes, the first of all', `${kind} of ${content.length}`);
      header = readHeader(content, fail);
    } else if (kind === 'PLTE') {
      palette = content;
    } else if (kind === 'IDAT') {
      pieces.push(content);
    } else if (kind === 'IEND') {
      break;
    } else if (critical) {
      fail('chunks that are known', kind);
    }
    at = end + 4;
  }
  if (header!.colourType === PALETTE && (palette.length === 0 || palette.length % 3 !== 0))
    fail('a palette', `${palette.length} bytes of it`);
  return { header: header!, palette, pieces };
}

function readHeader(content: Uint8Array, fail: (expected: string, found: string) => never): Header {
  const view = new DataView(content.buffer, content.byteOffset);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const rest = [...content.subarray(8)];
  const [bitDepth, colourType, compression, filter, interlace] = rest as [
    number,
    number,
    number,
    number,
    number,
  ];
  if (
    width === 0 ||
    height === 0 ||
    ![1, 2, 4, 8, 16].includes(bitDepth) ||
    !(BIT_DEPTHS[colourType]! & bitDepth) ||
    compression !== 0 ||
    filter !== 0 ||
    interlace > 1
  ) {
    fail('a header that the specification allows', `${width} × ${height} pixels, then ${rest.join(', ')}`);
  }
  return { width, height, bitDepth, colourType, interlaced: interlace === 1 };
}

/** Undoes the filter of a row in place; byte 0 of both rows is the filter. */
function unfilter(row: Uint8Array, above: Uint8Array, distance: number): void {
  const filter = row[0];
  if (filter === 0) return;
  for (let i = 1; i < row.length; i++) {
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

/** Writes the pixels of a row into `data` from `to` on, `step` bytes apart. */
function pixelWriter(
  { bitDepth, colourType }: Header,
  palette: Uint8Array,
  data: Uint8Array,
): (row: Uint8Array, columns: number, to: number, step: number) => void {
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
  return (row, columns, to, step) => {
    for (let x = 0; x < columns; x++, to += step) {
      for (let c = 0; c < 3; c++) data[to + c] = byteOf(sampleOf(row, x * channels + c * colour), c);
    }
  };
}

let table: Uint32Array | undefined;

/** As PNG has it: ISO 3309. */
function crc32(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  let crc = ~0;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
