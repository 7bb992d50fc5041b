/** Features: the result of a forward pass. Values stay on the GPU until a method reads them. */
import { OptionError } from './errors.js';
import type { Gpu } from './gpu/device.js';
import { OwnedBuffers } from './gpu/lease.js';
import type { Task } from './gpu/task.js';
import type { ImagePlacement } from './image/placement.js';
import { F32_BYTES } from './graph/constants.js';
import { checkOptions } from './optionNames.js';
import { loadPart } from './platform/part.js';
import type { AttentionOptions } from './model/attention.js';
import type { DINOv2Config } from './model/config.js';
import type { FinalNorm } from './model/finalNorm.js';
import {
  layerIndex,
  type HiddenStateOptions,
  type IntermediateLayerOptions,
  type LayerWithClassToken,
} from './model/layers.js';
import { countTokens, type Grid } from './model/vit.js';
import type { AttentionMapOptions } from './tasks/attentionMap.js';
import type { GpuPatchMap } from './tasks/gpuPatchMap.js';
import type { PatchMap } from './tasks/patchMap.js';
import type { SimilarityOptions } from './tasks/similarity.js';
import type { SimilarityQuery } from './tasks/similarityQuery.js';

// Frees the buffers of features that are garbage-collected without dispose(). The registry refers to the
// buffers only, because a reference to the features would prevent their collection.
const abandoned = new FinalizationRegistry<OwnedBuffers>((owned) => owned.dispose());

/** The output buffers of a forward pass. `Features` takes ownership of them. */
export interface ForwardBuffers {
  /** The last hidden state, after the final norm: (batch · numTokens, embedDim). */
  readonly lastHiddenState: GPUBuffer;
  /** Stored hidden states by layer, before the final norm: (batch · numTokens, embedDim) each. */
  readonly hiddenStates: ReadonlyMap<number, GPUBuffer>;
  /** Stored queries, keys and values by block: (batch · numTokens, 3 · embedDim) each. */
  readonly qkv: ReadonlyMap<number, GPUBuffer>;
  /** Parameters of the final norm. Undefined if no hidden states are stored. */
  readonly norm: FinalNorm | undefined;
}

/**
 * Features of one batch of images. Tokens are in the order cls, registers, patches. Patches are in rows from
 * the top left. Values are after the final norm unless stated otherwise. `dispose()` frees the GPU memory; a
 * `using` declaration calls it at the end of the block.
 */
export class Features {
  /** Number of images in the batch. */
  readonly batch: number;
  /** Number of patch rows in an image. */
  readonly rows: number;
  /** Number of patch columns in an image. */
  readonly cols: number;
  /** Length of a token's vector. */
  readonly embedDim: number;
  /** Number of attention heads of the model. */
  readonly numHeads: number;
  /** Number of blocks of the model. */
  readonly depth: number;
  /** Number of register tokens: 0 for a model without registers. */
  readonly numRegisterTokens: number;
  /** Tokens per image: 1 + numRegisterTokens + rows · cols. */
  readonly numTokens: number;
  /** How the pixels of each image of the batch map to patches; see `patchAt` and `patchArea`. */
  readonly placements: readonly ImagePlacement[];
  /**
   * The GPU on which the features are.
   * @internal
   */
  readonly gpu: Gpu;
  /**
   * Lease that tasks hold while they use the buffers. After `dispose()`, the buffers are freed when all these
   * tasks have ended.
   * @internal
   */
  readonly lease: OwnedBuffers;
  readonly #buffers: ForwardBuffers;

