/** Searches on the GPU where there is one, else on the CPU; the results are the same. */
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
 * Not every software adapter is slower than JavaScript: 100,000 × 384 in f16 cost 253 ms of processor time on
 * SwiftShader, 136 without it, 35 on llvmpipe (bench/RESULTS.md). The results are the same everywhere.
 */
const isSwiftShader = ({ vendor, architecture, description }: AdapterDescription): boolean =>
  /swiftshader/i.test(`${vendor} ${architecture} ${description}`);

/** How often a search is begun again because rows were moved under it, before it is done in one go. */
const ATTEMPTS = 3;
/** Products of a search that the CPU has done before a GPU has answered. */
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
    if (device === 'cpu') this.#stayOnCpu("It was asked for by device: 'cpu'.");
  }

  get backend(): SearchBackend {
    return this.#backend;
  }

  /**
   * Runs a computation on the GPU, or where there is none on the CPU, until no row was moved under it; after
   * a few attempts in one go.
   * @param few it is not worth a GPU
   * @param finish makes ids of rows, at once: a tick later a row may be another item's
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

  /** @throws IndexError INDEX_OPTIONS; the signal's reason */
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

  /** For every row, whether a filter lets it be found. */
  allowed(filter: ItemFilter | undefined): Uint8Array | undefined {
    const { ids, metadata } = this.#items;
    return filter && Uint8Array.from(ids, (id, row) => (filter(id, metadata[row]) ? 1 : 0));
  }

  hit({ row, score }: Scored): Hit {
    return { id: this.#items.ids[row]!, score, metadata: this.#items.metadata[row] };
  }

  dispose(): void {
    this.#disposed = true;
    void this.#gpu?.then((gpu) => gpu?.dispose());
    this.#gpu = undefined;
  }

  /**
   * A GPU that fails is given up: undefined, and all is done again without it. What the signal throws is
   * thrown.
   */
  async #onGpu<T>(gpu: GpuSearch, run: (gpu: GpuSearch) => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await run(gpu);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      gpu.dispose();
      if ((await this.#gpu) !== gpu) return undefined; // another search has failed before, and seen to it
      // A device of the library's own that is lost is replaced, at the next search.
      if (error.code === 'DEVICE_LOST' && this.#device === undefined) this.#gpu = undefined;
      else this.#stayOnCpu(error.message);
      return undefined;
    }
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
          'SwiftShader plays the GPU on this processor, which takes twice as long as the processor does without it.',
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
