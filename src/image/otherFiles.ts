/** Identifies files that are not images, and images that browsers cannot decode, for error messages. */
import { ImageError } from '../errors.js';
import { latin1 } from './orientation.js';

/** Description of an identified file, for error messages. */
export interface OtherFile {
  /** The kind of file with an article: `an HEIC photograph`. */
  readonly what: string;
  /** A sentence without full stop that says what to do. */
  readonly advice: string;
  /**
   * True if Pillow does not read files of this kind. Such files are refused even if the browser could decode
   * them.
   */
  readonly never?: boolean;
}

const IMAGE = 'Choose an image: JPEG, PNG, WebP, AVIF, GIF or BMP';

/** Identifies a file by its first bytes. Returns undefined if the bytes are not recognized. */
export function identifyFile(bytes: Uint8Array): OtherFile | undefined {
  if (bytes.length === 0)
    return {
      what: 'an empty file (0 bytes)',
      advice: 'Copy or download the file again',
      never: true,
    };
  const text = latin1(bytes.subarray(0, 1024));
  const begins = (...beginnings: string[]): boolean => beginnings.some((each) => text.startsWith(each));
  if (begins('\xff\xd8\xff')) return ofJpeg(bytes);
  if (text.slice(4, 8) === 'ftyp') return ofIsoMedia(text);
  if (begins('II*\0', 'MM\0*', 'II+\0', 'MM\0+'))
    return { what: 'a TIFF or camera raw file', advice: 'Save it as PNG or JPEG' };
  if (begins('\0\0\0\x0cJXL ', '\xff\x0a')) return { what: 'a JPEG XL image', advice: 'Save it as PNG' };
  if (begins('\0\0\0\x0cjP  ', '\xff\x4f\xff\x51'))
    return { what: 'a JPEG 2000 image', advice: 'Save it as PNG' };
  if (begins('8BPS')) return { what: 'a Photoshop file', advice: 'Save it as PNG' };
  if (begins('%PDF-')) return { what: 'a PDF document', advice: 'Save its pages as PNG', never: true };
  if (begins('%!PS', '\xc5\xd0\xd3\xc6')) return { what: 'a PostScript file', advice: 'Save it as PNG' };
  if (begins('\x1aE\xdf\xa3', 'OggS', 'FLV\x01', '\0\0\x01\xba') || /^RIFF[^]{4}AVI /.test(text))
    return { what: 'a video', advice: 'Pass a <video> element or a VideoFrame of it', never: true };
  if (begins('ID3') || /^RIFF[^]{4}WAVE/.test(text))
    return { what: 'a sound file', advice: IMAGE, never: true };
  if (begins('PK\x03\x04', '\x1f\x8b', 'Rar!', '7z\xbc\xaf'))
    return { what: 'an archive', advice: 'Unpack it and choose the images in it', never: true };
  return ofText(bytes, text);
}

/** Recognizes a JPEG coding that browsers do not decode, by the frame marker. */
function ofJpeg(bytes: Uint8Array): OtherFile | undefined {
  for (let at = 2; at + 4 < bytes.length;) {
    const marker = bytes[at] === 0xff ? bytes[at + 1]! : 0xda;
    if (marker === 0xda) return undefined;
    // Markers SOF0 to SOF15. DHT, JPG and DAC are in the same range.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const coding = marker > 0xc8 ? 'arithmetic coding' : marker > 0xc2 ? 'lossless coding' : undefined;
      const found = coding ?? (bytes[at + 4] === 8 ? undefined : `${bytes[at + 4]} bits a channel`);
      return found === undefined
        ? undefined
        : { what: `a JPEG with ${found}`, advice: 'Browsers do not decode such JPEGs: save it as PNG' };
    }
    at += marker === 0xff ? 1 : 2 + bytes[at + 2]! * 256 + bytes[at + 3]!;
  }
  return undefined;
}

