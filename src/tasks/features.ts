/** Features, with the methods that turn them into maps. */
import { TokenFeatures } from '../model/features.js';
import { checkOptions } from '../optionNames.js';
import { loadPart } from '../platform/part.js';
import type { AttentionMapOptions } from './attentionMap.js';
import type { GpuPatchMap } from './gpuPatchMap.js';
import type { PatchMap } from './patchMap.js';
import type { SimilarityOptions } from './similarity.js';
import type { SimilarityQuery } from './similarityQuery.js';

/**
 * Features of one batch of images. Tokens are in the order cls, registers, patches. Patches are in rows from
 * the top left. Values are after the final norm unless stated otherwise. `dispose()` frees the GPU memory; a
 * `using` declaration calls it at the end of the block.
 */
export class Features extends TokenFeatures {
  /**
   * Computes the similarity of every patch to a query, on the GPU. Reads nothing back, so the map can be drawn
   * or used by shaders at once. The similarity is a cosine: 1 for equal directions, 0 for unrelated ones.
   *
   * A patch whose token contains NaN or infinity gets the value NaN, and so does every patch if the query
   * contains NaN or infinity: `map.read()` throws INPUT_NOT_FINITE. If the positive and the negative examples
   * are different patches with the same mean direction, the query has no direction, and the map is 0.
   * @returns a map, or an array of maps if `against` is an array. Call `dispose()` of each map
   * @throws OptionError OPTION_VALUE, if the image lacks a patch or point of the query, if a vector has not
   *   `embedDim` values or is zero, if `batchIndex` is out of range, or if `against` has another `embedDim` or
   *   is on another device; OPTION_NAME; ImageError INPUT_NOT_FINITE, if a given vector contains NaN or
   *   infinity; DeviceError
   * @example
   * ```js
   * const map = await features.similarity({ x: 320, y: 200 }); // the patch that contains this pixel
   * await map.draw(canvas);
   * const [a, b] = await features.similarity({ row: 3, col: 5 }, { against: [featuresA, featuresB] });
   * ```
   */
  async similarity(
    query: SimilarityQuery,
    options: SimilarityOptions<readonly Features[]> & { readonly against: readonly Features[] },
  ): Promise<GpuPatchMap[]>;
  async similarity(query: SimilarityQuery, options?: SimilarityOptions<Features>): Promise<GpuPatchMap>;
  async similarity(
    query: SimilarityQuery,
    options: SimilarityOptions<Features | readonly Features[]> = {},
  ): Promise<GpuPatchMap | GpuPatchMap[]> {
    checkOptions('similarity', options);
    const { similarityOf } = await loadPart(import('./similarity.js'));
    return similarityOf(this, query, options);
  }

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
