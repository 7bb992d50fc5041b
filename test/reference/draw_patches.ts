/** A picture of patches at the size of a render target, computed on the CPU in float64. */

/** Decodes sRGB to linear light. */
const decoded = (value: number): number =>
  value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;

/**
 * Colours from 0 to 1, multiplied by alpha: (height, width, 4).
 *
 * @param rgba (rows, cols, 4): bytes, alpha not multiplied
 * @param bilinear interpolates as PyTorch's `interpolate(…, mode='bilinear', align_corners=False)`
 * @param linear decodes the colours to linear light after the interpolation
 */
export function drawPatches(
  rgba: ArrayLike<number>,
  [rows, cols]: readonly [number, number],
  [height, width]: readonly [number, number],
  { bilinear, linear = false }: { readonly bilinear: boolean; readonly linear?: boolean },
): Float64Array {
  const at = (row: number, col: number, channel: number): number => {
    const pixel = 4 * (row * cols + col);
    const alpha = rgba[pixel + 3]! / 255;
    return channel === 3 ? alpha : (rgba[pixel + channel]! / 255) * alpha;
  };
  const clamp = (value: number, most: number): number => Math.min(Math.max(value, 0), most);
  const out = new Float64Array(height * width * 4);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      // In units of half a pixel, so that the nearest patch is exact.
      const [centerY, centerX] = [(2 * y + 1) * rows, (2 * x + 1) * cols];
      const row = bilinear
        ? clamp(centerY / (2 * height) - 0.5, rows - 1)
        : Math.floor(centerY / (2 * height));
      const col = bilinear ? clamp(centerX / (2 * width) - 0.5, cols - 1) : Math.floor(centerX / (2 * width));
      const [top, left] = [Math.floor(row), Math.floor(col)];
      const [bottom, right] = [Math.min(top + 1, rows - 1), Math.min(left + 1, cols - 1)];
      const color = [0, 1, 2, 3].map((channel) => {
        const upper = at(top, left, channel) * (1 - col + left) + at(top, right, channel) * (col - left);
        const lower =
          at(bottom, left, channel) * (1 - col + left) + at(bottom, right, channel) * (col - left);
        return upper * (1 - row + top) + lower * (row - top);
      });
      const alpha = color[3]!;
      color.forEach((value, channel) => {
        const light = linear && channel < 3 && alpha > 0 ? decoded(value / alpha) * alpha : value;
        out[4 * (y * width + x) + channel] = light;
      });
    }
  }
  return out;
}
