/** Features, with the methods that turn them into maps. */
import { TokenFeatures } from '../model/features.js';
import { loadPart } from '../platform/part.js';
import type { AttentionMapOptions } from './attentionMap.js';
import type { PatchMap } from './patchMap.js';

/**
 * Features of one batch of images. Tokens are in the order cls, registers, patches. Patches are in rows from
 * the top left. Values are after the final norm unless stated otherwise. `dispose()` frees the GPU memory; a
 * `using` declaration calls it at the end of the block.
 */
export class Features extends TokenFeatures {
  /**
   * Computes where a token looks, as a map with one value for each patch. The values are those of
   * `attention()` without the cls token and the registers, so they sum to less than 1.
   * @param layer block, counted as in `attention()`
   * @throws the errors of `attention()`
   * @example
   * ```js
   * const features = await model.features(file, { attentions: [-1] });
   * (await features.attentionMap(-1, { head: 'mean' })).draw(canvas);
   * const heads = await features.attentionMap(-1, { query: { row: 4, col: 7 } }); // one map for each head
   * ```
   */
  async attentionMap(
    layer: number,
    options: AttentionMapOptions & { readonly head: number | 'mean' },
  ): Promise<PatchMap>;
  async attentionMap(
    layer: number,
    options?: AttentionMapOptions & { readonly head?: undefined },
  ): Promise<PatchMap[]>;
  async attentionMap(layer: number, options: AttentionMapOptions = {}): Promise<PatchMap | PatchMap[]> {
    return (await loadPart(import('./attentionMap.js'))).attentionMap(this, layer, options);
  }
}
