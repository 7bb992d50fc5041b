/** Decodes an image file in a runtime without `createImageBitmap`, with the decoder of the host. */
import { ImageError } from '../errors.js';
import { concat } from '../io/chunks.js';
import { host } from '../platform/host.js';
import { checkPixels, pixelMemory } from './decodeErrors.js';
import { identifyFile } from './otherFiles.js';
import type { Canvas, Pixels } from './pixels.js';

/**
 * Decodes a file with the decoder of the host.
 *
 * @param pieces the file, in consecutive pieces
 * @param found description of the file, for the error message
 * @param canvas the black image in which the picture lies, if the file is an animation
 * @throws ImageError IMAGE_DECODE, if there is no decoder, or it does not decode the file; IMAGE_SIZE, if the
 *   picture has too many pixels, or memory does not hold the canvas
 */
export async function decodeInHost(
  pieces: readonly Uint8Array[],
  name: string,
  found: string,
  canvas: Canvas | undefined,
): Promise<Pixels> {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const bytes = concat(pieces, length);
  let decoded: Pixels | undefined;
  try {
    decoded = await host.decode?.(bytes, name);
  } catch (cause) {
    if (cause instanceof ImageError) throw cause;
    throw notDecoded(bytes, name, found, cause);
  }
  if (!decoded) throw notDecoded(bytes, name, found);
  checkPixels(name, decoded);
  return canvas ? onCanvas(decoded, canvas, name) : decoded;
}

/** Copies a picture to its place on a black image. */
function onCanvas({ data, width, height }: Pixels, canvas: Canvas, name: string): Pixels {
  const made = pixelMemory(name, canvas.width, canvas.height, 4);
  const across = Math.min(width, canvas.width - canvas.left);
  const down = Math.min(height, canvas.height - canvas.top);
  for (let y = 0; y < down; y++) {
    const from = y * width * 4;
    made.set(data.subarray(from, from + across * 4), ((canvas.top + y) * canvas.width + canvas.left) * 4);
  }
  return { data: made, width: canvas.width, height: canvas.height };
}

function notDecoded(bytes: Uint8Array, name: string, found: string, cause?: unknown): ImageError {
  const other = identifyFile(bytes);
  if (cause !== undefined) {
    const [reason] = String(cause instanceof Error ? cause.message : cause).split('\n');
    return new ImageError(
      'IMAGE_DECODE',
      `${name}: expected a valid image, found ${other?.what ?? found}, which cannot be decoded (${reason}). ${other?.advice ?? 'Copy or download the file again, or save the image again'}.`,
      { cause },
    );
  }
  const [formats, advice] = host.decode
    ? ['a PNG, JPEG, WebP, AVIF, TIFF, GIF or BMP', 'Convert it to PNG']
    : [
        'a PNG, a GIF or a BMP, because this runtime has no image decoder (createImageBitmap)',
        'In Node, import dinov2-webgpu/node, which decodes other formats with the package sharp; or pass pixels: { data, width, height, channels }',
      ];
  return new ImageError(
    'IMAGE_DECODE',
    `${name}: expected ${formats}, found ${other?.what ?? found}. ${other?.advice ?? advice}.`,
  );
}
