/**
 * Prepares a JPEG for the browser's decoder: reads its orientation and checks that the file is complete. Only
 * markers are examined. Chromium and Pillow refuse a truncated or broken file, but Firefox shows its readable
 * part.
 */
import type { ImageError } from '../errors.js';
import { pause, Slices } from '../platform/pause.js';
import { damaged, endsTooEarly, SLICE_MS } from './decodeErrors.js';
import { latin1, orientationOf, orientationOfXmp } from './orientation.js';

/** Marker: end of image. */
export const EOI = 0xd9;
const [SOS, DQT, DHT, DRI, DAC, COM] = [0xda, 0xdb, 0xc4, 0xdd, 0xcc, 0xfe];
/** Number of markers read before the check pauses for other tasks, if its time slice is over. */
const MARKERS_PER_STEP = 1024;
const XMP_NAME = 'http://ns.adobe.com/xap/1.0/\0';

/** Orientation and channels of a JPEG, and a check of its compressed data. */
export interface PreparedJpeg {
  /** Exif orientation, 1 to 8. */
  readonly orientation: number;
  /** Channels per pixel; 4 for CMYK. */
  readonly channels: number;
  /**
   * Checks the compressed data in time slices, while the browser decodes the file.
   *
   * @returns undefined for a file with an end marker. For a file that ends earlier and has only one scan: an
   *   error, which the caller must throw unless the scan contains every block (`endOfBlocks` in jpegScan.ts)
   * @throws ImageError IMAGE_DECODE, if Pillow refuses the file because of its markers
   * @throws `signal.reason` after an abort
   */
  readonly checkScans: () => Promise<ImageError | undefined>;
}

/**
 * Reads a JPEG up to its compressed data. Erases the name of the Exif data in place, so that no browser
 * rotates the image.
 *
 * @throws ImageError IMAGE_DECODE, if Pillow refuses the file because of its markers
 * @throws `signal.reason` after an abort
 */
export async function prepareJpeg(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  signal?: AbortSignal,
): Promise<PreparedJpeg> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const exif: Uint8Array[] = [];
  let xmp: Uint8Array | undefined;
  let scans = 0;
  let channels = 0;
  let restarts = false;
  let cut = false;
  const tooEarly = (where: string): ImageError => {
    cut = true;
    return endsTooEarly(name, 'JPEG', `at byte ${bytes.length}${where}`);
  };
  let at = 2;
  /** Reads the next marker and its segment. Returns false after the end marker. */
  const step = (): boolean => {
    // Fill bytes or the compressed data of a scan may precede the next marker.
    at = bytes.indexOf(0xff, at);
    while (at >= 0 && bytes[at + 1] === 0xff) at += 1;
    const marker = at < 0 ? undefined : bytes[at + 1];
    if (marker === undefined) throw tooEarly(` without ${scans > 0 ? 'its end marker (EOI)' : 'image data'}`);
    const begin = at + 2;
    at = begin;
    // Markers within a scan: a stuffed FF, RST0 to RST7, and TEM (1). Pillow accepts TEM only within a scan.
    if (marker === 0 || (marker >= 0xd0 && marker <= 0xd7) || (marker === 1 && scans > 0)) return true;
    if (marker === EOI && scans > 0) return false;
    if (scans > 0 && restarts && marker < 0xc0 && isAheadOfRestart(bytes, at)) return true;
    if (
      !hasSegment(marker) ||
      (scans > 0 && marker >= 0xc0 && marker <= 0xcf && marker !== DHT && marker !== DAC)
    )
      throw damaged(name, 'JPEG', `a misplaced marker ff${hex(marker)} at byte ${begin - 2}`);
    const length = begin + 2 > bytes.length ? 2 : view.getUint16(begin);
    const end = begin + Math.max(2, length);
    if (end > bytes.length) throw tooEarly(`, within the segment ff${hex(marker)} of byte ${begin - 2}`);
    const content = bytes.subarray(begin + 2, end);
    if (!isSound(marker, content))
      throw damaged(name, 'JPEG', `a segment ff${hex(marker)} with invalid content at byte ${begin - 2}`);
    if (marker === SOS) scans += 1;
    if (marker >= 0xc0 && marker <= 0xc2) channels = content[5]!;
    if (marker === DRI) restarts = view.getUint16(begin + 2) > 0;
    if (marker === 0xe1 && scans === 0 && latin1(content.subarray(0, 4)) === 'Exif') {
      if (latin1(content.subarray(4, 6)) === '\0\0') exif.push(content.slice(6));
      content.fill(0, 0, 4);
    } else if (marker === 0xe1 && scans === 0 && latin1(content.subarray(0, XMP_NAME.length)) === XMP_NAME) {
      xmp = content.subarray(XMP_NAME.length);
    } else if (marker === 0xe2) {
      content.fill(0, 0, 4); // colour profiles: Safari converts colours, whatever `colorSpaceConversion` says
    }
    at = end;
    return true;
  };
  /** Calls `next` in time slices until it returns false. */
  const repeat = async (next: () => boolean): Promise<void> => {
    const slices = new Slices(SLICE_MS, signal);
    for (let steps = 1; next(); steps++) {
      const rest = steps % MARKERS_PER_STEP === 0 && slices.rest();
      if (rest) await rest;
    }
  };
  await repeat(() => scans === 0 && step());
  // Exif data may span several segments, which Pillow joins.
  const found = exif.length > 0 ? orientationOf(exif.length === 1 ? exif[0]! : joined(exif)) : undefined;
  return {
    orientation: found ?? (xmp && orientationOfXmp(xmp)) ?? 1,
    channels,
    checkScans: async () => {
      await pause(); // the current task is long already: the browser copied the file in it
      try {
        await repeat(step);
        return undefined;
      } catch (error) {
        if (!cut || scans > 1) throw error;
        return error as ImageError;
      }
    },
  };
}

