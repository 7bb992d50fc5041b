/** `Searcher`: runs searches on the GPU if one is available, otherwise on the CPU. The results are equal. */
import { DeviceError } from '../errors.js';
import { acquireGpu } from '../gpu/device.js';
import { type AdapterDescription } from '../gpu/adapter.js';
import { finiteNumber, wholeNumber } from './checks.js';
import type { Items } from './items.js';
import type { Hit, ItemFilter, SearchBackend, SearchOptions } from './options.js';
import { searchCpu, type Limits, type Query } from './searchCpu.js';
import { GpuSearch } from './searchGpu.js';
import type { Scored } from './topK.js';

/**
 * Returns true for SwiftShader, a software adapter that is slower than JavaScript. Other software adapters
 * may be faster than JavaScript. A search of 100,000 × 384 vectors in f16 took 253 ms of CPU time on
 * SwiftShader, 136 ms in JavaScript and 35 ms on llvmpipe (bench/RESULTS.md).
 */
const isSwiftShader = ({ vendor, architecture, description }: AdapterDescription): boolean =>
  /swiftshader/i.test(`${vendor} ${architecture} ${description}`);

/**
 * Maximum number of attempts that yield to the event loop. If existing rows of the vector table changed
 * during each of them, the next attempt does not yield.
 */
const ATTEMPTS = 3;
/** If a search has fewer multiplications than this, the CPU is done before a GPU could return a result. */
const FEW_PRODUCTS = 1 << 19;

export class Searcher {
  readonly #items: Items;
  readonly #device: GPUDevice | 'cpu' | undefined;
  #gpu: Promise<GpuSearch | undefined> | undefined;
  #backend: SearchBackend = { kind: 'cpu', reason: 'No search has needed a GPU yet.' };
  #disposed = false;

  constructor(items: Items, device: GPUDevice | 'cpu' | undefined) {
    this.#items = items;
    this.#device = device;
    if (device === 'cpu') this.#stayOnCpu("The option device: 'cpu' was set.");
  }

  get backend(): SearchBackend {
    return this.#backend;
  }

  /**
   * Runs a computation on the GPU or the CPU, and repeats it until no existing row of the vector table
   * changed while it ran. After `ATTEMPTS` attempts it runs on the CPU without yielding to the event loop.
   * @param few true if the computation is so small that the CPU is faster than a GPU
   * @param finish converts the row numbers in the result to ids. It must be synchronous, because after an
   *   `await` a row may hold a different item
   */
  async steady<T, R>(
    few: boolean,
    onGpu: (gpu: GpuSearch) => Promise<T | undefined>,
    onCpu: (whole: boolean) => Promise<T | undefined>,
    finish: (result: T) => R,
  ): Promise<R> {
    const { vectors } = this.#items;
    for (let attempt = 1; ; attempt++) {
      const gpu = few || attempt > ATTEMPTS ? undefined : await this.#gpuSearch();
      const { moves } = vectors;
      const result = gpu ? await this.#onGpu(gpu, onGpu) : await onCpu(attempt > ATTEMPTS);
      if (result !== undefined && vectors.moves === moves) return finish(result);
    }
  }

  /**
   * Finds the items with the highest scores for each query. @throws IndexError INDEX_OPTIONS; the signal's
   * reason
   */
  async search(
    queries: readonly Query[],
    { topK = 10, filter, threshold, signal }: SearchOptions,
  ): Promise<Hit[][]> {
    wholeNumber('search', 'topK', topK, 1);
    if (threshold !== undefined) finiteNumber('search', 'threshold', threshold);
    signal?.throwIfAborted();
    const { vectors } = this.#items;
    if (vectors.count === 0 || queries.length === 0) return queries.map(() => []);
    const limits = (): Limits => ({ topK, allowed: this.allowed(filter), threshold: threshold ?? -Infinity });
    const onCpu = (whole: boolean): Promise<Scored[][] | undefined> =>
      searchCpu(this.#items, queries, limits(), signal, whole);
    const onGpu = (gpu: GpuSearch): Promise<Scored[][] | undefined> =>
      gpu.canHold(queries) ? gpu.search(queries, limits(), signal) : onCpu(false);
    const few = vectors.count <= topK || vectors.count * vectors.dim * queries.length < FEW_PRODUCTS;
    return this.steady(few, onGpu, onCpu, (found) =>
      found.map((each) => each.map((scored) => this.hit(scored))),
    );
  }

  /**
   * Calls the filter for every row. Returns an array with 1 for each row that the filter allows and 0 for any
   * other row, or undefined if there is no filter.
   */
  allowed(filter: ItemFilter | undefined): Uint8Array | undefined {
    const { ids, metadata } = this.#items;
    return filter && Uint8Array.from(ids, (id, row) => (filter(id, metadata[row]) ? 1 : 0));
  }

  /** Converts a row and its score to a search result. */
  hit({ row, score }: Scored): Hit {
    return { id: this.#items.ids[row]!, score, metadata: this.#items.metadata[row] };
  }

  dispose(): void {
    this.#disposed = true;
    void this.#gpu?.then((gpu) => gpu?.dispose());
    this.#gpu = undefined;
  }

  /**
   * Runs a computation on the GPU. If the GPU fails, `#onGpu` returns undefined, and the caller repeats the
   * computation on the CPU. Later searches then run on the CPU too, except after the loss of a device that
   * the library requested. @throws the signal's reason
   */
  async #onGpu<T>(gpu: GpuSearch, run: (gpu: GpuSearch) => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await run(gpu);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      gpu.dispose();
      if ((await this.#gpu) !== gpu) return undefined; // an earlier failed search has handled the failure
      // If the lost device was requested by the library, the next search requests a new device.
      if (error.code === 'DEVICE_LOST' && this.#device === undefined) this.#gpu = undefined;
      else {
        this.#stayOnCpu(error.message);
        if (/MEMORY|LIMIT/.test(error.code)) await this.#adviseOn(error);
      }
      return undefined;
    }
  }

  /** Adds to the reason what a search needs on the GPU. */
  async #adviseOn(error: DeviceError): Promise<void> {
    const part = await import('./memoryAdvice.js').catch(() => undefined);
    if (part) this.#stayOnCpu(part.withSearchAdvice(error, this.#items.vectors));
  }

  #gpuSearch(): Promise<GpuSearch | undefined> {
    this.#gpu ??= this.#open();
    return this.#gpu;
  }

  async #open(): Promise<GpuSearch | undefined> {
    try {
      const gpu = await acquireGpu(this.#device === 'cpu' ? undefined : this.#device);
      if (this.#device === undefined && isSwiftShader(gpu.info)) {
        gpu.release();
        this.#stayOnCpu(
          'The GPU is SwiftShader, which emulates it on the CPU and is slower than searching on the CPU directly.',
        );
        return undefined;
      }
      try {
        const search = await GpuSearch.create(gpu, this.#items);
        this.#backend = { kind: 'gpu', reason: `Searches run on ${gpu.pipelines.adapter}.` };
        if (!this.#disposed) return search;
        search.dispose();
        return undefined;
      } catch (error) {
        gpu.release();
        throw error;
      }
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      this.#stayOnCpu(error.message);
      return undefined;
    }
  }

  #stayOnCpu(reason: string): void {
    this.#gpu = Promise.resolve(undefined);
    this.#backend = { kind: 'cpu', reason };
  }
}
