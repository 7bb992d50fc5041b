/**
 * `EmbeddingIndex`: the public class of `dinov2-webgpu/search`. It connects the items in memory, the search
 * and the storage.
 */
import { IndexError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import { host } from '../platform/host.js';
import { Analysis } from './analysis.js';
import { ChangeQueue } from './changeQueue.js';
import { checkSameIndex, headerOf, storedFields } from './checks.js';
import { fromSafetensors, toSafetensors } from './exchange.js';
import { fromNpy, toNpy } from './exchangeNpy.js';
import { Items } from './items.js';
import type { IndexHeader, IndexUsage, Journal } from './journal.js';
import { MemoryJournal } from './memoryJournal.js';
import type {
  ClusterOptions,
  Clusters,
  DuplicateOptions,
  ExportOptions,
  Hit,
  IndexChange,
  IndexFolder,
  IndexOptions,
  Item,
  ItemExtras,
  ItemUpdate,
  MapPoint,
  OpenOptions,
  PartHit,
  PartQuery,
  SearchBackend,
  SearchOptions,
} from './options.js';
import { Searcher } from './searcher.js';
import { openFolder } from './openFolder.js';
import { openJournal } from './store/openJournal.js';

/**
 * An index of image embeddings with exact similarity search. Hits and scores, computed on the GPU or the CPU,
 * equal the result of a float64 comparison with every vector. Equal scores are sorted by id.
 *
 * `new EmbeddingIndex` makes an index in memory. `EmbeddingIndex.open` stores the index in the browser and
 * keeps a copy of all vectors in memory.
 *
 * Changes are made one after the other, in the order of the calls. When the promise of a change resolves, the
 * change is durable and searches see it.
 */
export class EmbeddingIndex {
  /** Properties of the index that are fixed once it is made: dim, metric, storage, patches, model. */
  readonly header: IndexHeader;
  readonly #items: Items;
  readonly #searcher: Searcher;
  readonly #analysis: Analysis;
  readonly #journal: Journal;
  readonly #changes: ChangeQueue;

  #disposed = false;

  /**
   * Makes an index in memory.
   * @param journal the storage of the index. Passed only by `EmbeddingIndex.open`
   * @throws IndexError INDEX_OPTIONS
   */
  constructor(options: IndexOptions, journal?: Journal) {
    checkOptions('EmbeddingIndex', options ?? null);
    this.header = journal?.header ?? headerOf(options);
    this.#items = new Items(this.header);
    this.#journal = journal ?? new MemoryJournal(this.header, () => this.size);
    this.#changes = new ChangeQueue(this.#items, this.#journal, () => this.#checkOpen());
    this.#searcher = new Searcher(this.#items, options.device);
    this.#analysis = new Analysis(this.#items, this.header, this.#searcher);
  }

  /**
   * Opens the index of this name that is stored in the browser, or creates an empty index. All items are read
   * into memory, except their thumbnails.
   * @param name 1 to 200 characters. In Node, with `dinov2-webgpu/node`: `{ folder }`, a folder on disk
   * @throws IndexError INDEX_MODEL, INDEX_HEADER if the stored index differs from the options; INDEX_NEWER,
   *   INDEX_DAMAGED, INDEX_QUOTA, INDEX_STORAGE … (docs/internals/search-store.md); the signal's reason
   * @example
   * ```js
   * const index = await EmbeddingIndex.open('photographs', {
   *   dim: model.config.embedDim,
   *   model: await modelIdentity(model, options),
   * });
   * ```
   */
  static async open(name: string | IndexFolder, openOptions: OpenOptions): Promise<EmbeddingIndex> {
    const { persist, signal, repair, ...options } = checkOptions('EmbeddingIndex.open', openOptions ?? null);
    const header = headerOf(options);
    const journal =
      typeof name === 'string' && !host.openFolder
        ? await openJournal(name, header, { persist, signal, repair })
        : await openFolder(name, header, { signal, repair });
    const index = new EmbeddingIndex(options, journal);
    try {
      await index.#changes.load(signal);
      return index;
    } catch (error) {
      index.dispose();
      throw error;
    }
  }

  /** Ids of the damaged items that `open` left out because it was called with `repair: 'drop'`. */
  get dropped(): readonly string[] {
    return this.#journal.dropped;
  }

  /**
   * True if the browser lost the database of the index and `open` rebuilt it from the files. All items are
   * then present, but thumbnails and the values of `setState` are lost.
   */
  get restored(): boolean {
    return this.#journal.restored;
  }

  /**
   * True if `open` found no index of this name and made a new one. If you know that the index was made before,
   * the browser evicted it, or the visitor cleared the data of the origin: add the items again. Always true for an
   * index in memory.
   */
  get created(): boolean {
    return this.#journal.created;
  }

  /** Number of items. */
  get size(): number {
    return this.#items.vectors.count;
  }

  /** Says whether searches run on the GPU or the CPU, and why. Says CPU until a search has used the GPU. */
  get backend(): SearchBackend {
    return this.#searcher.backend;
  }

  /** True if the index has an item with this id. */
  has(id: string): boolean {
    return this.#items.rowOf.has(id);
  }

  /** All ids, in the order in which the items were added. */
  ids(): string[] {
    return [...this.#items.rowOf.keys()];
  }

  /**
   * Returns the metadata of an item, a frozen copy; null if the item has none.
   * @throws IndexError INDEX_UNKNOWN_ID
   */
  metadata(id: string): unknown {
    return this.#items.metadata[this.#row(id, 'metadata')];
  }

  /**
   * Returns the stored vector of an item, decoded to `dim` float32 numbers.
   * @throws IndexError INDEX_UNKNOWN_ID
   */
  vector(id: string): Float32Array<ArrayBuffer> {
    return this.#items.vectors.decode(this.#row(id, 'vector'));
  }

  /** Reads the thumbnail of an item; undefined if the item has none. */
  async thumbnail(id: string): Promise<Blob | undefined> {
    this.#checkOpen();
    return this.has(id) ? this.#journal.thumbnail(id) : undefined;
  }

  /**
   * Adds one item. If the promise rejects, nothing is added.
   * @param vector the embedding, `dim` numbers
   * @throws IndexError INDEX_DUPLICATE_ID, INDEX_ID, INDEX_VECTOR, INDEX_METADATA, INDEX_PATCHES; INDEX_QUOTA
   *   and other errors of the store
   */
  add(id: string, vector: ArrayLike<number>, metadata?: unknown, extras: ItemExtras = {}): Promise<void> {
    return this.#changes.add('add', () => [{ id, vector, metadata, ...extras }]);
  }

  /**
   * Adds several items in one change: all of them, or none if one is refused. Throws the same errors as
   * `add`.
   */
  addMany(items: Iterable<Item>): Promise<void> {
    return this.#changes.add('addMany', () => items);
  }

  /**
   * Replaces those fields of an item that `update` contains, and keeps the other fields.
   * @throws IndexError INDEX_UNKNOWN_ID, and the errors of `add`
   */
  async update(id: string, update: ItemUpdate): Promise<void> {
    const where = `update ${JSON.stringify(id)}`;
    const changed = storedFields(update, this.header, where); // before any await: the caller may reuse its arrays
    return this.#changes.run(async () => [
      { put: { ...this.#items.stored(this.#row(id, 'update')), ...changed } },
    ]);
  }

  /** Removes items. Returns the number of items removed: ids that the index does not have are ignored. */
  async remove(ids: string | Iterable<string>): Promise<number> {
    const list = typeof ids === 'string' ? [ids] : [...ids];
    let removed = 0;
    await this.#changes.run(async () => {
      const present = [...new Set(list)].filter((id) => this.has(id));
      removed = present.length;
      return present.map((id) => ({ remove: id }));
    });
    return removed;
  }

  /**
   * Finds the items with the highest scores, best first. Items with equal scores are sorted by id. If a list
   * of queries is given, up to four of them share one pass over the vectors.
   * @throws IndexError INDEX_VECTOR, INDEX_OPTIONS; the signal's reason
   * @example
   * ```js
   * const hits = await index.search(await model.embed(file), { topK: 10 }); // [{ id, score, metadata }]
   * ```
   */
  search(query: ArrayLike<number>, options?: SearchOptions): Promise<Hit[]>;
  /** Searches for several queries. Returns one list of hits for each query. */
  search(queries: readonly ArrayLike<number>[], options?: SearchOptions): Promise<Hit[][]>;
  async search(
    query: ArrayLike<number> | readonly ArrayLike<number>[],
    options: SearchOptions = {},
  ): Promise<Hit[] | Hit[][]> {
    checkOptions('search', options);
    this.#checkOpen();
    return this.#analysis.search(query, options);
  }

  /**
   * Finds the images that contain a region similar to a region of the query image, best first. Only items
   * with patches are searched. Runs on the CPU.
   * @throws IndexError INDEX_PATCHES, INDEX_OPTIONS; the signal's reason
   */
  async searchByPart(query: PartQuery, options: SearchOptions = {}): Promise<PartHit[]> {
    checkOptions('searchByPart', options);
    this.#checkOpen();
    return this.#analysis.searchByPart(query, options);
  }

  /**
   * Finds the items that are most similar to a stored item. The results do not contain that item.
   * @throws IndexError INDEX_UNKNOWN_ID, INDEX_OPTIONS; the signal's reason
   */
  async neighbours(id: string, options: SearchOptions = {}): Promise<Hit[]> {
    checkOptions('neighbours', options);
    return this.#analysis.neighbours(id, this.vector(id), options);
  }

  /**
   * Finds groups of near-duplicates. All pairs of items are compared. Groups are transitive: if a matches b
   * and b matches c, all three are in one group. Groups, and the ids in a group, are in the order in which
   * items were added.
   * @throws IndexError INDEX_OPTIONS; the signal's reason
   */
  async duplicates(options: DuplicateOptions = {}): Promise<string[][]> {
    checkOptions('duplicates', options);
    this.#checkOpen();
    return this.#analysis.duplicates(options);
  }

  /**
   * Groups the items into at most `k` clusters (1 to 4,096) by spherical k-means. The result depends only on
   * the items, the options and the order in which the items were added: a GPU and the CPU give the same
   * clusters.
   * @throws IndexError INDEX_OPTIONS; the signal's reason
   */
  async clusters(k: number, options: ClusterOptions = {}): Promise<Clusters> {
    checkOptions('clusters', options);
    this.#checkOpen();
    return this.#analysis.clusters(k, options);
  }

  /**
   * Projects every vector onto the first two principal components of all vectors. Returns one point per item,
   * in the order in which the items were added. @throws the signal's reason
   */
  async map(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<MapPoint[]> {
    const { signal } = checkOptions('map', options);
    this.#checkOpen();
    return this.#analysis.map(signal);
  }

  /**
   * Exports items as one safetensors file (format: docs/guide/search.md), by default all items with their
   * thumbnails. First waits for changes that are being made. Thumbnails are read during the export: an item
   * that is removed meanwhile has none in the file.
   * @throws IndexError INDEX_UNKNOWN_ID; INDEX_DAMAGED if a thumbnail is damaged: export without thumbnails,
   *   or give the item a new one
   */
  async export(options: ExportOptions = {}): Promise<Blob> {
    const { thumbnails = true, ids } = checkOptions('export', options);
    await this.#changes.settled;
    this.#checkOpen();
    const rows = ids
      ? [...new Set(ids)].map((id) => this.#row(id, 'export'))
      : [...this.#items.rowOf.values()];
    const read = (id: string): Promise<Blob | undefined> => this.thumbnail(id);
    return toSafetensors(this.#items, rows, this.header, thumbnails ? read : undefined);
  }

  /**
   * Exports the vectors as a NumPy file, float32 (count, dim), and the ids as a JSON array in the same order.
   * First waits for changes that are being made.
   */
  async exportNpy(): Promise<{ npy: Blob; ids: Blob }> {
    await this.#changes.settled;
    this.#checkOpen();
    return toNpy(this.#items);
  }

  /**
   * Adds the items of a file that `export` wrote, all of them or none.
   * @throws IndexError INDEX_FILE, INDEX_NEWER, INDEX_VECTOR, INDEX_PATCHES, INDEX_ID if the file is damaged
   *   or not an index; INDEX_HEADER, INDEX_MODEL if its vectors do not fit this index; INDEX_DUPLICATE_ID
   */
  async importFrom(file: Blob): Promise<void> {
    this.#checkOpen();
    const { header, items } = await fromSafetensors(file);
    checkSameIndex(header, this.header, 'import', ADVICE);
    return this.#changes.addStored(
      'importFrom',
      items,
      'Remove that item first, or import into a new index.',
    );
  }

  /**
   * Adds items from two files: vectors from a NumPy file, float32 (count, dim), and ids from a JSON array of
   * strings in the same order. Adds all items or none. A NumPy file does not name a model: check that the
   * vectors were made by this index's model.
   * @throws IndexError INDEX_FILE, INDEX_HEADER, INDEX_VECTOR, INDEX_ID, INDEX_DUPLICATE_ID
   */
  async importNpy(npy: Blob, ids: Blob): Promise<void> {
    this.#checkOpen();
    return this.addMany(await fromNpy(npy, ids, this.header));
  }

  /**
   * Makes an index in memory from a file that `export` wrote.
   * @param options `device`: where searches run. `model`: if given, a file made by a different model is
   *   refused
   * @throws the errors of `importFrom`
   */
  static async import(
    file: Blob,
    options: Pick<IndexOptions, 'device' | 'model'> = {},
  ): Promise<EmbeddingIndex> {
    const { device, model } = checkOptions('import', options);
    const { header, items } = await fromSafetensors(file);
    if (model) checkSameIndex(header, { ...header, model }, 'import', ADVICE);
    const index = new EmbeddingIndex({ ...header, device });
    await index.#changes.addStored('import', items, ADVICE);
    return index;
  }

  /** Reads the value that `setState` stored under this key; undefined if there is none. */
  async getState(key: string): Promise<unknown> {
    this.#checkOpen();
    return this.#journal.getState(key);
  }

  /**
   * Stores a small value beside the items, such as the progress of an import. The value may be anything that
   * `structuredClone` can copy. The value undefined deletes the key.
   */
  async setState(key: string, value: unknown): Promise<void> {
    this.#checkOpen();
    await this.#journal.setState(key, value);
  }

  /**
   * Returns how much storage the index occupies in the browser. An index in memory occupies 0 bytes.
   * @throws IndexError INDEX_STORAGE, INDEX_DAMAGED, INDEX_GONE
   */
  async usage(): Promise<IndexUsage> {
    this.#checkOpen();
    return this.#journal.usage();
  }

  /**
   * Frees the storage that replaced and removed items still occupy. The store also does so by itself once
   * enough unused space has accumulated. If the promise rejects, nothing is changed.
   * @throws IndexError INDEX_QUOTA and other errors of the store
   */
  async compact(): Promise<void> {
    this.#checkOpen();
    await this.#journal.compact();
  }

  /**
   * Calls `callback` after every change of the index, including changes made by other tabs. Returns a
   * function that removes the callback.
   * @throws IndexError INDEX_OPTIONS if `event` is not 'change'
   */
  on(event: 'change', callback: (change: IndexChange) => void): () => void {
    if (event !== 'change')
      throw new IndexError(
        'INDEX_OPTIONS',
        `on: expected the event 'change', found ${JSON.stringify(event)}.`,
      );
    return this.#changes.listen(callback);
  }

  /**
   * Closes the index and frees its GPU memory. A stored index stays in the browser. A change that is being
   * made is completed; changes that wait for it are rejected.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#changes.close();
    this.#searcher.dispose();
    void this.#changes.settled.then(() => this.#journal.close());
  }

  /** Same as `dispose`. `using` declarations call it. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkOpen(): void {
    if (this.#disposed)
      throw new IndexError('INDEX_DISPOSED', 'EmbeddingIndex: the index is disposed. Open it again.');
  }

  #row(id: string, where: string): number {
    this.#checkOpen();
    const row = this.#items.rowOf.get(id);
    if (row === undefined)
      throw new IndexError(
        'INDEX_UNKNOWN_ID',
        `${where}: none of the ${this.size} items has the id ${JSON.stringify(id)}. Check with has(id) first.`,
      );
    return row;
  }
}

const ADVICE = 'Import the file into a new index, or embed the images again.';
