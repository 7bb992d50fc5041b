// Features made of planted patch tokens, and pictures made of textures.
import type { Gpu } from '../../src/gpu/device.ts';
import type { RawImage } from '../../src/index.ts';
import type { PatchFeatures } from '../../src/tasks/patchMatrix.ts';
import type { Random } from '../random.ts';

export interface Shape {
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly batch?: number;
  readonly numRegisterTokens?: number;
}

/**
 * Features with these patch tokens (batch, rows · cols, embedDim). The other tokens have huge values, so that reading
 * one of them is noticed. The caller destroys `buffer`.
 */
export function plantedFeatures(
  gpu: Gpu,
  patches: ArrayLike<number>,
  { rows, cols, embedDim, batch = 1, numRegisterTokens = 0 }: Shape,
): PatchFeatures {
  const before = 1 + numRegisterTokens;
  const numTokens = before + rows * cols;
  const all = new Float32Array(batch * numTokens * embedDim).fill(1e6);
  const image = rows * cols * embedDim;
  for (let b = 0; b < batch; b++)
    for (let i = 0; i < image; i++) all[(b * numTokens + before) * embedDim + i] = patches[b * image + i]!;
  const buffer = gpu.memory.storageOf('features', all);
  return { gpu, buffer, batch, numTokens, numRegisterTokens, rows, cols, embedDim };
}

/** A pattern of stripes with noise: red, green and blue of the pixel at (x, y). */
export function stripes(
  random: Random,
  { angle, period, color }: { angle: number; period: number; color: readonly number[] },
): (x: number, y: number) => readonly number[] {
  const [across, down] = [Math.cos(angle) / period, Math.sin(angle) / period];
  return (x, y) => {
    const wave = 60 * Math.sin(2 * Math.PI * (x * across + y * down));
    return color.map((value) => value + wave + 40 * (random.next() - 0.5));
  };
}

/** A picture whose pixels come from a function of x and y. */
export function pictureOf(
  width: number,
  height: number,
  pixel: (x: number, y: number) => readonly number[],
): RawImage {
  const data = new Uint8ClampedArray(width * height * 3);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data.set(pixel(x, y), (y * width + x) * 3);
  return { data, width, height };
}
