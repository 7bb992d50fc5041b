/**
 * Which way up: Exif's orientation, read here (container.ts) and done by the first pass of the resize
 * (shaders/resize.wgsl). A format whose turns are part of the image itself (AVIF, HEIC) is left to the
 * browser.
 */

const [FLIP_X, FLIP_Y, TRANSPOSE] = [1, 2, 4];

/**
 * By orientation (1 to 8; there is no 0): `turn` of shaders/resize.wgsl, from a pixel of the upright image to
 * where the file has it.
 */
export const TURNS: readonly number[] = [
  0,
  0,
  FLIP_X,
  FLIP_X | FLIP_Y,
  FLIP_Y,
  TRANSPOSE,
  TRANSPOSE | FLIP_Y,
  TRANSPOSE | FLIP_X | FLIP_Y,
  TRANSPOSE | FLIP_X,
];

/** Whether width and height change places in an image of this orientation. */
export const liesOnItsSide = (orientation: number): boolean => orientation >= 5;

/** Tag 274 of the first directory of a TIFF: one number of 16 bits, 1 to 8. */
export function orientationOf(tiff: Uint8Array): number | undefined {
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  if (tiff.length < 8) return undefined;
  const order = view.getUint16(0);
  const little = order === 0x4949;
  if (!little && order !== 0x4d4d) return undefined;
  const directory = view.getUint32(4, little);
  if (directory + 2 > tiff.length) return undefined;
  const entries = view.getUint16(directory, little);
  // An entry: tag (2 bytes), type (2; 3 is 16 bits), count (4), value (4).
  for (let at = directory + 2, i = 0; i < entries && at + 12 <= tiff.length; i++, at += 12) {
    if (view.getUint16(at, little) !== 274 || view.getUint16(at + 2, little) !== 3) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : undefined;
  }
  return undefined;
}