/**
 * Returns true if the next valid marker is a restart marker. libjpeg skips invalid bytes before a restart
 * marker.
 */
function isAheadOfRestart(bytes: Uint8Array, at: number): boolean {
  do at = bytes.indexOf(0xff, at) + 1;
  while (at > 0 && (bytes[at] === 0 || bytes[at] === 0xff));
  return at > 0 && bytes[at]! >= 0xd0 && bytes[at]! <= 0xd7;
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * Returns true for markers with a segment that libjpeg accepts: tables, frames, scans, application data,
 * comments.
 */
const hasSegment = (marker: number): boolean =>
  (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc8) ||
  (marker >= SOS && marker <= DRI) ||
  (marker >= 0xe0 && marker <= 0xef) ||
  marker === COM;

/** Validates the content of a table or scan segment as libjpeg does. */
function isSound(marker: number, content: Uint8Array): boolean {
  switch (marker) {
    case SOS:
      return content[0]! >= 1 && content[0]! <= 4 && content.length === 4 + 2 * content[0]!;
    case DRI:
      return content.length === 2;
    case DQT: {
      let at = 0;
      while (at < content.length) {
        if ((content[at]! & 15) > 3) return false;
        at += content[at]! >> 4 ? 129 : 65;
      }
      return at === content.length;
    }
    case DHT: {
      let at = 0;
      while (at + 17 <= content.length) {
        const codes = content.subarray(at + 1, at + 17).reduce((sum, each) => sum + each, 0);
        if ((content[at]! & 0xef) > 3 || codes > 256) return false;
        at += 17 + codes;
      }
      return at === content.length;
    }
    case DAC: {
      // DAC holds pairs of table number and value. For tables 0 to 15 (DC) the value holds two bounds of 4
      // bits each, the lower bound in the low bits.
      for (let at = 0; at + 1 < content.length; at += 2)
        if (content[at]! > 31 || (content[at]! < 16 && (content[at + 1]! & 15) > content[at + 1]! >> 4))
          return false;
      return content.length % 2 === 0;
    }
    default:
      return true;
  }
}
