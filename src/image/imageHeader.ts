/**
 * Reads size, colour profile and alpha from an image file's header, before the file is decoded. Used to
 * decide, for example, how many files are decoded at once. The header is not validated.
 */
import { isSrgbProfile } from './iccProfile.js';
import { latin1 } from './orientation.js';

/** Size, colour profile and alpha of an image file, from its header. */
export interface ImageHeader {
  /** Stored size in pixels, before any rotation. 0 if the header does not contain it. */
  readonly width: number;
  readonly height: number;
  /**
   * True if colour management may change the stored colours. Also true for any PNG with an embedded ICC
   * profile, even sRGB, because the profile is compressed and not examined.
   */
  readonly hasColorProfile: boolean;
  /** True if pixels may be transparent or translucent. */
  readonly hasAlpha: boolean;
  /** Bytes of memory per pixel that decoding takes. Default 4: red, green, blue, alpha. */
  readonly bytesPerPixel?: number;
}

/** Returns the memory in bytes that decoding the image takes; 0 if the size is unknown. */
export const decodedBytes = (header: ImageHeader | undefined): number =>
  header ? header.width * header.height * (header.bytesPerPixel ?? 4) : 0;

/** Limit on the JPEG markers, PNG chunks or GIF blocks that are read, so that reading a header stays fast. */
const MOST_BLOCKS = 2 ** 16;
/** Number of bytes that are searched of an AVIF's box `meta`. Files have a few thousand there. */
const MOST_META = 2 ** 20;

/**
 * Reads the header of an image file. Returns undefined if the format is unknown, or if `bytes` end before the
 * image's size.
 *
 * @param bytes the beginning of the file, which is not modified
 */
export function readImageHeader(bytes: Uint8Array): ImageHeader | undefined {
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const start = latin1(bytes.subarray(0, 32));
    if (start.startsWith('\xff\xd8\xff')) return ofJpeg(view);
    if (start.startsWith('\x89PNG')) return ofPng(view);
    if (/^RIFF[^]{4}WEBP/.test(start)) return ofWebp(view);
    if (start.startsWith('GIF8')) return ofGif(view);
    if (start.startsWith('BM')) return ofBmp(view);
    return start.slice(4, 8) === 'ftyp' ? ofIsoMedia(view) : undefined;
  } catch {
    return undefined; // a read past the end of `bytes` threw a RangeError
  }
}

const text = (view: DataView, at: number, length: number): string => latin1(bytesOf(view, at, length));

/**
 * Returns `length` bytes from offset `at`, or fewer at the end of the file.
 *
 * @throws RangeError, if `at` is past the end
 */
const bytesOf = (view: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, Math.min(length, view.byteLength - at));

/**
 * Reads a JPEG's segments up to the first scan. A segment consists of the byte FF, a marker, a length (2
 * bytes, which count themselves) and the content.
 */
function ofJpeg(view: DataView): ImageHeader | undefined {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  let [width, height, channels, hasColorProfile] = [0, 0, 0, false];
  for (let at = 2, seen = 0; seen < MOST_BLOCKS; seen++) {
    at = bytes.indexOf(0xff, at);
    if (at < 0) return undefined;
    const marker = view.getUint8(at + 1);
    if (marker === 0 || marker === 0xff) {
      at += 1; // skips a fill byte or an invalid byte
      continue;
    }
    if (marker === 0xda) {
      // Bytes of memory per pixel while a CMYK JPEG is decoded: the browser's pixels (4), this library's
      // pixels (4), coefficients of 2 bytes (8) and samples (4).
      const bytesPerPixel = channels === 4 ? 20 : 4;
      return { width, height, hasColorProfile, hasAlpha: false, bytesPerPixel };
    }
    // Markers SOF0 to SOF15. DHT, JPG and DAC are in the same range.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker))
      [width, height, channels] = [view.getUint16(at + 7), view.getUint16(at + 5), view.getUint8(at + 9)];
    if (marker === 0xe2 && text(view, at + 4, 12) === 'ICC_PROFILE\0') {
      const isWhole = view.getUint8(at + 17) === 1; // the profile is in a single segment
      hasColorProfile ||=
        !isWhole || !isSrgbProfile(bytes.subarray(at + 18, at + 2 + view.getUint16(at + 2)));
    }
    // Skips a marker without a segment (2 bytes), or a marker and its segment.
    at += marker === 1 || (marker >= 0xd0 && marker <= 0xd8) ? 2 : 2 + view.getUint16(at + 2);
  }
  return undefined;
}

/**
 * Reads a GIF's blocks up to the first frame, which may be larger than the screen. Browsers ignore the colour
 * profile of a GIF.
 */
function ofGif(view: DataView): ImageHeader {
  let [width, height] = [view.getUint16(6, true), view.getUint16(8, true)];
  const flags = view.getUint8(10);
  let at = 13 + (flags & 0x80 ? 6 << (flags & 7) : 0);
  for (let seen = 0; seen < MOST_BLOCKS; seen++) {
    const kind = view.getUint8(at);
    if (kind === 0x2c) {
      width = Math.max(width, view.getUint16(at + 1, true) + view.getUint16(at + 5, true));
      height = Math.max(height, view.getUint16(at + 3, true) + view.getUint16(at + 7, true));
      break;
    }
    at += 1;
    if (kind !== 0x21) continue;
    // An extension: a label, then blocks, each after its length (1 byte). A length of 0 ends the extension.
    for (at += 1; view.getUint8(at) > 0 && seen < MOST_BLOCKS; seen++) at += 1 + view.getUint8(at);
    at += 1;
  }
  return { width, height, hasColorProfile: false, hasAlpha: true, bytesPerPixel: 5 }; // RGBA, palette index
}

