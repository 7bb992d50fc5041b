/** `attentionMap`: rows of attention as maps, one value for each patch. */
import { ImageError, OptionError } from '../errors.js';
import { expectOptions } from '../optionObject.js';
import { PatchMap, type PatchPosition } from './patchMap.js';

/** Options of `Features.attentionMap`. */
export interface AttentionMapOptions {
  /**
   * The token that attends to the patches: the cls token, a patch, or a register (counted from 0). Default:
   * `cls`.
   */
  readonly query?: 'cls' | PatchPosition | { readonly register: number } | undefined;
  /** One head, counted from 0, or the mean over all heads. Default: all heads, with one map for each. */
  readonly head?: number | 'mean' | undefined;
  /** Index of the image in the batch. Default: 0. */
  readonly batchIndex?: number | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** The part of features that attention maps are made of. The features of both entries implement it. */
interface AttentionReader {
  readonly rows: number;
  readonly cols: number;
  readonly numTokens: number;
  attention(layer: number, options: AttentionMapOptions): Promise<Float32Array<ArrayBuffer>>;
}

/**
 * Computes attention rows, and leaves out the cls token and the registers, which come first. Returns an array
 * of maps if no head is given.
 * @throws the errors of `Features.attention`; ImageError INPUT_NOT_FINITE, if a value is NaN or infinite
 */
export async function attentionMap(
  features: AttentionReader,
  layer: number,
  options: AttentionMapOptions,
): Promise<PatchMap | PatchMap[]> {
  expectOptions('attentionMap', options);
  const { query = 'cls', head } = options;
  if ((query as string) === 'all')
    throw new OptionError(
      'OPTION_VALUE',
      "attentionMap: query: expected one token ('cls', { row, col } or { register }), found 'all'. Call attention() for the rows of all tokens.",
    );
  const values = await features.attention(layer, options);
  if (!values.every(Number.isFinite))
    throw new ImageError(
      'INPUT_NOT_FINITE',
      'attentionMap: expected finite attention, found NaN or infinity. Check the image and the weights.',
    );
  const { rows, cols, numTokens } = features;
  const maps = Array.from({ length: values.length / numTokens }, (_, each) => {
    const end = (each + 1) * numTokens;
    return new PatchMap(rows, cols, values.slice(end - rows * cols, end));
  });
  return head === undefined ? maps : maps[0]!;
}
