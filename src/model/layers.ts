/**
 * The numbers of hidden states and blocks. The numbers are those of Hugging Face: hidden state 0 is the input
 * of the first block, and hidden state i is the output of the i-th block, so there are depth + 1; attention i
 * is that of block i, counted from 0, so there are `depth`. A negative number counts from the end, so -1
 * means the last block in both.
 */
import { OptionError } from '../errors.js';
import { show } from '../platform/json.js';

/** Options of `Features.hiddenState`. */
export interface HiddenStateOptions {
  /**
   * Applies the model's final norm, as in the last hidden state. Default: false, as in Hugging Face's
   * `hidden_states`.
   */
  readonly norm?: boolean | undefined;
}

/**
 * Options of `Features.getIntermediateLayers`: the parameters of facebookresearch's
 * `get_intermediate_layers`.
 */
export interface IntermediateLayerOptions {
  /** Returns (batch, embedDim, rows, cols) instead of (batch, rows · cols, embedDim). Default: false. */
  readonly reshape?: boolean | undefined;
  /** Also returns the cls tokens. Default: false. */
  readonly returnClassToken?: boolean | undefined;
  /** Applies the model's final norm. Default: true. */
  readonly norm?: boolean | undefined;
}

/** The patch tokens of a layer and its cls tokens (batch, embedDim). */
export type LayerWithClassToken = readonly [
  patchTokens: Float32Array<ArrayBuffer>,
  clsToken: Float32Array<ArrayBuffer>,
];

/**
 * Returns the number of a hidden state or block, counted from 0.
 * @param where name of the option or method, for error messages
 * @param what expected number in words, for error messages
 * @param index number from 0 to `count` - 1, or from -`count` to -1
 * @throws OptionError OPTION_VALUE
 */
export function layerIndex(where: string, what: string, index: number, count: number): number {
  if (Number.isInteger(index) && index >= -count && index < count) return index < 0 ? index + count : index;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected ${what} from 0 to ${count - 1}, or from -${count} to -1 (counted from the end), found ${show(index)}.`,
  );
}

/**
 * Returns the numbers of hidden states or blocks, counted from 0, each once.
 * @throws OptionError OPTION_VALUE
 */
export const layerSet = (option: string, indices: readonly number[], count: number): number[] => [
  ...new Set(indices.map((index) => layerIndex(option, 'whole numbers', index, count))),
];
