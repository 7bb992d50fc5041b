/** Draws pixels on a canvas of the page. */
import { ImageError } from '../errors.js';

type Context2d = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/**
 * Returns the 2d context of a canvas.
 * @param where name of the call, for error messages
 * @throws ImageError IMAGE_TYPE, if the canvas already has a context other than '2d'
 */
export function context2dOf(where: string, canvas: HTMLCanvasElement | OffscreenCanvas): Context2d {
  const context = canvas.getContext('2d') as Context2d | null;
  if (context) return context;
  throw new ImageError(
    'IMAGE_TYPE',
    `${where}: the canvas already has a context other than '2d'. Pass a new canvas.`,
  );
}

/**
 * Puts a picture on a canvas, and sets the canvas to the size of the picture.
 * @param pixels RGBA, (height, width, 4)
 */
export function putPixels(
  context: Context2d,
  pixels: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): void {
  const { canvas } = context;
  // Assigning a size clears the canvas, even if the size does not change.
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  context.putImageData(new ImageData(pixels, width, height), 0, 0);
}
