/** Describes how the pixels of an image map to patches. */
import type { Geometry } from './geometry.js';
import { swapsSides } from './orientation.js';

/**
 * Where the patches of an image lie: the image was resized, and patches were cut from the resized image.
 * `patchAt` and `patchArea` compute with it. Plain data.
 */
export interface ImagePlacement {
  /** Width in pixels of the image as an <img> shows it, which applies the Exif orientation of a file. */
  readonly width: number;
  /** Height in pixels of the image as an <img> shows it. */
  readonly height: number;
  /**
   * Exif orientation, 1 to 8, that turns the image as the model sees it into the image as an <img> shows it.
   * It is 1 unless the option `orientation: 'ignore'` (the default) ignored the orientation of a file.
   */
  readonly orientation: number;
  /** Width in pixels of the whole image after the resize, as the model sees it. */
  readonly resizedWidth: number;
  /** Height in pixels of the whole image after the resize, as the model sees it. */
  readonly resizedHeight: number;
  /** Left edge of the first patch, in pixels of the resized image. Negative if the image was padded. */
  readonly left: number;
  /** Top edge of the first patch, in pixels of the resized image. Negative if the image was padded. */
  readonly top: number;
  /** Side of a patch, in pixels of the resized image. */
  readonly patchSize: number;
}

/**
 * Returns the placement of an image.
 * @param ignored the Exif orientation that was ignored, 1 to 8; 1 if none was
 */
export function placementOf(
  { sourceWidth, sourceHeight, resizedWidth, resizedHeight, left, top }: Geometry,
  patchSize: number,
  ignored: number,
): ImagePlacement {
  const [width, height] = swapsSides(ignored) ? [sourceHeight, sourceWidth] : [sourceWidth, sourceHeight];
  return { width, height, orientation: ignored, resizedWidth, resizedHeight, left, top, patchSize };
}
