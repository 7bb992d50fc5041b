/** Searches on the GPU where there is one, else on the CPU; the results are the same. */
import { finiteNumber, wholeNumber } from './checks.js';
import type { Items } from './items.js';
import type { Hit, SearchBackend, SearchOptions } from './options.js';
import { searchCpu, type Limits, type Query } from './searchCpu.js';
import type { Scored } from './topK.js';

/** How often a search is begun again because rows were moved under it, before it is done in one go. */
const ATTEMPTS = 3;

export class Searcher {
  readonly #items: Items;
  #backend: SearchBackend = { kind: 'cpu', reason: 'There is no search on the GPU yet.' };

  constructor(items: Items, _device: GPUDevice | 'cpu' | undefined) {
    this.#items = items;
  }

  get backend(): SearchBackend {
    return this.#backend;
  }

  /** @throws IndexError INDEX_OPTIONS; the signal's reason */
  async search(queries: readonly Query[], { topK = 10, filter, threshold, signal }: SearchOptions): Promise<Hit[][]> {
    wholeNumber('search', 'topK', topK, 1);
    if (threshold !== undefined) finiteNumber('search', 'threshold', threshold);
    signal?.throwIfAborted();
    for (let attempt = 1; ; attempt++) {
      const { ids, metadata, vectors } = this.#items;
      if (vectors.count === 0 || queries.length === 0) return queries.map(() => []);
      const allowed = filter && Uint8Array.from(ids, (id, row) => (filter(id, metadata[row]) ? 1 : 0));
      const limits: Limits = { topK, allowed, threshold: threshold ?? -Infinity };
      const found = await searchCpu(this.#items, queries, limits, signal, attempt > ATTEMPTS);
      if (found) return found.map((each) => each.map((scored) => this.#hit(scored)));
    }
  }

  #hit({ row, score }: Scored): Hit {
    return { id: this.#items.ids[row]!, score, metadata: this.#items.metadata[row] };
  }

  dispose(): void {}
}
