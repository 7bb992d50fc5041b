/** Errors, size limit and time slice that the library's image decoders share. */
import { ImageError } from '../errors.js';

/** Milliseconds that a decoder computes before it yields to other tasks of the page. */
export const SLICE_MS = 10;

/** Creates the error for a truncated file. `where` says at which byte the file ends, and what is missing. */
export const endsTooEarly = (name: string, format: string, where: string): ImageError =>
  new ImageError(
    'IMAGE_DECODE',
    `${name}: the ${format} file ends too early: ${where}. Copy or download the file again.`,
  );

/**
 * Creates the error for a file that contradicts its format, or uses a variant of the format that Pillow
 * refuses.
 */
export const damaged = (name: string, format: string, what: string): ImageError =>
  new ImageError(
    'IMAGE_DECODE',
    `${name}: expected a valid ${format} file, found ${what}. Copy or download the file again, or save the image again.`,
  );

/**
 * Allocates memory for the pixels of an image.
 *
 * @throws ImageError IMAGE_SIZE, if there is not enough memory
 */
export function pixelMemory(
  name: string,
  width: number,
  height: number,
  bytesPerPixel: number,
): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(width * height * bytesPerPixel);
  } catch (cause) {
    throw new ImageError(
      'IMAGE_SIZE',
      `${name}: not enough memory for ${width} × ${height} pixels. Make the image smaller first.`,
      { cause },
    );
  }
}

/** Pillow refuses larger images as decompression bombs (Image.py: 2 · MAX_IMAGE_PIXELS). */
const MOST_PIXELS = 178_956_970;

/**
 * Refuses an image with more pixels than Pillow accepts, and closes it if it is a bitmap.
 *
 * @param image the image, or its size in pixels
 * @throws ImageError IMAGE_SIZE
 */
export function checkPixels(
  name: string,
  image: { readonly width: number; readonly height: number; close?(): void },
): void {
  const { width, height } = image;
  if (width * height <= MOST_PIXELS) return;
  image.close?.();
  throw new ImageError(
    'IMAGE_SIZE',
    `${name}: expected at most ${MOST_PIXELS} pixels (Pillow's limit), found ${width} × ${height}. Make the image smaller first.`,
  );
}
