/** Small pictures of photographs, made by the browser. */

export interface Thumbnail {
  readonly blob: Blob;
  /** Of the photograph, upright, in pixels. */
  readonly width: number;
  readonly height: number;
}

/** Decoded photographs that are held at once: each is some 50 MB for a camera of 12 megapixels. */
const MOST_AT_ONCE = 2;
let running = 0;
const waiting: (() => void)[] = [];

/**
 * A picture that fits into `px` × `px`, as WebP, or as JPEG where the browser writes no WebP. Undefined where
 * the browser cannot decode the file (the library reads some PNG that browsers do not), or where there is no
 * browser.
 */
export async function makeThumbnail(file: Blob, px: number): Promise<Thumbnail | undefined> {
  if (typeof createImageBitmap === 'undefined' || typeof OffscreenCanvas === 'undefined') return undefined;
  while (running >= MOST_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  running += 1;
  try {
    return await draw(file, px);
  } finally {
    running -= 1;
    waiting.shift()?.();
  }
}

async function draw(file: Blob, px: number): Promise<Thumbnail | undefined> {
  const bitmap = await createImageBitmap(file, { imageOrientation: 'from-image' }).catch(() => undefined);
  if (!bitmap) return undefined;
  try {
    const { width, height } = bitmap;
    const scale = Math.min(1, px / Math.max(width, height));
    const canvas = new OffscreenCanvas(
      Math.max(1, Math.round(width * scale)),
      Math.max(1, Math.round(height * scale)),
    );
    const context = canvas.getContext('2d');
    if (!context) return undefined;
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const webp = await canvas.convertToBlob({ type: 'image/webp', quality: 0.82 });
    const blob =
      webp.type === 'image/webp' ? webp : await canvas.convertToBlob({ type: 'image/jpeg', quality: 0.82 });
    return { blob, width, height };
  } finally {
    bitmap.close();
  }
}