/** Recognizes ISO media files (HEIC, raw, video) by their brands. */
function ofIsoMedia(text: string): OtherFile | undefined {
  const brands = text.slice(8, 8 + Math.min(64, text.charCodeAt(3) || 16));
  if (/^avi[fs]/.test(brands)) return undefined;
  if (/hei[cxms]|hev[cxms]|^mif1|^msf1/.test(brands.slice(0, 4)) || /hei[cx]/.test(brands))
    return {
      what: 'an HEIC photograph (an iPhone format)',
      advice:
        'Convert it to JPEG first, or set the camera to save JPEG (iPhone: Settings, Camera, Formats, Most Compatible)',
    };
  if (/^cr[x3] /.test(brands)) return { what: 'a camera raw file', advice: 'Save it as PNG or JPEG' };
  return { what: 'a video', advice: 'Pass a <video> element or a VideoFrame of it', never: true };
}

function ofText(bytes: Uint8Array, head: string): OtherFile | undefined {
  const wide = head.startsWith('\xff\xfe') || head.startsWith('\xfe\xff');
  const text = (wide ? head.replaceAll('\0', '') : head)
    .replace(/^(\xef\xbb\xbf|\xff\xfe|\xfe\xff)/, '')
    .trimStart();
  if (/^<svg[\s>]|^<(\?xml|!--|!DOCTYPE svg)[^]*<svg[\s>]/i.test(text) || /^<!DOCTYPE svg/i.test(text))
    return {
      what: 'an SVG drawing, which has no pixels of its own',
      advice: 'Draw it on a canvas of the desired size and pass the canvas, or save it as PNG',
      never: true,
    };
  if (/^<(!doctype html|html|head|body|title)\b/i.test(text))
    return {
      what: 'an HTML page',
      advice: 'Check the address: the server answered with a page',
      never: true,
    };
  if (text.startsWith('version https://git-lfs'))
    return {
      what: 'a Git LFS pointer instead of the file',
      advice: 'Fetch the file itself (git lfs pull)',
      never: true,
    };
  const sample = bytes.subarray(0, 1024);
  if (
    sample.every((byte) => (byte >= 0x20 ? byte !== 0x7f : byte === 9 || byte === 10 || byte === 13)) &&
    isUtf8(sample, bytes.length)
  )
    return { what: `text (${bytes.length} bytes)`, advice: IMAGE, never: true };
  return undefined;
}

function isUtf8(bytes: Uint8Array, whole: number): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: bytes.length < whole });
    return true;
  } catch {
    return false;
  }
}

/**
 * Refuses a file that Pillow does not read, even if the browser could decode it.
 *
 * @throws ImageError IMAGE_DECODE, if the file is of a kind that Pillow does not read
 */
export function refuseNonImage(bytes: Uint8Array, name: string): void {
  const other = identifyFile(bytes);
  if (other?.never)
    throw new ImageError('IMAGE_DECODE', `${name}: expected an image, found ${other.what}. ${other.advice}.`);
}

/**
 * Creates the error for a file that the browser cannot decode.
 * @param cause the error of the browser's decoder
 */
export function notDecoded(bytes: Uint8Array, name: string, found: string, cause: unknown): ImageError {
  const { what, advice } = identifyFile(bytes) ?? {};
  return new ImageError(
    'IMAGE_DECODE',
    `${name}: expected an image, found ${what ?? found}, which this browser cannot decode (${String(cause)}). ${advice ?? 'Use PNG, JPEG, WebP, or another format that this browser shows in an <img>'}.`,
    { cause },
  );
}

/** Makes the error for a JPEG that the browser has decoded at a lower resolution; closes the picture. */
export function reduced(
  name: string,
  image: { readonly width: number; readonly height: number; close?(): void },
  header: { readonly width: number; readonly height: number },
): ImageError {
  const found = `${image.width} × ${image.height}`;
  image.close?.(); // sets its size to 0
  return new ImageError(
    'IMAGE_SIZE',
    `${name}: expected ${header.width} × ${header.height} pixels, as the file says, found ${found}. To save memory, the browser has reduced the photograph, so the features would differ from Python's. Reduce the photograph first, or pass its pixels.`,
  );
}
