/** Small pictures of photographs, made by the browser: upright, with its colour management. */
import { decodeSlots } from './decodeSlots.js';
import type { DecodedImage } from './source.js';

export interface Thumbnail {
  readonly blob: Blob;
  /** Of the photograph, upright, in pixels. */
  readonly width: number;
  readonly height: number;
}

/** Enough of a file for its size, unless its metadata are longer. */
const HEADER_BYTES = 2 ** 18;

/**
 * A picture that fits into `px` × `px`, as WebP, or as JPEG where the browser writes no WebP. Undefined where
 * the browser cannot decode the file (the library reads some PNG that browsers do not), or where there is no
 * browser.
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
    return undefined; // not readable, or not decoded: who decodes the image itself says so
  } finally {
    slot.release();
  }
}

/**
 * The same of a picture that is decoded already, where that gives the same colours; else the file is decoded
 * once more. Draws before it returns: the picture may be closed then. Never rejects.
 * @param file where the picture came from
 */
export function thumbnailOf(
  { picture, isAsShown, fileOrientation }: DecodedImage,
  file: Blob,
  px: number,
  signal?: AbortSignal,
): Promise<Thumbnail | undefined> {
  const made =
    isAsShown && hasCanvas()
      ? draw(picture as ImageBitmap, fileOrientation, px)
      : makeThumbnail(file, px, signal);
  return made.catch(() => undefined);
}

const hasCanvas = (): boolean =>
  typeof createImageBitmap === 'function' && typeof OffscreenCanvas === 'function';

/** By Exif's orientation: from the stored picture to the upright one of W × H pixels, as a canvas has it. */
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

/** Reads the picture before it returns. */
async function draw(picture: ImageBitmap, orientation: number, px: number): Promise<Thumbnail | undefined> {
  const turned = orientation >= 5; // on its side
  const [columns, rows] = [picture.width, picture.height]; // it has none once it is closed
  const scale = Math.min(1, px / Math.max(columns, rows));
  const across = Math.max(1, Math.round(columns * scale));
  const down = Math.max(1, Math.round(rows * scale));
  // A canvas would take the whole picture first: ten times as long, where a processor plays the GPU.
  const small = await createImageBitmap(picture, {
    resizeWidth: across,
    resizeHeight: down,
    resizeQuality: 'high',
  });
  try {
    const canvas = new OffscreenCanvas(turned ? down : across, turned ? across : down);
    const context = canvas.getContext('2d', { willReadFrequently: true }); // in memory: it is small, and read at once
    if (!context) return undefined;
    context.imageSmoothingQuality = 'high'; // where a browser gives a bitmap as large as it was
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
