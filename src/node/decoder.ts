/**
 * Decodes JPEG, WebP, AVIF and TIFF files in Node with the package `sharp`, which is loaded with the first
 * such file. The library itself reads and removes metadata first (image/decode.ts), so sharp gives the
 * stored pixels. For JPEG, WebP and TIFF they have the bits of Pillow; docs/guide/parity.md has the table.
 */
import type { Sharp } from 'sharp';
import { ImageError } from '../errors.js';
import { checkPixels } from '../image/decodeErrors.js';

type SharpFactory = (typeof import('sharp'))['default'];

/** Decoded pixels: RGBA in rows from the top; alpha is unused. */
interface Decoded {
  readonly data: Uint8Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** The format of a file that sharp decodes; undefined for other files. */
function formatOf(bytes: Uint8Array): 'JPEG' | 'WebP' | 'AVIF' | 'TIFF' | undefined {
  const text = String.fromCharCode(...bytes.subarray(0, 12));
  if (text.startsWith('\xff\xd8\xff')) return 'JPEG';
  if (/^RIFF[^]{4}WEBP/.test(text)) return 'WebP';
  if (/^[^]{4}ftypavi[fs]/.test(text)) return 'AVIF';
  return /^(II\*\0|MM\0\*)/.test(text) ? 'TIFF' : undefined;
}

/** Which problems of a file end the decoding. `error`: those for which Pillow rejects a JPEG too. */
const FAIL_ON = { JPEG: 'error', WebP: 'error', AVIF: 'error', TIFF: 'warning' } as const;

/**
 * Decodes an image file. Returns undefined for a file of another format. Overwrites the file's brand.
 *
 * @throws ImageError IMAGE_DECODE, if sharp is missing or would read the file differently from Pillow;
 *   IMAGE_SIZE; an error of sharp
 */
export async function decodeWithSharp(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
): Promise<Decoded | undefined> {
  const format = formatOf(bytes);
  if (format === undefined) return undefined;
  const sharp = await loadSharp(name, format);
  if (format === 'AVIF') bytes.set([0x61, 0x76, 0x69, 0x66], 8); // sharp does not know the brand `avis` of animations
  const image = sharp(bytes, { ignoreIcc: true, limitInputPixels: false, failOn: FAIL_ON[format] });
  const isCmyk = await checkKind(image, name, format);
  return pixelsOf(format === 'TIFF' ? image.autoOrient() : image, isCmyk);
}

async function loadSharp(name: string, format: string): Promise<SharpFactory> {
  try {
    const { default: sharp } = await import('sharp');
    return sharp;
  } catch (cause) {
    const { code } = cause as { readonly code?: unknown };
    const missing = code === 'ERR_MODULE_NOT_FOUND';
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected a PNG, GIF or BMP, found ${format}, which Node decodes with the package sharp, ${missing ? 'which is missing' : `which could not be loaded (${String(cause)})`}. Install it: npm install sharp. Or convert the image to PNG.`,
      { cause },
    );
  }
}

/**
 * Refuses an image that sharp reads differently from Pillow. Returns true for a CMYK JPEG, whose pixels the
 * library itself decodes.
 */
async function checkKind(image: Sharp, name: string, format: string): Promise<boolean> {
  const { space, depth, width, height } = await image.metadata();
  checkPixels(name, { width, height });
  if (space === 'cmyk') {
    if (format === 'JPEG') return true;
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected an image in RGB or grey, found CMYK, whose conversion to RGB is not standardised. Convert it to RGB.`,
    );
  }
  if (format !== 'AVIF' && (depth !== 'uchar' || (space !== 'srgb' && space !== 'b-w')))
    throw new ImageError(
      'IMAGE_DECODE',
      `${name}: expected 8 bits a channel in RGB or grey, found ${depth} in ${space}, which Pillow reads differently. Convert it to an 8-bit PNG.`,
    );
  return false;
}

async function pixelsOf(image: Sharp, isCmyk: boolean): Promise<Decoded> {
  const { data, info } = await (
    isCmyk ? image.toColourspace('cmyk') : image.toColourspace('srgb').ensureAlpha()
  )
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const rgba = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.length);
  if (isCmyk) return { data: fromCmyk(rgba), width, height };
  if (channels === 4) return { data: rgba, width, height };
  return { data: withAlpha(data, channels, width * height), width, height };
}

/** Expands pixels of 1 or 2 channels (grey, alpha) or 3 channels to four. */
function withAlpha(data: Uint8Array, channels: number, pixels: number): Uint8Array<ArrayBuffer> {
  const rgba = new Uint8Array(pixels * 4);
  const [green, blue] = channels < 3 ? [0, 0] : [1, 2];
  for (let from = 0, to = 0; to < rgba.length; from += channels, to += 4) {
    rgba[to] = data[from]!;
    rgba[to + 1] = data[from + green]!;
    rgba[to + 2] = data[from + blue]!;
  }
  return rgba;
}

/** Converts CMYK to RGB as Pillow does (Convert.c, cmyk2rgb). Overwrites the pixels. */
function fromCmyk(data: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  for (let i = 0; i < data.length; i += 4) {
    const light = 255 - data[i + 3]!;
    for (let c = i; c < i + 3; c++) {
      const product = data[c]! * light + 128;
      data[c] = light - (((product >> 8) + product) >> 8);
    }
  }
  return data;
}
