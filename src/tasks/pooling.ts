/** Pools the tokens of an image into one vector. */
import { OptionError } from '../errors.js';

/**
 * How the tokens of an image become one vector:
 * - `cls`: the cls token, as in DINOv2's own k-NN evaluation;
 * - `mean`: the mean of the patch tokens;
 * - `cls+mean`: both concatenated (2 · embedDim), the input of the linear classifiers;
 * - `gem`: the generalized mean of the patch tokens, (mean of max(x, 1e-6)³)^(1/3) (Radenović et al., arXiv
 *   1711.02512).
 */
export type Pooling = 'cls' | 'mean' | 'cls+mean' | 'gem';

const poolings: readonly Pooling[] = ['cls', 'mean', 'cls+mean', 'gem'];

/**
 * Checks the option `pooling` before a forward pass runs.
 *
 * @throws OptionError OPTION_VALUE, if `pooling` is not one of the values of `Pooling`
 */
export function checkPooling(pooling: Pooling | undefined): void {
  if (pooling === undefined || poolings.includes(pooling)) return;
  throw new OptionError(
    'OPTION_VALUE',
    `pooling: expected 'cls', 'mean', 'cls+mean' or 'gem', found ${JSON.stringify(pooling)}.`,
  );
}

const GEM_POWER = 3;
const GEM_LEAST = 1e-6;

/** The input of `pool`: the last hidden state (batch, numTokens, embedDim) and its layout. */
export interface PooledTokens {
  readonly tokens: Float32Array;
  readonly batch: number;
  readonly numTokens: number;
  readonly numRegisterTokens: number;
  readonly embedDim: number;
}

/** Pools each image's tokens into one vector. Sums are in float64, in the order of the tokens. */
export function pool(features: PooledTokens, pooling: Pooling): Float32Array<ArrayBuffer>[] {
  checkPooling(pooling);
  const { tokens, batch, numTokens, numRegisterTokens, embedDim } = features;
  return Array.from({ length: batch }, (_, image) => {
    const all = tokens.subarray(image * numTokens * embedDim, (image + 1) * numTokens * embedDim);
    const patches = all.subarray((1 + numRegisterTokens) * embedDim);
    switch (pooling) {
      case 'cls':
        return all.slice(0, embedDim) as Float32Array<ArrayBuffer>;
      case 'mean':
        return mean(patches, embedDim);
      case 'cls+mean': {
        const both = new Float32Array(2 * embedDim);
        both.set(all.subarray(0, embedDim));
        both.set(mean(patches, embedDim), embedDim);
        return both;
      }
      default: {
        const cubes = mean(patches, embedDim, (value) => Math.max(value, GEM_LEAST) ** GEM_POWER);
        return cubes.map((value) => value ** (1 / GEM_POWER));
      }
    }
  });
}

/** Scales a vector to length 1 in place. A vector of zeros does not change. */
export function normalize(vector: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const length = Math.hypot(...vector);
  if (length > 0) for (let i = 0; i < vector.length; i++) vector[i] = vector[i]! / length;
  return vector;
}

function mean(
  rows: Float32Array,
  columns: number,
  of: (value: number) => number = (value) => value,
): Float32Array<ArrayBuffer> {
  const sums = new Float64Array(columns);
  for (let i = 0; i < rows.length; i++) sums[i % columns]! += of(rows[i]!);
  const count = rows.length / columns;
  return Float32Array.from(sums, (sum) => sum / count);
}
