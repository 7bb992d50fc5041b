/** A decoded picture, and how it is prepared for the model. */
import { ImageError, type DINOv2 } from '../../src/index.js';

/**
 * How a picture is prepared for the model. `crop`: by the checkpoint's own preprocessing, usually a central
 * crop. A number: the whole picture is resized so that its longer side has this many pixels.
 */
export type InputSize = 'crop' | 224 | 322 | 448 | 518;

/** A decoded picture. The model and the page use the same decoded pixels. */
export interface Picture {
  readonly name: string;
  readonly bitmap: ImageBitmap;
  /** The value of the picture's radio button: the name of a sample, or `own` for the visitor's picture. */
  readonly choice: string;
}

/**
 * Decodes a picture once, for the page and for the model: upright and without colour management, as the
 * library does with `orientation: 'respect'`. Throws an ImageError if the browser cannot decode the picture.
 */
export async function decode(blob: Blob, model: DINOv2 | undefined): Promise<ImageBitmap> {
  try {
    return await createImageBitmap(blob, {
      imageOrientation: 'from-image',
      colorSpaceConversion: 'none',
      premultiplyAlpha: 'none',
    });
  } catch (cause) {
    (await model?.features(blob))?.dispose();
    throw new ImageError(
      'IMAGE_DECODE',
      `Expected a picture, found ${blob.size} bytes that this browser cannot decode (${String(cause)}). Use PNG, JPEG or WebP.`,
      { cause },
    );
  }
}
