/** The errors of files that cannot be decoded. */
import { ImageError } from '../errors.js';

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
