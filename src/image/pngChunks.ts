/**
 * Reads the chunks of a PNG as Pillow does. Prepares the file for a browser's decoder: removes everything
 * except the pixel data, reads the orientation, and checks that the file is complete.
 */
import { ImageError } from '../errors.js';
import { Slices } from '../platform/pause.js';
import { crcOf } from './crc32.js';
import { endsTooEarly, SLICE_MS } from './decodeErrors.js';
import { latin1, orientationOf, orientationOfXmp, withoutExifName } from './orientation.js';

/** The content of the chunk IHDR: size and pixel format of the image. */
export interface Header {
  readonly width: number;
  readonly height: number;
  readonly bitDepth: number;
  readonly colourType: number;
  readonly interlaced: boolean;
}

export const GREY = 0;
const RGB = 2;
export const PALETTE = 3;
const GREY_ALPHA = 4;
export const RGBA = 6;
/** Samples per pixel, by colour type. */
export const CHANNELS: Record<number, number> = {
  [GREY]: 1,
  [RGB]: 3,
  [PALETTE]: 1,
  [GREY_ALPHA]: 2,
  [RGBA]: 4,
};
/** Allowed bit depths by colour type, as a bit mask: the depths 1, 2, 4, 8 and 16 are its bits. */
const BIT_DEPTHS: Record<number, number> = {
  [GREY]: 31,
  [RGB]: 24,
  [PALETTE]: 15,
  [GREY_ALPHA]: 24,
  [RGBA]: 24,
};

/** Throws the error for a PNG that Pillow refuses. */
export type Fail = (expected: string, found: string) => never;

