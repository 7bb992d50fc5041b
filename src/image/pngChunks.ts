/**
 * The chunks of a PNG, read as Pillow reads them: what is needed for the pixels, which way the image lies, and
 * whether a browser's decoder can be trusted with the file.
 */
import { ImageError } from '../errors.js';
import { Slices } from '../platform/pause.js';
import { endsTooEarly, SLICE_MS } from './decodeErrors.js';
import { latin1, orientationOf, orientationOfXmp, withoutExifName } from './orientation.js';

/** What the file says of itself. */
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
export const CHANNELS: Record<number, number> = {
  [GREY]: 1,
  [RGB]: 3,
  [PALETTE]: 1,
  [GREY_ALPHA]: 2,
  [RGBA]: 4,
};
/** 1 and 2 bits and so on, each its own bit. */
const BIT_DEPTHS: Record<number, number> = {
  [GREY]: 31,
  [RGB]: 24,
  [PALETTE]: 15,
  [GREY_ALPHA]: 24,
  [RGBA]: 24,
};

export type Fail = (expected: string, found: string) => never;

export const failOf =
  (name: string): Fail =>
  (expected, found) => {
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected a PNG with ${expected}, found ${found}. Save the image anew.`,
    );
  };

/** Pillow reads no longer text out of a PNG. */
const MOST_TEXT = 2 ** 20;

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

/** Of all rows, each with the byte of its filter. */
export const inflatedBytes = (passes: readonly Pass[]): number =>
  passes.reduce((sum, { rows, rowBytes }) => sum + rows * (1 + rowBytes), 0);

const isPng = (bytes: Uint8Array): boolean =>
  [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, i) => bytes[i] === byte);

/** Chunks of a PNG, and what they say. */
export interface Chunks {
  readonly header: Header;
  readonly palette: Uint8Array;
  /** Contents of the IDAT chunks. */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** Check sums of the IDAT chunks, as the file has them. */
  readonly sums: number[];
  /** Contents of what may tell the orientation, by name. */
  readonly words: Map<string, Uint8Array<ArrayBuffer>[]>;
  /** The critical chunks, whole and with the signature: all that the pixels need. */
  readonly plain: Uint8Array<ArrayBuffer>[];
  /** Whether it ends with IEND, as it should. */
  readonly ended: boolean;
}

/**
 * Reads the chunks as Pillow does: it demands right check sums up to the first IDAT, whole chunks behind the
 * last, and no IEND.
 */
export async function readChunks(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  fail: Fail,
  slices: Slices,
): Promise<Chunks> {
  if (!isPng(bytes)) fail('its signature', 'another beginning');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [pieces, sums]: [Uint8Array<ArrayBuffer>[], number[]] = [[], []];
  const words = new Map<string, Uint8Array<ArrayBuffer>[]>();
  const plain = [bytes.subarray(0, 8)];
  let header: Header | undefined;
  let palette = new Uint8Array(0);
  let ended = false;
  let frames = 0;
  let control = false; // whether the image itself is a frame of the animation
  let over = false; // whether the run of IDAT chunks is
  for (let at = 8; !ended;) {
    const kind = latin1(bytes.subarray(at + 4, at + 8));
    if (!/^\w{4}$/.test(kind)) {
      if (pieces.length > 0) break; // what follows the image is not looked at
      if (at + 8 <= bytes.length)
        fail('chunks with names of letters', `${JSON.stringify(kind)} at byte ${at}`);
      throw endsTooEarly(name, 'PNG', `at byte ${bytes.length} without image data (IDAT)`);
    }
    const end = at + 8 + view.getUint32(at);
    const content = bytes.subarray(at + 8, end);
    const image = kind === 'IDAT' && !over;
    if (pieces.length > 0 && !image) over = true;
    // The sum of a chunk behind the image is not looked at.
    if (!image && kind !== 'IEND' && end + (over ? 0 : 4) > bytes.length)
      throw endsTooEarly(name, 'PNG', `at byte ${bytes.length}, within the chunk ${kind} of byte ${at}`);
    const rest = slices.rest(); // a file may have any number of chunks
    if (rest) await rest;
    const rightSum = async (): Promise<boolean> =>
      view.getUint32(end) === (await crc32(bytes.subarray(at + 4, end), slices));
    if (!over && !image && kind !== 'IEND' && !(await rightSum()))
      fail(`the check sum of ${kind}`, `another at byte ${end}`);
    if (!header || (kind === 'IHDR' && !over)) {
      if (header || kind !== 'IHDR' || content.length !== 13)
        fail('one IHDR of 13 bytes, the first of all', `${kind} of ${content.length}`);
      header = readHeader(content, fail);
      plain.push(bytes.subarray(at, end + 4));
    } else if (kind === 'PLTE' && !over) {
      palette = content;
      if (header.colourType === PALETTE) plain.push(bytes.subarray(at, end + 4));
    } else if (image) {
      pieces.push(content);
      sums.push(end + 4 > bytes.length ? -1 : view.getUint32(end));
      plain.push(bytes.subarray(at, end + 4));
    } else if (kind === 'acTL' && !over && content.length >= 8) {
      frames = view.getUint32(at + 8);
    } else if (kind === 'fcTL') {
      if (over && frames + (control ? 0 : 1) > 1) {
        // The first frame of an animation is over, and Pillow reads no further.
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
      words.set(kind, [...(words.get(kind) ?? []), content]);
    }
    at = end + 4;
  }
  if (header!.colourType === PALETTE && (palette.length === 0 || palette.length % 3 !== 0))
    fail('a palette', `${palette.length} bytes of it`);
  return { header: header!, palette, pieces, sums, words, plain, ended };
}

/** The chunk IEND. */
const END = Uint8Array.of(0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82);

/** A PNG for a browser's decoder: what to decode, and whether the file is as it should be. */
export interface PlainPng {
  /** The pixels' chunks alone: no browser turns, blends, colours or animates them. */
  readonly pieces: Uint8Array<ArrayBuffer>[];
  /** 1 to 8. */
  readonly orientation: number;
  readonly bitDepth: number;
  /** Whether it has a channel of alpha. */
  readonly alpha: boolean;
  /**
   * Resolves to whether every check sum is right and the data are whole. Of other files browsers show what
   * there is, or nothing, and `decodePng` has the right pixels or the error.
   */
  readonly isWhole: () => Promise<boolean>;
}

/**
 * @throws ImageError IMAGE_DECODE where Pillow refuses the file for what its chunks say
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
    orientation: await orientationIn(chunks.words, slices),
    isWhole: () => isWhole(chunks, slices),
  };
}

/**
 * Bytes that are inflated at once: into 8 MB at most, as deflate has codes of two bits that stand for 258
 * bytes.
 */
const PART_BYTES = 8192;

/**
 * What the data inflate to. Errors where they cannot be inflated, where a check sum is not that of its piece,
 * and after an abort.
 *
 * @param sums check sums of the pieces. Default: they are not looked at
 */
export function inflatedStream(
  pieces: readonly Uint8Array<ArrayBuffer>[],
  slices: Slices,
  sums?: readonly number[],
): ReadableStream<Uint8Array> {
  let [i, at] = [0, 0];
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      async pull(controller) {
        await slices.rest();
        const piece = pieces[i];
        if (!piece) return controller.close();
        if (at === 0 && sums && (await crc32(piece, slices, IDAT_SUM)) !== sums[i])
          throw new Error('check sum');
        controller.enqueue(piece.subarray(at, at + PART_BYTES));
        at += PART_BYTES;
        if (at >= piece.length) [i, at] = [i + 1, 0];
      },
    },
    { highWaterMark: 0 },
  );
  return source.pipeThrough(new DecompressionStream('deflate'));
}

async function isWhole({ header, pieces, sums, ended }: Chunks, slices: Slices): Promise<boolean> {
  if (!ended) return false;
  let length = 0;
  try {
    const reader = inflatedStream(pieces, slices, sums).getReader();
    for (let read = await reader.read(); !read.done; read = await reader.read()) length += read.value.length;
  } catch {
    return false; // decodePng says what is wrong
  }
  return length === inflatedBytes(passesOf(header));
}

/** What eXIf says; else ImageMagick's "Raw profile type exif"; else XMP. */
async function orientationIn(words: Chunks['words'], slices: Slices): Promise<number> {
  const exif = words.get('eXIf')?.at(-1);
  let found = exif && orientationOf(withoutExifName(exif));
  if (!exif) {
    const hex = await textOf(words, 'Raw profile type exif', slices);
    const bytes = hex && hex.split('\n').slice(3).join('').replaceAll(/\s/g, '');
    if (bytes && /^([0-9a-f]{2})+$/i.test(bytes))
      found = orientationOf(
        withoutExifName(Uint8Array.from(bytes.match(/../g)!, (each) => Number.parseInt(each, 16))),
      );
  }
  if (found !== undefined) return found;
  const xmp = await textOf(words, 'XML:com.adobe.xmp', slices);
  return (xmp && orientationOfXmp(Uint8Array.from(xmp, (each) => each.charCodeAt(0)))) || 1;
}

/** The last text of this key, a character a byte. */
async function textOf(words: Chunks['words'], key: string, slices: Slices): Promise<string | undefined> {
  let found: string | undefined;
  for (const kind of ['tEXt', 'zTXt', 'iTXt']) {
    for (const content of words.get(kind) ?? []) {
      if (latin1(content.subarray(0, key.length + 1)) !== `${key}\0`) continue;
      let [text, packed] = [content.subarray(key.length + 1), kind === 'zTXt'];
      if (packed) text = text.subarray(1); // how it is packed: there is one way
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
    fail('a header that the specification allows', `${width} × ${height} pixels, then ${rest.join(', ')}`);
  }
  return { width, height, bitDepth, colourType, interlaced: interlace === 1 };
}

let table: Uint32Array | undefined;

/** Bytes whose sum takes less than a millisecond. */
const SUM_BYTES = 2 ** 17;

/** As PNG has it: ISO 3309. `from` is the sum of what stands ahead of the bytes. */
async function crc32(bytes: Uint8Array, slices: Slices, from = 0): Promise<number> {
  let sum = from;
  for (let at = 0; at < bytes.length; at += SUM_BYTES) {
    sum = crcOf(bytes.subarray(at, at + SUM_BYTES), sum);
    const rest = slices.rest();
    if (rest) await rest;
  }
  return sum;
}

function crcOf(bytes: Uint8Array, from: number): number {
  table ??= Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  let crc = ~from;
  for (let i = 0; i < bytes.length; i++) crc = table[(crc ^ bytes[i]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Of the four letters IDAT. */
const IDAT_SUM = 0x35af061e;
