/** What the decoders of this library share: their errors, and for how long they compute in one go. */
import { ImageError } from '../errors.js';

/** After so many milliseconds a decoder lets other tasks of the page run. */
export const SLICE_MS = 10;

/** A file that lacks its end. `where` says what is missing, and at which byte. */
export const endsTooEarly = (name: string, format: string, where: string): ImageError =>
  new ImageError(
    'IMAGE_DECODE',
    `${name}: expected a whole ${format}, found that the file ends too early: ${where}. Copy or download the file again.`,
  );

/** A file whose data contradict its format. */
export const damaged = (name: string, format: string, what: string): ImageError =>
  new ImageError(
    'IMAGE_DECODE',
    `${name}: expected a ${format} without errors, found ${what}. Copy or download the file again, or save the image anew.`,
  );

/** Pillow refuses larger images as decompression bombs (Image.py: 2 · MAX_IMAGE_PIXELS). */
const MOST_PIXELS = 178_956_970;

/** @throws ImageError IMAGE_SIZE */
export function checkPixels(name: string, width: number, height: number): void {
  if (width * height <= MOST_PIXELS) return;
  throw new ImageError(
    'IMAGE_SIZE',
    `${name}: expected at most ${MOST_PIXELS} pixels, as Pillow does, found ${width} × ${height}. Make the image smaller first.`,
  );
}
