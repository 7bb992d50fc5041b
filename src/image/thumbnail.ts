/** Makes thumbnails with the browser's decoder: upright and colour-managed. */
import { decodeSlots } from './decodeSlots.js';
import { swapsSides } from './orientation.js';
import type { DecodedImage } from './source.js';

/** A thumbnail, and the size of the original image. */
export interface Thumbnail {
  /** The thumbnail's file, WebP or JPEG. */
  readonly blob: Blob;
  /** Width of the upright original in pixels. */
  readonly width: number;
  /** Height of the upright original in pixels. */
  readonly height: number;
}

/**
 * Number of bytes read from the beginning of a file. These bytes contain the image's size, unless longer
 * metadata precede the size.
 */
const HEADER_BYTES = 2 ** 18;

/**
 * Makes a thumbnail that fits into `px` × `px`: WebP, or JPEG if the browser cannot encode WebP. Returns
 * undefined outside a browser, and if the browser cannot decode the file (this library reads some PNG files
 * that browsers do not).
 */
export async function makeThumbnail(
  file: Blob,
  px: number,
  signal?: AbortSignal,
): Promise<Thumbnail | undefined> {
  if (!hasCanvas()) return undefined;
  const slot = await decodeSlots().take(signal);
  try {
    const { decodedBytes, readImageHeader } = await import('./imageHeader.js');
    const begin = await file.slice(0, HEADER_BYTES).arrayBuffer();
    await slot.claim(decodedBytes(readImageHeader(new Uint8Array(begin))), signal);
    const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' });
    try {
      return await draw(bitmap, 1, px);
    } finally {
      bitmap.close();
    }
  } catch {
    signal?.throwIfAborted();
    return undefined; // decoding the image for the model reports the error
  } finally {
    slot.release();
  }
}

/**
 * Makes a thumbnail from a decoded picture if its colours are those of an <img>; otherwise decodes `file`
 * again. Reads the picture synchronously, so the caller may close it after the call. Never rejects.
 * @param file the source of the picture
 */
export function thumbnailOf(
  { picture, isAsShown, fileOrientation }: DecodedImage,
  file: Blob,
  px: number,
  signal?: AbortSignal,
): Promise<Thumbnail | undefined> {
  const thumbnail =
    isAsShown && hasCanvas()
      ? draw(picture as ImageBitmap, fileOrientation, px)
      : makeThumbnail(file, px, signal);
  return thumbnail.catch(() => undefined);
}

const hasCanvas = (): boolean =>
  typeof createImageBitmap === 'function' && typeof OffscreenCanvas === 'function';

/** Canvas transform for an Exif orientation, from the stored picture to an upright one of W × H pixels. */
const transformOf = (orientation: number, W: number, H: number): DOMMatrix2DInit => {
  const [a, b, c, d, e, f] = [
    [1, 0, 0, 1, 0, 0],
    [-1, 0, 0, 1, W, 0],
    [-1, 0, 0, -1, W, H],
    [1, 0, 0, -1, 0, H],
    [0, 1, 1, 0, 0, 0],
    [0, 1, -1, 0, W, 0],
    [0, -1, -1, 0, W, H],
    [0, -1, 1, 0, 0, H],
  ][orientation - 1]! as [number, number, number, number, number, number];
  return { a, b, c, d, e, f };
};

/** Draws the thumbnail. Reads `picture` synchronously. */
async function draw(picture: ImageBitmap, orientation: number, px: number): Promise<Thumbnail | undefined> {
  const turned = swapsSides(orientation);
  const [columns, rows] = [picture.width, picture.height]; // read now: a closed bitmap has size 0
  const scale = Math.min(1, px / Math.max(columns, rows));
  const across = Math.max(1, Math.round(columns * scale));
  const down = Math.max(1, Math.round(rows * scale));
  // Drawing the picture on a canvas would copy all of it first, ten times as slow on a software GPU.
  const small = await createImageBitmap(picture, {
    resizeWidth: across,
    resizeHeight: down,
    resizeQuality: 'high',
  });
  try {
    const canvas = new OffscreenCanvas(turned ? down : across, turned ? across : down);
    // Keeps the small canvas in CPU memory.
    const context = canvas.getContext('2d', { willReadFrequently: true });
    if (!context) return undefined;
    context.imageSmoothingQuality = 'high'; // for browsers that ignore `resizeWidth`
    context.setTransform(transformOf(orientation, canvas.width, canvas.height));
    context.drawImage(small, 0, 0, across, down);
    const webp = await canvas.convertToBlob({ type: 'image/webp', quality: 0.82 });
    const blob =
      webp.type === 'image/webp' ? webp : await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.82 });
    return { blob, width: turned ? rows : columns, height: turned ? columns : rows };
  } finally {
    small.close();
  }
}