export const failOf =
  (name: string): Fail =>
  (expected, found) => {
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected a PNG with ${expected}, found ${found}. Save the image again.`,
    );
  };

/** Pillow's limit on the size of a text chunk, in bytes. */
const MOST_TEXT = 2 ** 20;

/** Adam7 interlacing: first column, first row, column step and row step of each pass. */
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

/**
 * An interlace pass: its first pixel, steps in pixels, size in pixels, and bytes per row without the filter
 * byte.
 */
export interface Pass {
  readonly left: number;
  readonly top: number;
  readonly stepX: number;
  readonly stepY: number;
  readonly columns: number;
  readonly rows: number;
  readonly rowBytes: number;
}

export const bitsPerPixel = ({ colourType, bitDepth }: Header): number => CHANNELS[colourType]! * bitDepth;

export function passesOf(header: Header): Pass[] {
  const { width, height, interlaced } = header;
  return (interlaced ? ADAM7 : WHOLE)
    .map(([left, top, stepX, stepY]) => ({
      left,
      top,
      stepX,
      stepY,
      columns: Math.ceil((width - left) / stepX),
      rows: Math.ceil((height - top) / stepY),
    }))
    .filter(({ columns, rows }) => columns > 0 && rows > 0)
    .map((pass) => ({ ...pass, rowBytes: Math.ceil((pass.columns * bitsPerPixel(header)) / 8) }));
}

/** Returns the size in bytes of the inflated image data: all rows, each with its filter byte. */
export const inflatedBytes = (passes: readonly Pass[]): number =>
  passes.reduce((sum, { rows, rowBytes }) => sum + rows * (1 + rowBytes), 0);

const isPng = (bytes: Uint8Array): boolean =>
  [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, i) => bytes[i] === byte);

/** The parsed chunks of a PNG. */
export interface Chunks {
  readonly header: Header;
  readonly palette: Uint8Array;
  /** Contents of the IDAT chunks. */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** Stored checksums of the IDAT chunks. −1 for a chunk that the file's end cuts off. */
  readonly checksums: number[];
  /** Contents of the chunks that may hold the orientation, by chunk name. */
  readonly metadata: Map<string, Uint8Array<ArrayBuffer>[]>;
  /** The signature and the complete critical chunks, which form a PNG with nothing but pixels. */
  readonly plain: Uint8Array<ArrayBuffer>[];
  /** True if the file ends with a valid IEND. */
  readonly ended: boolean;
}

/**
 * Reads the chunks as Pillow does. Pillow requires valid checksums before the first IDAT and complete chunks
 * after the last IDAT, but no IEND.
 */
export async function readChunks(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  fail: Fail,
  slices: Slices,
): Promise<Chunks> {
  if (!isPng(bytes)) fail('a valid signature', 'other bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [pieces, checksums]: [Uint8Array<ArrayBuffer>[], number[]] = [[], []];
  const metadata = new Map<string, Uint8Array<ArrayBuffer>[]>();
  const plain = [bytes.subarray(0, 8)];
  let header: Header | undefined;
  let palette = new Uint8Array(0);
  let ended = false;
  let frames = 0;
  let control = false; // true if the default image is a frame of the animation
  let over = false; // true after the last IDAT of the consecutive IDAT chunks
  for (let at = 8; !ended;) {
    const kind = latin1(bytes.subarray(at + 4, at + 8));
    if (!/^\w{4}$/.test(kind)) {
      if (pieces.length > 0) break; // garbage after the image data is ignored
      if (at + 8 <= bytes.length)
        fail('chunk names of four letters', `${JSON.stringify(kind)} at byte ${at}`);
      throw endsTooEarly(name, 'PNG', `at byte ${bytes.length} without image data (IDAT)`);
    }
    const end = at + 8 + view.getUint32(at);
    const content = bytes.subarray(at + 8, end);
    const image = kind === 'IDAT' && !over;
    if (pieces.length > 0 && !image) over = true;
    // The checksum of a chunk after the image data is not read, so it may be missing.
    if (!image && kind !== 'IEND' && end + (over ? 0 : 4) > bytes.length)
      throw endsTooEarly(name, 'PNG', `at byte ${bytes.length}, within the chunk ${kind} of byte ${at}`);
    const rest = slices.rest(); // once per chunk: a file may have any number of chunks
    if (rest) await rest;
    const rightSum = async (): Promise<boolean> =>
      view.getUint32(end) === (await crc32(bytes.subarray(at + 4, end), slices));
    if (!over && !image && kind !== 'IEND' && !(await rightSum()))
      fail(`a valid checksum of ${kind}`, `a wrong checksum at byte ${end}`);
    if (!header || (kind === 'IHDR' && !over)) {
      if (header || kind !== 'IHDR' || content.length !== 13)
        fail(
          'one IHDR of 13 bytes as the first chunk',
          `${header ? 'a second ' : ''}${kind} of ${content.length} bytes`,
        );
      header = readHeader(content, fail);
      plain.push(bytes.subarray(at, end + 4));
    } else if (kind === 'PLTE' && !over) {
      palette = content;
      if (header.colourType === PALETTE) plain.push(bytes.subarray(at, end + 4));
    } else if (image) {
      pieces.push(content);
      checksums.push(end + 4 > bytes.length ? -1 : view.getUint32(end));
      plain.push(bytes.subarray(at, end + 4));
    } else if (kind === 'acTL' && !over && content.length >= 8) {
      frames = view.getUint32(at + 8);
    } else if (kind === 'fcTL') {
      if (over && frames + (control ? 0 : 1) > 1) {
        // This fcTL chunk begins the animation's second frame. Pillow stops reading before this chunk.
        ended = true;
        plain.push(END);
        break;
      }
      control = true;
    } else if (kind === 'IEND') {
      ended = end + 4 <= bytes.length && (await rightSum());
      plain.push(bytes.subarray(at, end + 4));
      break;
    } else if (['eXIf', 'tEXt', 'zTXt', 'iTXt'].includes(kind)) {
      metadata.set(kind, [...(metadata.get(kind) ?? []), content]);
    }
    at = end + 4;
  }
  if (header!.colourType === PALETTE && (palette.length === 0 || palette.length % 3 !== 0))
    fail('a palette of whole RGB triples', `${palette.length} bytes`);
  return { header: header!, palette, pieces, checksums, metadata, plain, ended };
}

/** A complete IEND chunk. */
const END = Uint8Array.of(0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82);

/** A PNG prepared for a browser's decoder. */
export interface PlainPng {
  /**
   * The file for the decoder, in consecutive pieces. Only pixel chunks are left, so that no browser rotates,
   * blends, colour-manages or animates the image.
   */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** Exif orientation, 1 to 8. */
  readonly orientation: number;
  /** Bits per sample. */
  readonly bitDepth: number;
  /** True if the image has an alpha channel. */
  readonly alpha: boolean;
  /**
   * Resolves to true if every checksum is valid and the data are complete. A browser shows the readable part
   * of any other file, or nothing; `decodePng` then gives Pillow's pixels or the error.
   */
  readonly isWhole: () => Promise<boolean>;
}

/**
 * Prepares a PNG for a browser's decoder.
 *
 * @throws ImageError IMAGE_DECODE, if Pillow refuses the file because of its chunks
 * @throws `signal.reason` after an abort
 */
export async function plainPng(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  signal?: AbortSignal,
): Promise<PlainPng> {
  const slices = new Slices(SLICE_MS, signal);
  const chunks = await readChunks(bytes, name, failOf(name), slices);
  return {
    pieces: chunks.plain,
    bitDepth: chunks.header.bitDepth,
    alpha: chunks.header.colourType === GREY_ALPHA || chunks.header.colourType === RGBA,
    orientation: await orientationIn(chunks.metadata, slices),
    isWhole: () => isWhole(chunks, slices),
  };
}

/**
 * Number of compressed bytes that are inflated per step. They inflate to at most 8 MB, as deflate expands by
 * at most 1032.
 */
const PART_BYTES = 8192;

/**
 * Inflates image data. The stream fails if the data are invalid, if a piece does not match its checksum, and
 * after an abort.
 *
 * @param checksums stored checksums of the pieces. Default: checksums are not verified
 */
export function inflatedStream(
  pieces: readonly Uint8Array<ArrayBuffer>[],
  slices: Slices,
  checksums?: readonly number[],
): ReadableStream<Uint8Array> {
  let [i, at] = [0, 0];
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        await slices.rest();
        const piece = pieces[i];
        if (!piece) return controller.close();
        if (at === 0 && checksums && (await crc32(piece, slices, IDAT_CRC)) !== checksums[i])
          throw new Error('checksum');
        controller.enqueue(piece.subarray(at, at + PART_BYTES));
        at += PART_BYTES;
        if (at >= piece.length) [i, at] = [i + 1, 0];
      },
    },
    { highWaterMark: 0 },
  );
  return source.pipeThrough(new DecompressionStream('deflate'));
}

async function isWhole({ header, pieces, checksums, ended }: Chunks, slices: Slices): Promise<boolean> {
  if (!ended) return false;
  let length = 0;
  try {
    const reader = inflatedStream(pieces, slices, checksums).getReader();
    for (let read = await reader.read(); !read.done; read = await reader.read()) length += read.value.length;
  } catch {
    return false; // decodePng reports the error
  }
  return length === inflatedBytes(passesOf(header));
}

/**
 * Reads the orientation from the chunk eXIf, else from ImageMagick's text "Raw profile type exif", else from
 * XMP.
 */
async function orientationIn(metadata: Chunks['metadata'], slices: Slices): Promise<number> {
  const exif = metadata.get('eXIf')?.at(-1);
  let found = exif && orientationOf(withoutExifName(exif));
  if (!exif) {
    const hex = await textOf(metadata, 'Raw profile type exif', slices);
    const bytes = hex && hex.split('\n').slice(3).join('').replaceAll(/\s/g, '');
    if (bytes && /^([0-9a-f]{2})+$/i.test(bytes))
      found = orientationOf(
        withoutExifName(Uint8Array.from(bytes.match(/../g)!, (each) => Number.parseInt(each, 16))),
      );
  }
  if (found !== undefined) return found;
  const xmp = await textOf(metadata, 'XML:com.adobe.xmp', slices);
  return (xmp && orientationOfXmp(Uint8Array.from(xmp, (each) => each.charCodeAt(0)))) || 1;
}

/** Returns the content of the last text chunk with the keyword `key`, one character per byte. */
async function textOf(
  metadata: Chunks['metadata'],
  key: string,
  slices: Slices,
): Promise<string | undefined> {
  let found: string | undefined;
  for (const kind of ['tEXt', 'zTXt', 'iTXt']) {
    for (const content of metadata.get(kind) ?? []) {
      if (latin1(content.subarray(0, key.length + 1)) !== `${key}\0`) continue;
      let [text, packed] = [content.subarray(key.length + 1), kind === 'zTXt'];
      if (packed) text = text.subarray(1); // skips the compression method, which is always 0
      if (kind === 'iTXt') {
        packed = text[0] !== 0;
        const language = text.indexOf(0, 2);
        text = text.subarray(text.indexOf(0, language + 1) + 1);
      }
      if (!packed) {
        found = latin1(text);
        continue;
      }
      const { inflate } = await import('./inflate.js');
      const { bytes, length } = await inflate(text, MOST_TEXT, slices);
      found = latin1(bytes.subarray(0, length));
    }
  }
  return found;
}

function readHeader(content: Uint8Array, fail: Fail): Header {
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
    fail('a valid IHDR', `${width} × ${height} pixels, then the bytes ${rest.join(', ')}`);
  }
  return { width, height, bitDepth, colourType, interlaced: interlace === 1 };
}

/** Number of bytes checksummed, in less than a millisecond, before the code checks whether to pause. */
const CRC_BYTES = 2 ** 17;

/** Computes PNG's CRC-32 (ISO 3309). `from` is the CRC of the preceding bytes. */
async function crc32(bytes: Uint8Array, slices: Slices, from = 0): Promise<number> {
  let sum = from;
  for (let at = 0; at < bytes.length; at += CRC_BYTES) {
    sum = crcOf(bytes.subarray(at, at + CRC_BYTES), sum);
    const rest = slices.rest();
    if (rest) await rest;
  }
  return sum;
}

/** CRC of the four bytes `IDAT`. */
const IDAT_CRC = 0x35af061e;
