/**
 * Interpolates position embeddings for a grid other than the native grid, as PyTorch's bicubic
 * `F.interpolate`.
 *
 * Both filters are separable. Without antialias (`upsample_bicubic2d`): Keys' kernel with a = -0.75 and 4
 * taps; taps past the border read the nearest position at the border. With antialias
 * (`_upsample_bicubic2d_aa`): Keys' kernel with a = -0.5, stretched by the scale if the grid shrinks; taps
 * past the border are dropped and the weights normalized to sum 1.
 */

import { CheckpointError, OptionError } from '../errors.js';
import type { PosEmbedConvention } from './config.js';

export interface InterpolatePosEmbedOptions {
  embedDim: number;
  /** Patches along a side of the stored grid. */
  nativeGrid: number;
  /** Size of the new grid in patches. */
  rows: number;
  cols: number;
  convention: PosEmbedConvention;
}

/**
 * Filter of one axis. Output `i` is the sum of `weights[k] * input[indices[k]]` for `first[i] <= k < first[i
 * + 1]`.
 */
interface Taps {
  readonly first: Int32Array;
  readonly indices: Int32Array;
  readonly weights: Float64Array;
}

/**
 * Interpolates position embeddings for a grid of rows × cols patches.
 *
 * For the native grid, every convention gives a copy: transformers and facebookresearch skip the
 * interpolation for the native image. For 518 × 520 pixels, whose grid is native too, transformers
 * interpolates, but each sample falls exactly on a stored position. Sums and coordinates are float64, within
 * 1e-7 of PyTorch in float64. PyTorch in float32 also rounds the coordinates. This rounding changes white
 * noise in [-1, 1] by up to 8e-6, and depends on whether PyTorch's build fuses multiply and add.
 *
 * @param posEmbed (1 + nativeGrid · nativeGrid, embed_dim): the row of the cls token, then the patches by
 *   rows
 * @returns (rows · cols, embed_dim): patches only. The row of the cls token is the first of `posEmbed`
 * @throws {CheckpointError} CHECKPOINT_TENSORS, if the length of `posEmbed` does not match embedDim and
 *   nativeGrid
 * @throws {OptionError} OPTION_VALUE, if rows or cols is not a positive integer
 */
export function interpolatePosEmbed(
  posEmbed: Float32Array,
  options: InterpolatePosEmbedOptions,
): Float32Array<ArrayBuffer> {
  const { embedDim, nativeGrid, rows, cols, convention } = options;
  const expected = (1 + nativeGrid * nativeGrid) * embedDim;
  if (posEmbed.length !== expected) {
    throw new CheckpointError(
      'CHECKPOINT_TENSORS',
      `interpolatePosEmbed: expected ${expected} values ((1 + ${nativeGrid} × ${nativeGrid}) × ${embedDim}), found ${posEmbed.length}. ` +
        'Use the pos_embed of a model with this configuration.',
    );
  }
  if (!Number.isInteger(rows) || !Number.isInteger(cols) || rows < 1 || cols < 1) {
    throw new OptionError(
      'OPTION_VALUE',
      `interpolatePosEmbed: expected a grid of at least 1 × 1 patches, found ${rows} × ${cols}. Use an image of at least one patch.`,
    );
  }
  if (rows === nativeGrid && cols === nativeGrid) return posEmbed.slice(embedDim);

  const vertical = tapsOf(nativeGrid, rows, convention);
  const horizontal = rows === cols ? vertical : tapsOf(nativeGrid, cols, convention);
  const out = new Float32Array(rows * cols * embedDim);
  // An output row before horizontal filtering: (nativeGrid, embed_dim).
  const strip = new Float64Array(nativeGrid * embedDim);
  const sum = new Float64Array(embedDim);
  for (let row = 0; row < rows; row++) {
    strip.fill(0);
    for (let k = vertical.first[row]!; k < vertical.first[row + 1]!; k++) {
      const weight = vertical.weights[k]!;
      const begin = (1 + vertical.indices[k]! * nativeGrid) * embedDim;
      for (let i = 0; i < strip.length; i++) strip[i]! += weight * posEmbed[begin + i]!;
    }
    for (let col = 0; col < cols; col++) {
      sum.fill(0);
      for (let k = horizontal.first[col]!; k < horizontal.first[col + 1]!; k++) {
        const weight = horizontal.weights[k]!;
        const begin = horizontal.indices[k]! * embedDim;
        for (let i = 0; i < embedDim; i++) sum[i]! += weight * strip[begin + i]!;
      }
      out.set(sum, (row * cols + col) * embedDim);
    }
  }
  return out;
}

/** Computes the taps of one axis with `size` inputs and `outSize` outputs. */
function tapsOf(size: number, outSize: number, convention: PosEmbedConvention): Taps {
  const first = new Int32Array(outSize + 1);
  const indices: number[] = [];
  const weights: number[] = [];
  // facebookresearch passes the scale factor (outSize + 0.1) / size, "to avoid floating point error in the
  // interpolation".
  const scale = size / (convention === 'offset' ? outSize + 0.1 : outSize);
  for (let i = 0; i < outSize; i++) {
    if (convention === 'antialias') {
      const stretch = Math.max(scale, 1);
      const centre = scale * (i + 0.5);
      const begin = Math.max(Math.trunc(centre - 2 * stretch + 0.5), 0);
      const end = Math.min(Math.trunc(centre + 2 * stretch + 0.5), size);
      const raw: number[] = [];
      for (let index = begin; index < end; index++) raw.push(cubic((index - centre + 0.5) / stretch, -0.5));
      const total = raw.reduce((sum, weight) => sum + weight, 0);
      raw.forEach((weight, k) => {
        indices.push(begin + k);
        weights.push(weight / total);
      });
    } else {
      const centre = scale * (i + 0.5) - 0.5;
      const floor = Math.floor(centre);
      for (let index = floor - 1; index <= floor + 2; index++) {
        indices.push(Math.min(Math.max(index, 0), size - 1));
        weights.push(cubic(index - centre, -0.75));
      }
    }
    first[i + 1] = indices.length;
  }
  return { first, indices: Int32Array.from(indices), weights: Float64Array.from(weights) };
}

/** Computes Keys' cubic convolution kernel. */
function cubic(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((x - 5) * x + 8) * x * a - 4 * a;
  return 0;
}
