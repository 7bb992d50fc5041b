/** What a forward gives. The numbers stay on the GPU until they are asked for. */
import { OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { OwnedBuffers } from '../gpu/lease.js';
import type { Task } from '../gpu/task.js';
import { F32_BYTES } from '../graph/constants.js';
import { checkOptions } from '../optionNames.js';
import { loadPart } from '../platform/part.js';
import type { AttentionOptions } from './attention.js';
import type { DINOv2Config } from './config.js';
import type { FinalNorm } from './finalNorm.js';
import { countTokens, type Grid } from './vit.js';

// A page that drops its features without dispose() gets the memory back when the garbage collector comes by.
// The buffers alone are held here.
const abandoned = new FinalizationRegistry<OwnedBuffers>((owned) => owned.dispose());

/** The buffers of a forward, which the features own from now on. */
export interface Kept {
  /** (batch · numTokens, embedDim), after the final norm. */
  readonly lastHiddenState: GPUBuffer;
  /** By layer, before the final norm. */
  readonly hiddenStates: ReadonlyMap<number, GPUBuffer>;
  /** By block: (batch · numTokens, 3 · embedDim). */
  readonly qkv: ReadonlyMap<number, GPUBuffer>;
  /** Where hidden states are kept. */
  readonly norm: FinalNorm | undefined;
}

export interface HiddenStateOptions {
  /**
   * After the model's final norm, as the last hidden state is. Default: false, as in Hugging Face's
   * `hidden_states`.
   */
  readonly norm?: boolean | undefined;
}

/** The parameters of facebookresearch's `get_intermediate_layers`, with its defaults. */
export interface IntermediateLayerOptions {
  /** (batch, embedDim, rows, cols) instead of (batch, rows · cols, embedDim). Default: false. */
  readonly reshape?: boolean | undefined;
  /** Give the cls tokens too. Default: false. */
  readonly returnClassToken?: boolean | undefined;
  /** After the model's final norm. Default: true. */
  readonly norm?: boolean | undefined;
}

/** A layer's patches, and its cls tokens (batch, embedDim). */
export type LayerWithClassToken = readonly [
  patchTokens: Float32Array<ArrayBuffer>,
  clsToken: Float32Array<ArrayBuffer>,
];

/**
 * Features of one batch. Tokens are in the order cls, registers, patches; patches run row by row from the top
 * left. All are after the final norm unless said otherwise. `dispose()` frees the GPU memory; `using` does it
 * at the end of a block.
 */
export class Features {
  /** Images in the batch. */
  readonly batch: number;
  /** Patches from top to bottom, and from left to right. */
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly numHeads: number;
  /** Blocks of the model. */
  readonly depth: number;
  readonly numRegisterTokens: number;
  /** 1 + registers + rows · cols. */
  readonly numTokens: number;
  readonly gpu: Gpu;
  /** For tasks that use the buffers: `dispose()` meanwhile waits for them. */
  readonly lease: OwnedBuffers;
  readonly #kept: Kept;

  constructor(gpu: Gpu, config: DINOv2Config, grid: Grid, kept: Kept) {
    this.gpu = gpu;
    this.batch = grid.batch;
    this.rows = grid.rows;
    this.cols = grid.cols;
    this.embedDim = config.embedDim;
    this.numHeads = config.numHeads;
    this.depth = config.depth;
    this.numRegisterTokens = config.numRegisterTokens;
    this.numTokens = countTokens(config, grid);
    this.#kept = kept;
    const { lastHiddenState, hiddenStates, qkv, norm } = kept;
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
    }, 'These features were disposed of. Read what you need before dispose(), or compute them again.');
    abandoned.register(this, this.lease, this);
  }

  /**
   * The last hidden state on the GPU: f32 (batch, numTokens, embedDim). It is the features' own: read it, and
   * do not destroy it.
   */
  get buffer(): GPUBuffer {
    this.lease.check();
    return this.#kept.lastHiddenState;
  }

  /** Float32Array (batch, embedDim): what stands for a whole image. */
  async clsToken(): Promise<Float32Array<ArrayBuffer>> {
    return this.#last(0, 1);
  }

  /** Float32Array (batch, embedDim): Hugging Face's `pooler_output`, which is the cls token. */
  poolerOutput(): Promise<Float32Array<ArrayBuffer>> {
    return this.clsToken();
  }

  /** Float32Array (batch, numRegisterTokens, embedDim); empty for a model without registers. */
  async registerTokens(): Promise<Float32Array<ArrayBuffer>> {
    return this.#last(1, this.numRegisterTokens);
  }

  /** Float32Array (batch, rows · cols, embedDim). */
  async patchTokens(): Promise<Float32Array<ArrayBuffer>> {
    return this.#last(1 + this.numRegisterTokens, this.rows * this.cols);
  }

  /** Float32Array (batch, numTokens, embedDim): all of them. */
  async lastHiddenState(): Promise<Float32Array<ArrayBuffer>> {
    return this.#last(0, this.numTokens);
  }

  /**
   * Float32Array (batch, numTokens, embedDim): what leaves block `layer`, counted from 1 (0: what enters the
   * first one), as in Hugging Face's `hidden_states`; before the final norm, or after it (the last layer's is
   * the last hidden state then, and always there).
   * @throws OptionError OPTION_VALUE if there is no such layer, or if the forward was not asked to keep it (`{
   *   layers: [layer] }`)
   */
  async hiddenState(layer: number, options: HiddenStateOptions = {}): Promise<Float32Array<ArrayBuffer>> {
    const { norm = false } = checkOptions('hiddenState', options);
    expectIndex('hiddenState', 'layer', layer, this.depth);
    this.#expectKept('hiddenState', [layer], norm);
    return this.#withLayer(layer, norm, (task, buffer) => this.#tokens(task, buffer, 0, this.numTokens));
  }

  /**
   * `get_intermediate_layers` of facebookresearch/dinov2: the patches of some blocks, (batch, rows · cols,
   * embedDim) each, in the order of the blocks. The forward must have kept them: block `i` of this list,
   * counted from 0, is `i + 1` in `layers`.
   * @param n how many of the last blocks, or the indices of blocks from 0
   * @throws OptionError OPTION_VALUE for a block that is not there or was not kept
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
    const layers = this.#blocks(n).map((block) => block + 1);
    this.#expectKept('getIntermediateLayers', layers, norm);
    const { numRegisterTokens, rows, cols } = this;
    const found: LayerWithClassToken[] = [];
    for (const layer of layers) {
      const made = await this.#withLayer(layer, norm, async (task, buffer): Promise<LayerWithClassToken> => {
        const patches = await this.#tokens(task, buffer, 1 + numRegisterTokens, rows * cols);
        const cls = returnClassToken ? await this.#tokens(task, buffer, 0, 1) : new Float32Array(0);
        return [reshape ? this.#channelsFirst(patches) : patches, cls];
      });
      found.push(made);
    }
    return returnClassToken ? found : found.map(([patches]) => patches);
  }

  /**
   * Where a token looks: rows of the attention of block `layer`, counted from 0 as in Hugging Face's
   * `attentions`, recomputed from that block's queries and keys. Each row is a softmax over all tokens (cls,
   * registers, patches) and sums to 1. Float32Array of (heads, queries, numTokens); one head, or the mean of
   * heads, and one query have no axis of their own: (numTokens) for `{ head: 0, query: 'cls' }`.
   * @throws OptionError OPTION_VALUE if the forward was not asked to keep it (`{ attentions: [layer] }`), or
   *   for a head or query that is not there
   */
  async attention(layer: number, options: AttentionOptions = {}): Promise<Float32Array<ArrayBuffer>> {
    checkOptions('attention', options);
    expectIndex('attention', 'block', layer, this.depth - 1);
    const qkv = this.buffer && this.#kept.qkv.get(layer);
    if (!qkv) throw this.#notKept('attention', 'attentions', [layer], this.#kept.qkv);
    const { attentionOf } = await loadPart(import('./attention.js'));
    return attentionOf(this.gpu, qkv, this, options, this.lease);
  }

  /** Frees the GPU memory. Further calls do nothing. */
  dispose(): void {
    abandoned.unregister(this);
    this.lease.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** facebookresearch takes a list as a set: what it gives is in the order of the blocks. */
  #blocks(n: number | readonly number[]): number[] {
    const { depth } = this;
    const count = typeof n === 'number' ? n : n.length;
    if (Number.isInteger(count) && count >= 1 && count <= depth) {
      const blocks =
        typeof n === 'number'
          ? Array.from({ length: n }, (_, i) => depth - n + i)
          : [...n].sort((first, second) => first - second);
      if (
        blocks.every(
          (block, i) => Number.isInteger(block) && block >= 0 && block < depth && block !== blocks[i - 1],
        )
      )
        return blocks;
    }
    const found = typeof n === 'number' ? String(n) : `[${n.join(', ')}]`;
    throw new OptionError(
      'OPTION_VALUE',
      `getIntermediateLayers: expected a number of blocks from 1 to ${depth}, or different indices from 0 to ${depth - 1}, found ${found}.`,
    );
  }

  /** Whether a layer is the last hidden state, which is always there. */
  #isLast(layer: number, norm: boolean): boolean {
    return norm && layer === this.depth;
  }

  #expectKept(where: string, layers: readonly number[], norm: boolean): void {
    const { hiddenStates } = this.buffer && this.#kept;
    const wanted = layers.filter((layer) => !this.#isLast(layer, norm));
    if (!wanted.every((layer) => hiddenStates.has(layer)))
      throw this.#notKept(where, 'layers', wanted, hiddenStates);
  }

  #notKept(
    where: string,
    option: 'layers' | 'attentions',
    wanted: readonly number[],
    kept: ReadonlyMap<number, GPUBuffer>,
  ): OptionError {
    const all = [...kept.keys()].join(', ') || 'none';
    const found = wanted.filter((layer) => !kept.has(layer)).join(', ');
    return new OptionError(
      'OPTION_VALUE',
      `${where}: expected ${option} that were kept (${all}), found ${found}. Pass { ${option}: [${wanted.join(', ')}] } to features() or forward().`,
    );
  }

  /** Reads from a layer's buffer; where the norm is asked for, from one that is made for the time being. */
  #withLayer<T>(
    layer: number,
    norm: boolean,
    read: (task: Task, buffer: GPUBuffer) => Promise<T>,
  ): Promise<T> {
    return this.gpu.task('hidden state', undefined, async (task) => {
      task.use(this.lease);
      if (this.#isLast(layer, norm)) return read(task, this.buffer);
      const buffer = this.#kept.hiddenStates.get(layer)!;
      if (!norm) return read(task, buffer);
      const { applyNorm } = await loadPart(import('./finalNorm.js'));
      return read(task, await applyNorm(this.gpu, task, this.#kept.norm!, buffer, this, this.embedDim));
    });
  }

  /** Tokens of the last hidden state. */
  async #last(first: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    this.lease.check();
    return this.gpu.task('features', undefined, (task) => {
      task.use(this.lease);
      return this.#tokens(task, this.buffer, first, count);
    });
  }

  /** (batch, rows · cols, embedDim) → (batch, embedDim, rows, cols). */
  #channelsFirst(patches: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
    const { batch, embedDim } = this;
    const count = this.rows * this.cols;
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

  /** Tokens `first` … of every image. */
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

/** What the model does not have cannot be kept: the error says so, and not what to pass. */
function expectIndex(where: string, what: string, index: number, last: number): void {
  if (Number.isInteger(index) && index >= 0 && index <= last) return;
  throw new OptionError(
    'OPTION_VALUE',
    `${where}: expected a ${what} from 0 to ${last}, found ${String(index)}.`,
  );
}
