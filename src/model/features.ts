/** What a forward gives. The numbers stay on the GPU until they are asked for. */
import { DeviceError, ImageError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { DINOv2Config } from './config.js';
import { countTokens, type Grid } from './vit.js';

const F32_BYTES = 4;

// A page that drops its features without dispose() gets the memory back when the garbage collector comes by. The buffer alone is held here.
const abandoned = new FinalizationRegistry<() => void>((free) => free());

/**
 * Features of one batch. Tokens are in the order cls, registers, patches; patches run row by row from the top left. All are after the
 * final norm unless said otherwise. `dispose()` frees the GPU memory; `using` does it at the end of a block.
 */
export class Features {
  /** Images in the batch. */
  readonly batch: number;
  /** Patches from top to bottom, and from left to right. */
  readonly rows: number;
  readonly cols: number;
  readonly embedDim: number;
  readonly numRegisterTokens: number;
  /** 1 + registers + rows · cols. */
  readonly numTokens: number;
  readonly gpu: Gpu;
  readonly #buffer: GPUBuffer;
  readonly #hiddenStates: ReadonlyMap<number, GPUBuffer>;
  readonly #free: () => void;
  #disposed = false;

  constructor(gpu: Gpu, config: DINOv2Config, grid: Grid, buffer: GPUBuffer, hiddenStates: ReadonlyMap<number, GPUBuffer>) {
    this.gpu = gpu;
    this.batch = grid.batch;
    this.rows = grid.rows;
    this.cols = grid.cols;
    this.embedDim = config.embedDim;
    this.numRegisterTokens = config.numRegisterTokens;
    this.numTokens = countTokens(config, grid);
    this.#buffer = buffer;
    this.#hiddenStates = hiddenStates;
    const buffers = [buffer, ...hiddenStates.values()];
    gpu.retain();
    this.#free = () => {
      for (const each of buffers) gpu.memory.destroy(each);
      gpu.release();
    };
    abandoned.register(this, this.#free, this);
  }

  /** The last hidden state on the GPU: f32 (batch, numTokens, embedDim). It is the features' own: read it, and do not destroy it. */
  get buffer(): GPUBuffer {
    if (this.#disposed) throw new DeviceError('DISPOSED', 'These features were disposed of. Read what you need before dispose(), or compute them again.');
    return this.#buffer;
  }

  /** Float32Array (batch, embedDim): what stands for a whole image. */
  clsToken(): Promise<Float32Array<ArrayBuffer>> {
    return this.#tokens(0, 1);
  }

  /** Float32Array (batch, numRegisterTokens, embedDim); empty for a model without registers. */
  registerTokens(): Promise<Float32Array<ArrayBuffer>> {
    return this.#tokens(1, this.numRegisterTokens);
  }

  /** Float32Array (batch, rows · cols, embedDim). */
  patchTokens(): Promise<Float32Array<ArrayBuffer>> {
    return this.#tokens(1 + this.numRegisterTokens, this.rows * this.cols);
  }

  /** Float32Array (batch, numTokens, embedDim): all of them. */
  lastHiddenState(): Promise<Float32Array<ArrayBuffer>> {
    return this.#read(this.buffer, 0, this.batch * this.numTokens);
  }

  /**
   * Float32Array (batch, numTokens, embedDim): what leaves block `layer` (0: what enters the first one), before the final norm, as in
   * Hugging Face's `hidden_states`.
   * @throws ImageError INPUT_SHAPE if the forward was not asked to keep that layer (`{ layers: [layer] }`)
   */
  hiddenState(layer: number): Promise<Float32Array<ArrayBuffer>> {
    const buffer = this.buffer && this.#hiddenStates.get(layer);
    if (!buffer) {
      const kept = [...this.#hiddenStates.keys()].join(', ') || 'none';
      throw new ImageError('INPUT_SHAPE', `hiddenState: expected a layer that was kept (${kept}), found ${layer}. Pass { layers: [${layer}] } to features() or forward().`);
    }
    return this.#read(buffer, 0, this.batch * this.numTokens);
  }

  /** Frees the GPU memory. Further calls do nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    abandoned.unregister(this);
    this.#free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Tokens `first` … of every image. */
  async #tokens(first: number, count: number): Promise<Float32Array<ArrayBuffer>> {
    const { batch, numTokens, embedDim } = this;
    if (count === 0) return new Float32Array(0);
    if (batch === 1) return this.#read(this.buffer, first, count);
    const all = await this.#read(this.buffer, 0, batch * numTokens);
    const out = new Float32Array(batch * count * embedDim);
    for (let image = 0; image < batch; image++) {
      const from = (image * numTokens + first) * embedDim;
      out.set(all.subarray(from, from + count * embedDim), image * count * embedDim);
    }
    return out;
  }

  async #read(buffer: GPUBuffer, firstRow: number, rows: number): Promise<Float32Array<ArrayBuffer>> {
    const bytesPerRow = this.embedDim * F32_BYTES;
    return new Float32Array(await this.gpu.read(buffer, firstRow * bytesPerRow, rows * bytesPerRow));
  }
}