function ofPng(view: DataView): ImageHeader {
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const found = new Map<string, boolean>();
  let hasAlpha = (view.getUint8(25) & 4) !== 0; // the alpha bit of the colour type
  for (let at = 8, seen = 0; seen < MOST_BLOCKS; at += 12 + view.getUint32(at), seen++) {
    const [kind, content] = [text(view, at + 4, 4), at + 8];
    if (kind === 'IDAT') break;
    if (kind === 'tRNS') hasAlpha = true;
    if (kind === 'cICP') found.set(kind, text(view, content, 4) !== '\x01\x0d\0\x01');
    if (kind === 'iCCP') found.set(kind, true);
    if (kind === 'sRGB') found.set(kind, false);
    if (kind === 'gAMA') found.set(kind, view.getUint32(content) !== 45455);
    if (kind === 'cHRM') found.set(kind, true);
  }
  // Colour chunks in order of precedence. If a file has several of these chunks, only the first in this list
  // counts. Browsers use cHRM only together with gAMA. The curve of gAMA is a pure power, which differs from
  // sRGB's curve.
  const strongest = ['cICP', 'iCCP', 'sRGB'].find((kind) => found.has(kind));
  const byGamma = found.has('gAMA') && (found.get('gAMA')! || found.has('cHRM'));
  const hasColorProfile = strongest ? found.get(strongest)! : byGamma;
  return { width, height, hasColorProfile, hasAlpha };
}

function ofWebp(view: DataView): ImageHeader {
  const kind = text(view, 12, 4);
  if (kind === 'VP8L') {
    const bits = view.getUint32(21, true);
    return {
      width: 1 + (bits & 0x3fff),
      height: 1 + ((bits >> 14) & 0x3fff),
      hasColorProfile: false,
      hasAlpha: (bits >>> 28) % 2 === 1,
    };
  }
  if (kind === 'VP8 ')
    return {
      width: view.getUint16(26, true) & 0x3fff,
      height: view.getUint16(28, true) & 0x3fff,
      hasColorProfile: false,
      hasAlpha: false,
    };
  const isSrgb = (): boolean =>
    text(view, 30, 4) === 'ICCP' && isSrgbProfile(bytesOf(view, 38, view.getUint32(34, true)));
  return {
    width: 1 + (view.getUint32(24, true) & 0xffffff),
    height: 1 + (view.getUint32(26, true) >>> 8),
    hasColorProfile: (view.getUint8(20) & 0x20) !== 0 && !isSrgb(),
    hasAlpha: (view.getUint8(20) & 0x10) !== 0,
  };
}

function ofBmp(view: DataView): ImageHeader {
  const headerBytes = view.getUint32(14, true);
  if (headerBytes < 40)
    return {
      width: view.getUint16(18, true),
      height: view.getUint16(20, true),
      hasColorProfile: false,
      hasAlpha: false,
    };
  const space = headerBytes >= 108 ? text(view, 70, 4) : 'BGRs';
  return {
    width: view.getUint32(18, true),
    height: Math.abs(view.getInt32(22, true)),
    hasColorProfile: space === '\0\0\0\0' || space === 'DEBM', // calibrated RGB, or an embedded profile
    hasAlpha: view.getUint16(28, true) === 32, // only pixels of 32 bits may have alpha
    // Decoding run-length encoding also takes one byte per pixel, for the palette index.
    bytesPerPixel: [1, 2].includes(view.getUint32(30, true)) ? 5 : 4,
  };
}

/**
 * Reads the header of an AVIF or HEIC. Searches the content of the box `meta` for property names, without
 * checking which item a property belongs to.
 */
function ofIsoMedia(view: DataView): ImageHeader | undefined {
  for (let at = 0; ; at += view.getUint32(at)) {
    const size = view.getUint32(at);
    if (size < 8) return undefined; // a size of 0 or 1 (to the end, or 64-bit) means media data, not `meta`
    if (text(view, at + 4, 4) !== 'meta') continue;
    const meta = text(view, at, Math.min(size, MOST_META));
    let [width, height] = [0, 0];
    // If the image is a grid of tiles, the file also holds the size of the tiles. The largest size is that of
    // the image.
    for (let i = meta.indexOf('ispe'); i >= 0; i = meta.indexOf('ispe', i + 4)) {
      width = Math.max(width, view.getUint32(at + i + 8));
      height = Math.max(height, view.getUint32(at + i + 12));
    }
    let hasColorProfile = false;
    for (let i = meta.indexOf('colr'); i >= 0; i = meta.indexOf('colr', i + 4)) {
      const kind = meta.slice(i + 4, i + 8);
      if (kind === 'prof' || kind === 'rICC')
        hasColorProfile ||= !isSrgbProfile(bytesOf(view, at + i + 8, view.getUint32(at + i - 4) - 12));
      if (kind !== 'nclx') continue;
      const [primaries, transfer] = [view.getUint16(at + i + 8), view.getUint16(at + i + 10)];
      // Accepted as sRGB: primaries 1 (BT.709) or unspecified; transfer sRGB, BT.709, BT.601 or unspecified.
      if (![1, 2].includes(primaries) || ![1, 2, 6, 13].includes(transfer)) hasColorProfile = true;
    }
    // `:alpha` ends the type of an auxiliary alpha image.
    return { width, height, hasColorProfile, hasAlpha: meta.includes(':alpha') };
  }
}
