/**
 * JPEG, ahead of the browser's decoder: that the file is whole, and which way it lies. Only markers are looked
 * at. Firefox shows what there is of a file that is cut off or broken, and Chromium and Pillow refuse it.
 */
import { damaged, endsTooEarly } from './decodeErrors.js';
import { latin1, orientationOf, orientationOfXmp } from './orientation.js';

const [SOI, EOI, SOS, DQT, DHT, DRI, DAC, DNL, COM] = [0xd8, 0xd9, 0xda, 0xdb, 0xc4, 0xdd, 0xcc, 0xdc, 0xfe];
const XMP_NAME = 'http://ns.adobe.com/xap/1.0/\0';

export const isJpeg = (bytes: Uint8Array): boolean =>
  bytes[0] === 0xff && bytes[1] === SOI && bytes[2] === 0xff;

export interface PreparedJpeg {
  /** 1 to 8. */
  readonly orientation: number;
  /**
   * Goes through the compressed data, which takes a few milliseconds: time in which a browser decodes already.
   *
   * @throws ImageError IMAGE_DECODE where Pillow refuses the file for what its markers say
   */
  readonly checkScans: () => void;
}

/**
 * Reads a JPEG up to its compressed data, and blanks the name of its Exif data in place, so that no browser
 * turns the image.
 *
 * @throws ImageError IMAGE_DECODE where Pillow refuses the file for what its markers say
 */
export function prepareJpeg(bytes: Uint8Array<ArrayBuffer>, name: string): PreparedJpeg {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const exif: Uint8Array[] = [];
  let xmp: Uint8Array | undefined;
  let scans = 0;
  let at = 2;
  /** Goes on behind the next marker; false behind the end marker. */
  const step = (): boolean => {
    // From here to the next marker: nothing, bytes of fill, or the compressed data of a scan.
    at = bytes.indexOf(0xff, at);
    while (at >= 0 && bytes[at + 1] === 0xff) at += 1;
    const marker = at < 0 ? undefined : bytes[at + 1];
    if (marker === undefined) {
      const missing = scans > 0 ? 'its end marker (EOI)' : 'image data';
      throw endsTooEarly(name, 'JPEG', `at byte ${bytes.length} without ${missing}`);
    }
    const begin = at + 2;
    at = begin;
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd7)) return true; // within a scan
    if (marker === EOI && scans > 0) return false;
    if (
      !hasSegment(marker) ||
      (scans > 0 && marker >= 0xc0 && marker <= 0xcf && marker !== DHT && marker !== DAC)
    )
      throw damaged(name, 'JPEG', `the marker ff${hex(marker)} at byte ${begin - 2}, where none may stand`);
    const length = begin + 2 > bytes.length ? 2 : view.getUint16(begin);
    const end = begin + Math.max(2, length);
    if (end > bytes.length)
      throw endsTooEarly(
        name,
        'JPEG',
        `at byte ${bytes.length}, within the segment ff${hex(marker)} of byte ${begin - 2}`,
      );
    const content = bytes.subarray(begin + 2, end);
    if (!isSound(marker, content))
      throw damaged(name, 'JPEG', `a segment ff${hex(marker)} at byte ${begin - 2} with wrong content`);
    if (marker === SOS) scans += 1;
    if (marker === 0xe1 && scans === 0 && latin1(content.subarray(0, 4)) === 'Exif') {
      if (latin1(content.subarray(4, 6)) === '\0\0') exif.push(content.slice(6));
      content.fill(0, 0, 4);
    } else if (marker === 0xe1 && scans === 0 && latin1(content.subarray(0, XMP_NAME.length)) === XMP_NAME) {
      xmp = content.subarray(XMP_NAME.length);
    }
    at = end;
    return true;
  };
  while (scans === 0) step();
  // Exif data may go over several segments, as Pillow has it.
  const found = exif.length > 0 ? orientationOf(exif.length === 1 ? exif[0]! : joined(exif)) : undefined;
  return {
    orientation: found ?? (xmp && orientationOfXmp(xmp)) ?? 1,
    checkScans: () => {
      while (step());
    },
  };
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

/** Whether libjpeg reads on behind this marker: tables, frames, scans, applications' data, comments. */
const hasSegment = (marker: number): boolean =>
  (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc8) ||
  (marker >= SOS && marker <= DRI) ||
  (marker >= 0xe0 && marker <= 0xef) ||
  marker === COM;

/** Whether a segment of tables or of a scan holds what libjpeg demands of it. */
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
    case DNL:
    default:
      return true;
  }
}
