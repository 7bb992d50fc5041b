/**
 * `Analysis`: search, duplicates, clusters and map of an index. It checks the options of a computation, and
 * runs the computation on the GPU or the CPU.
 */
import { finiteNumber, wholeNumber } from './checks.js';
import { checkedVector } from './codec.js';
import { clusterRows } from './clusters.js';
import { duplicateRows } from './duplicates.js';
import type { Items } from './items.js';
import type { IndexHeader } from './journal.js';
import type {
  ClusterOptions,
  Clusters,
  DuplicateOptions,
  Hit,
  ItemFilter,
  MapPoint,
  PartHit,
  PartQuery,
  SearchOptions,
} from './options.js';
import { regionQuery, searchParts } from './parts.js';
import { projectRows } from './projection.js';
import type { Searcher } from './searcher.js';

/**
 * If a computation has fewer multiplications than this, the CPU needs less time for it than a GPU needs to
 * compile its kernels.
 */
const FEW_PRODUCTS = 1 << 26;
const MAX_CLUSTERS = 4096;

export class Analysis {
  readonly #items: Items;
  readonly #header: IndexHeader;
  readonly #searcher: Searcher;

  constructor(items: Items, header: IndexHeader, searcher: Searcher) {
    this.#items = items;
    this.#header = header;
    this.#searcher = searcher;
  }

  /** Searches for one query or for a list of queries. */
  async search(
    query: ArrayLike<number> | readonly ArrayLike<number>[],
    options: SearchOptions,
  ): Promise<Hit[] | Hit[][]> {
    if (isList(query)) {
      const queries = query.map((each, i) => ({
        vector: checkedVector(each, this.#header, `search, query ${i}`),
      }));
      return this.#searcher.search(queries, options);
    }
    const [hits] = await this.#searcher.search(
      [{ vector: checkedVector(query, this.#header, 'search') }],
      options,
    );
    return hits!;
  }

  /** Searches with the stored vector of the item `id`. The results do not contain this item. */
  async neighbours(
    id: string,
    vector: Float32Array<ArrayBuffer>,
    { filter, ...options }: SearchOptions,
  ): Promise<Hit[]> {
    const allowed: ItemFilter = (other, metadata) => other !== id && (!filter || filter(other, metadata));
    const [hits] = await this.#searcher.search([{ vector }], { ...options, filter: allowed });
    return hits!;
  }

  async searchByPart(
    query: PartQuery,
    { topK = 10, filter, threshold = -Infinity, signal }: SearchOptions,
  ): Promise<PartHit[]> {
    wholeNumber('searchByPart', 'topK', topK, 1);
    if (threshold !== -Infinity) finiteNumber('searchByPart', 'threshold', threshold);
    signal?.throwIfAborted();
    const region = regionQuery(query, this.#header);
    const onCpu = (whole: boolean) =>
      searchParts(
        this.#items,
        this.#header,
        region,
        topK,
        this.#searcher.allowed(filter),
        threshold,
        signal,
        whole,
      );
    return this.#searcher.steady(
      true,
      () => onCpu(false),
      onCpu,
      (found) =>
        found.map((scored) => {
          const { rows, cols } = this.#items.patches[scored.row]!;
          return { ...this.#searcher.hit(scored), box: scored.box, grid: { rows, cols } };
        }),
    );
  }

  async duplicates({ threshold = 0.95, signal }: DuplicateOptions): Promise<string[][]> {
    finiteNumber('duplicates', 'threshold', threshold);
    signal?.throwIfAborted();
    const { vectors } = this.#items;
    const few = (vectors.count ** 2 / 2) * vectors.dim < FEW_PRODUCTS;
    return this.#searcher.steady(
      few,
      async (gpu) => duplicateRows(this.#items, threshold, await gpu.pairs(), signal, false),
      (whole) => duplicateRows(this.#items, threshold, undefined, signal, whole),
      (groups) => this.#inOrder(groups),
    );
  }

  /**
   * Converts groups of row numbers to groups of item ids. The groups, and the ids within a group, are in the
   * order in which the items were added to the index.
   */
  #inOrder(groups: readonly (readonly number[])[]): string[][] {
    const { ids, rowOf } = this.#items;
    const order = new Map([...rowOf.keys()].map((id, i) => [id, i]));
    const position = (id: string): number => order.get(id)!;
    const named = groups.map((rows) =>
      rows.map((row) => ids[row]!).sort((a, b) => position(a) - position(b)),
    );
    return named.sort((a, b) => position(a[0]!) - position(b[0]!));
  }

  async clusters(k: number, { seed = 0, maxIterations = 50, signal }: ClusterOptions): Promise<Clusters> {
    wholeNumber('clusters', 'k', k, 1, MAX_CLUSTERS);
    wholeNumber('clusters', 'seed', seed, 0, 2 ** 32 - 1);
    wholeNumber('clusters', 'maxIterations', maxIterations, 1);
    signal?.throwIfAborted();
    const { vectors, ids } = this.#items;
    if (vectors.count === 0) return { ids: [], centroids: [] };
    const few = vectors.count * vectors.dim * k < FEW_PRODUCTS / 16;
    return this.#searcher.steady(
      few,
      async (gpu) => clusterRows(this.#items, k, seed, maxIterations, await gpu.assigner(), signal, false),
      (whole) => clusterRows(this.#items, k, seed, maxIterations, undefined, signal, whole),
      ({ rows, centers }) => ({ ids: rows.map((each) => each.map((row) => ids[row]!)), centroids: centers }),
    );
  }

  async map(signal: AbortSignal | undefined): Promise<MapPoint[]> {
    signal?.throwIfAborted();
    const onCpu = (whole: boolean) => projectRows(this.#items, signal, whole);
    return this.#searcher.steady(
      true,
      () => onCpu(false),
      onCpu,
      (points) => {
        // Items that were added to the index during the computation have no point on the map yet.
        const placed = [...this.#items.rowOf].filter(([, row]) => 2 * row < points.length);
        return placed.map(([id, row]) => ({ id, x: points[2 * row]!, y: points[2 * row + 1]! }));
      },
    );
  }
}

const isList = (
  query: ArrayLike<number> | readonly ArrayLike<number>[],
): query is readonly ArrayLike<number>[] => Array.isArray(query) && typeof query[0] !== 'number';