  /**
   * Called by `DINOv2.features` and `DINOv2.forward`. Applications get features from these methods.
   * @internal
   */
  constructor(
    gpu: Gpu,
    config: DINOv2Config,
    grid: Grid,
    placements: readonly ImagePlacement[],
    forwardBuffers: ForwardBuffers,
  ) {
    this.gpu = gpu;
    this.batch = grid.batch;
    this.rows = grid.rows;
    this.cols = grid.cols;
    this.embedDim = config.embedDim;
    this.numHeads = config.numHeads;
    this.depth = config.depth;
    this.numRegisterTokens = config.numRegisterTokens;
    this.numTokens = countTokens(config, grid);
    this.placements = placements;
    this.#buffers = forwardBuffers;
    const { lastHiddenState, hiddenStates, qkv, norm } = forwardBuffers;
    const buffers = [
      lastHiddenState,
      ...hiddenStates.values(),
      ...qkv.values(),
      ...(norm ? [norm.weight, norm.bias] : []),
    ];
    gpu.retain();
    this.lease = new OwnedBuffers(() => {
      for (const each of buffers) gpu.memory.destroy(each);
      gpu.release();
    }, 'These features are disposed. Read values before dispose(), or compute the features again.');
    abandoned.register(this, this.lease, this);
  }

  /**
   * The last hidden state on the GPU: f32 (batch, numTokens, embedDim). The features own the buffer; do not
   * destroy it.
   * @throws DeviceError DISPOSED, after `dispose()`
   */
  get buffer(): GPUBuffer {
    this.lease.check();
    return this.#buffers.lastHiddenState;
  }

  /** Reads the cls token, which represents the whole image: (batch, embedDim). */
  async clsToken(): Promise<Float32Array<ArrayBuffer>> {
    return this.#readTokens(0, 1);
  }

  /** Reads Hugging Face's `pooler_output`, which is the cls token: (batch, embedDim). */
  poolerOutput(): Promise<Float32Array<ArrayBuffer>> {
    return this.clsToken();
  }

  /** Reads the register tokens: (batch, numRegisterTokens, embedDim). Empty for a model without registers. */
  async registerTokens(): Promise<Float32Array<ArrayBuffer>> {
    return this.#readTokens(1, this.numRegisterTokens);
  }

  /** Reads the patch tokens: (batch, rows · cols, embedDim). */
  async patchTokens(): Promise<Float32Array<ArrayBuffer>> {
    return this.#readTokens(1 + this.numRegisterTokens, this.rows * this.cols);
  }

  /** Reads all tokens after the final norm: (batch, numTokens, embedDim). */
  async lastHiddenState(): Promise<Float32Array<ArrayBuffer>> {
    return this.#readTokens(0, this.numTokens);
  }

  /**
   * Reads a hidden state: (batch, numTokens, embedDim), indexed as Hugging Face's `hidden_states`. Layer 0 is
   * the input of the first block; layer `i` is the output of the `i`-th block; -1 is the last layer. Without
   * `norm`, values are before the final norm. The last layer with `norm` is the last hidden state, which is
   * always available.
   * @throws OptionError OPTION_VALUE, if the layer does not exist, or if the forward pass did not store it:
   *   pass `{ layers: [layer] }` to `features()` or `forward()`
   */
  async hiddenState(layer: number, options: HiddenStateOptions = {}): Promise<Float32Array<ArrayBuffer>> {
    const { norm = false } = checkOptions('hiddenState', options);
    // The layer is checked before `#checkStored`, whose error advises to pass the layer as an option. This
    // advice would be useless for a layer that the model does not have.
    const index = layerIndex('hiddenState', 'a layer', layer, this.depth + 1);
    this.#checkStored('hiddenState', [index], norm);
    return this.#withLayer(index, norm, (task, buffer) => this.#tokens(task, buffer, 0, this.numTokens));
  }

