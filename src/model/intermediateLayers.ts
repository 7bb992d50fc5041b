/** Selects blocks and transposes patch tokens for `Features.getIntermediateLayers`. */
import { OptionError } from '../errors.js';
import { layerIndex } from './layers.js';

/**
 * Returns block indices in ascending order. facebookresearch treats a list of blocks as a set, so its results
 * are in the order of the blocks.
 * @param n number of last blocks, or indices of blocks from 0; -1 is the last block
 * @throws OptionError OPTION_VALUE
 */
export function blocksOf(n: number | readonly number[], depth: number): number[] {
  const count = typeof n === 'number' ? n : n.length;
  if (Number.isInteger(count) && count >= 1 && count <= depth) {
    const blocks =
      typeof n === 'number'
        ? Array.from({ length: n }, (_, i) => depth - n + i)
        : n
            .map((block) => layerIndex('getIntermediateLayers', 'indices', block, depth))
            .sort((first, second) => first - second);
    if (blocks.every((block, i) => block !== blocks[i - 1])) return blocks;
  }
  const found = typeof n === 'number' ? String(n) : `[${n.join(', ')}]`;
  throw new OptionError(
    'OPTION_VALUE',
    `getIntermediateLayers: expected a number of blocks from 1 to ${depth}, or different indices, found ${found}.`,
  );
}

/** Transposes patch tokens (batch, rows · cols, embedDim) to (batch, embedDim, rows, cols). */
export function channelsFirst(
  patches: Float32Array<ArrayBuffer>,
  { batch, rows, cols, embedDim }: Readonly<Record<'batch' | 'rows' | 'cols' | 'embedDim', number>>,
): Float32Array<ArrayBuffer> {
  const count = rows * cols;
  const out = new Float32Array(patches.length);
  for (let image = 0; image < batch; image++) {
    const first = image * count * embedDim;
    for (let patch = 0; patch < count; patch++) {
      for (let channel = 0; channel < embedDim; channel++)
        out[first + channel * count + patch] = patches[first + patch * embedDim + channel]!;
    }
  }
  return out;
}
