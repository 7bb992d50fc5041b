/** A picture with one colour for each patch at another size, computed on the CPU. */
import { OptionError } from '../errors.js';

/** The size of a picture. */
export interface PictureSize {
  /**
   * Width of the picture in pixels. Default: one pixel per patch, or, if `height` is given, as many pixels as
   * keep the proportions.
   */
  readonly width?: number | undefined;
  /**
   * Height of the picture in pixels. Default: one pixel per patch, or, if `width` is given, as many pixels as
   * keep the proportions.
   */
  readonly height?: number | undefined;
  /** Number of pixels along each side of a patch, a positive integer. Instead of `width` and `height`. */
  readonly scale?: number | undefined;
}

/** Largest side of a picture in pixels. */
const MAX_SIDE = 16_384;

/**
 * Returns the width and height of a picture of `rows` × `cols` patches.
 * @param where name of the call, for error messages
 * @throws OptionError OPTION_VALUE, if a side is out of range
 */
export function pictureSize(
  where: string,
  { width, height, scale }: PictureSize,
  rows: number,
  cols: number,
): { readonly width: number; readonly height: number } {
  if (scale !== undefined && (width !== undefined || height !== undefined))
    throw wrong(where, 'either scale, or width and height', 'both', 'Remove one of them.');
  if (scale !== undefined && (!Number.isInteger(scale) || scale < 1))
    throw wrong(where, 'scale to be a positive integer', String(scale), 'Or pass width and height.');
  const across = width ?? (height === undefined ? cols * (scale ?? 1) : round((height * cols) / rows));
  const down = height ?? (width === undefined ? rows * (scale ?? 1) : round((width * rows) / cols));
  for (const side of [across, down])
    if (!Number.isInteger(side) || side < 1 || side > MAX_SIDE)
      throw wrong(where, `sides from 1 to ${MAX_SIDE} pixels`, `${across} × ${down}`, 'Change the size.');
  return { width: across, height: down };
}

const round = (side: number): number => Math.max(1, Math.round(side));

/**
 * Returns a picture at another size, as shaders/draw_patches.wgsl draws it.
 * @param pixels RGBA, (rows, cols, 4), alpha not multiplied
 * @param smooth true: bilinear interpolation between the centres of the patches. False: each patch is a
 *   rectangle
 * @returns RGBA, (height, width, 4), alpha not multiplied
 */
export function resizedPicture(
  pixels: Uint8ClampedArray<ArrayBuffer>,
  { rows, cols }: { readonly rows: number; readonly cols: number },
  { width, height }: { readonly width: number; readonly height: number },
  smooth: boolean,
): Uint8ClampedArray<ArrayBuffer> {
  if (width === cols && height === rows) return pixels;
  const [across, down] = [tapsOf(cols, width, smooth), tapsOf(rows, height, smooth)];
  const out = new Uint8ClampedArray(4 * width * height);
  for (let y = 0; y < height; y++) {
    const { first: top, second: bottom, weight: v } = down[y]!;
    for (let x = 0; x < width; x++) {
      const { first: left, second: right, weight: u } = across[x]!;
      const to = 4 * (y * width + x);
      const [a, b] = [4 * (top * cols + left), 4 * (top * cols + right)];
      const [c, d] = [4 * (bottom * cols + left), 4 * (bottom * cols + right)];
      // A colour counts in proportion to its alpha: a transparent patch has no colour.
      const [p, q] = [pixels[a + 3]! * (1 - u) * (1 - v), pixels[b + 3]! * u * (1 - v)];
      const [r, s] = [pixels[c + 3]! * (1 - u) * v, pixels[d + 3]! * u * v];
      const alpha = p + q + r + s;
      out[to + 3] = alpha;
      if (alpha === 0) continue;
      for (let i = 0; i < 3; i++)
        out[to + i] =
          (p * pixels[a + i]! + q * pixels[b + i]! + r * pixels[c + i]! + s * pixels[d + i]!) / alpha;
    }
  }
  return out;
}

/**
 * Returns, for each pixel along an axis: the two patches that it interpolates, and the weight of the second
 * patch.
 */
function tapsOf(
  patches: number,
  pixels: number,
  smooth: boolean,
): { readonly first: number; readonly second: number; readonly weight: number }[] {
  return Array.from({ length: pixels }, (_, i) => {
    // Integers, as in the shader: the rounding of a quotient could select the neighbour of a patch.
    const center = (2 * i + 1) * patches;
    const place = smooth ? Math.max(center - pixels, 0) : center;
    const first = Math.floor(place / (2 * pixels));
    const weight = smooth ? (place % (2 * pixels)) / (2 * pixels) : 0;
    return { first, second: Math.min(first + 1, patches - 1), weight };
  });
}

const wrong = (where: string, expected: string, found: string, advice: string): OptionError =>
  new OptionError('OPTION_VALUE', `${where}: expected ${expected}, found ${found}. ${advice}`);