  /**
   * Reads the patch tokens of several blocks, in the order of the blocks: (batch, rows · cols, embedDim)
   * each. This is `get_intermediate_layers` of facebookresearch/dinov2. The forward pass must have stored the
   * blocks: index `i` here, counted from 0, is `i + 1` in the option `layers`.
   * @param n number of last blocks, or indices of blocks from 0; -1 is the last block. Default: 1
   * @throws OptionError OPTION_VALUE, if a block does not exist or was not stored
   */
  async getIntermediateLayers(
    n: number | readonly number[],
    options: IntermediateLayerOptions & { readonly returnClassToken: true },
  ): Promise<LayerWithClassToken[]>;
  async getIntermediateLayers(
    n?: number | readonly number[],
    options?: IntermediateLayerOptions & { readonly returnClassToken?: false | undefined },
  ): Promise<Float32Array<ArrayBuffer>[]>;
  async getIntermediateLayers(
    n: number | readonly number[] = 1,
    options: IntermediateLayerOptions = {},
  ): Promise<Float32Array<ArrayBuffer>[] | LayerWithClassToken[]> {
    checkOptions('getIntermediateLayers', options);
    const { reshape = false, returnClassToken = false, norm = true } = options;
    const { numRegisterTokens, rows, cols, depth } = this;
    const results = await this.gpu.task('intermediate layers', undefined, async (task) => {
      task.use(this.lease); // dispose() during the import does not free the buffers
      const { blocksOf, channelsFirst } = await loadPart(import('./model/intermediateLayers.js'));
      const layers = blocksOf(n, depth).map((block) => block + 1);
      this.#checkStored('getIntermediateLayers', layers, norm);
      const read: LayerWithClassToken[] = [];
      for (const layer of layers)
        read.push(
          await this.#withLayer(layer, norm, async (task, buffer) => {
            const patches = await this.#tokens(task, buffer, 1 + numRegisterTokens, rows * cols);
            const cls = returnClassToken ? await this.#tokens(task, buffer, 0, 1) : new Float32Array(0);
            return [reshape ? channelsFirst(patches, this) : patches, cls];
          }),
        );
      return read;
    });
    return returnClassToken ? results : results.map(([patches]) => patches);
  }

  /**
   * Computes attention rows of block `layer`, counted from 0 as in Hugging Face's `attentions`; -1 is the last
   * block. Each row is
   * the attention of one query token: a softmax over all tokens (cls, registers, patches) that sums to 1. The
   * shape is (heads, queries, numTokens). The axis of heads is absent for a single head and for the mean over
   * heads. The axis of queries is absent for a single query. For example, `{ head: 0, query: 'cls' }` gives
   * (numTokens).
   * @throws OptionError OPTION_VALUE, if a head or query is out of range, or if the forward pass did not
   *   store the block: pass `{ attentions: [layer] }` to `features()` or `forward()`
   * @example
   * ```js
   * const features = await model.features(file, { attentions: [11] });
   * const row = await features.attention(11, { query: 'cls', head: 'mean' }); // Float32Array (numTokens)
   * ```
   */
  async attention(layer: number, options: AttentionOptions = {}): Promise<Float32Array<ArrayBuffer>> {
    checkOptions('attention', options);
    const block = layerIndex('attention', 'a block', layer, this.depth);
    const qkv = this.buffer && this.#buffers.qkv.get(block);
    if (!qkv) throw this.#notStored('attention', 'attentions', [block], this.#buffers.qkv);
    const { attentionOf } = await loadPart(import('./model/attention.js'));
    return attentionOf(this.gpu, qkv, this, options, this.lease);
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
    return (await loadPart(import('./tasks/attentionMap.js'))).attentionMap(this, layer, options);
  }

  /**
   * Computes the similarity of every patch to a query, on the GPU: a cosine, -1 to 1. Reads nothing back. Values
   * that depend on NaN or infinity become NaN, and `map.read()` throws INPUT_NOT_FINITE. The map is 0 if the
   * positive and negative examples have the same mean direction.
   * @returns a map, or an array of maps if `against` is an array. Call `dispose()` of each map
   * @throws OptionError OPTION_VALUE, if the image lacks a patch or pixel of the query, if a vector is zero or has
   *   not `embedDim` values, if an index is out of range, or if `against` has another `embedDim` or device;
   *   OPTION_NAME; ImageError INPUT_NOT_FINITE, if a vector contains NaN or infinity; DeviceError
   * @example
   * ```js
   * const map = await features.similarity({ x: 320, y: 200 }); // the patch that contains this pixel
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
    options: SimilarityOptions = {},
  ): Promise<GpuPatchMap | GpuPatchMap[]> {
    return (await loadPart(import('./tasks/similarity.js'))).similarityOf(this, query, options);
  }

  /** Frees the GPU memory. Further calls do nothing. */
  dispose(): void {
    abandoned.unregister(this);
    this.lease.dispose();
  }

  /** Calls `dispose()`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Returns true if the layer with this `norm` is the last hidden state, which is always stored. */
  #isLast(layer: number, norm: boolean): boolean {
    return norm && layer === this.depth;
  }

  #checkStored(where: string, layers: readonly number[], norm: boolean): void {
    const { hiddenStates } = this.buffer && this.#buffers;
    const needed = layers.filter((layer) => !this.#isLast(layer, norm));
    if (!needed.every((layer) => hiddenStates.has(layer)))
      throw this.#notStored(where, 'layers', needed, hiddenStates);
  }

  #notStored(
    where: string,
    option: 'layers' | 'attentions',
    needed: readonly number[],
    stored: ReadonlyMap<number, GPUBuffer>,
  ): OptionError {
    const all = [...stored.keys()].join(', ') || 'none';
    const missing = needed.filter((layer) => !stored.has(layer)).join(', ');
    return new OptionError(
      'OPTION_VALUE',
      `${where}: the forward pass did not store ${option} ${missing} (stored: ${all}). Pass { ${option}: [${needed.join(', ')}] } to features() or forward().`,
    );
  }

  /** Calls `read` with a layer's buffer, or with a temporary normalized copy if `norm` is set. */
  #withLayer<T>(
    layer: number,
    norm: boolean,
    read: (task: Task, buffer: GPUBuffer) => Promise<T>,
  ): Promise<T> {
    return this.gpu.task('hidden state', undefined, async (task) => {
      task.use(this.lease);
      if (this.#isLast(layer, norm)) return read(task, this.buffer);
      const buffer = this.#buffers.hiddenStates.get(layer)!;
      if (!norm) return read(task, buffer);
      const { applyNorm } = await loadPart(import('./model/finalNorm.js'));
      return read(task, await applyNorm(this.gpu, task, this.#buffers.norm!, buffer, this, this.embedDim));
    });
  }

  /** Reads tokens [first, first + count) of the last hidden state. */
  async #readTokens(first: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    this.lease.check();
    return this.gpu.task('features', undefined, (task) => {
      task.use(this.lease);
      return this.#tokens(task, this.buffer, first, count);
    });
  }

  /** Reads tokens [first, first + count) of every image. */
  async #tokens(
    task: Task,
    buffer: GPUBuffer,
    first: number,
    count: number,
  ): Promise<Float32Array<ArrayBuffer>> {
    const { batch, numTokens, embedDim } = this;
    if (count === 0) return new Float32Array(0);
    if (batch === 1 || count === numTokens)
      return this.#read(task, buffer, first, batch === 1 ? count : batch * numTokens);
    const all = await this.#read(task, buffer, 0, batch * numTokens);
    const out = new Float32Array(batch * count * embedDim);
    for (let image = 0; image < batch; image++) {
      const from = (image * numTokens + first) * embedDim;
      out.set(all.subarray(from, from + count * embedDim), image * count * embedDim);
    }
    return out;
  }

  async #read(
    task: Task,
    buffer: GPUBuffer,
    firstRow: number,
    rows: number,
  ): Promise<Float32Array<ArrayBuffer>> {
    const bytesPerRow = this.embedDim * F32_BYTES;
    return new Float32Array(await task.read(buffer, firstRow * bytesPerRow, rows * bytesPerRow));
  }
}
