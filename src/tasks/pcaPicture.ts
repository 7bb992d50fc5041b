/** Draws and encodes PCA pictures whose pixels are computed elsewhere: in the page or in a worker. */
import { loadPart } from '../platform/part.js';
import { context2dOf, putPixels } from './canvas.js';
import { pictureSize, type PictureSize } from './resizedPicture.js';

/**
 * Draws a picture of `rows` × `cols` patches on a canvas and sets the canvas size to that of the picture.
 * @param pixels computes RGBA, (height, width, 4). Called only if the canvas has a '2d' context
 * @throws ImageError IMAGE_TYPE, if the canvas already has a context other than '2d'; OptionError OPTION_VALUE,
 *   if the size is out of range
 */
export async function drawPixels(
  canvas: HTMLCanvasElement | OffscreenCanvas,
  { rows, cols }: { readonly rows: number; readonly cols: number },
  options: PictureSize,
  pixels: () => Promise<Uint8ClampedArray<ArrayBuffer>>,
): Promise<void> {
  const { width, height } = pictureSize('PCA.draw', options, rows, cols);
  const context = context2dOf('PCA.draw', canvas);
  putPixels(context, await pixels(), width, height);
}

/**
 * Encodes a picture of `rows` × `cols` patches as a PNG file.
 * @param where name of the call, for error messages
 * @param pixels computes RGBA, (height, width, 4), of the size that the options choose
 * @throws OptionError OPTION_VALUE, if the size is out of range
 */
export async function pngOf(
  where: string,
  { rows, cols }: { readonly rows: number; readonly cols: number },
  options: PictureSize,
  pixels: () => Promise<Uint8ClampedArray<ArrayBuffer>>,
): Promise<Blob> {
  const { width, height } = pictureSize(where, options, rows, cols);
  const { encodePng } = await loadPart(import('../image/pngWrite.js'));
  return new Blob([await encodePng(await pixels(), width, height)], { type: 'image/png' });
}
