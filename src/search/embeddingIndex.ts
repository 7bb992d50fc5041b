/** EmbeddingIndex: puts items, search and store together. Computes nothing itself. */
import { IndexError } from '../errors.js';
import { checkOptions } from '../optionNames.js';
import { Analysis } from './analysis.js';
import { checkSameIndex, encodedPatches, headerOf, jsonCopy, storedItem } from './checks.js';
import { checkedVector, encodeVector } from './codec.js';
import { fromNpy, fromSafetensors, toNpy, toSafetensors } from './exchange.js';
import { Items } from './items.js';
import type { Change, IndexHeader, IndexUsage, Journal, StoredItem } from './journal.js';
import type {
  ClusterOptions,
  Clusters,
  DuplicateOptions,
  Hit,
  IndexChange,
  IndexOptions,
  Item,
  ItemExtras,
  ItemFilter,
  ItemUpdate,
  MapPoint,
  OpenOptions,
  PartHit,
  PartQuery,
  SearchBackend,
  SearchOptions,
} from './options.js';
import { Searcher } from './searcher.js';
import { openJournal } from './store/openJournal.js';

/**
 * Vectors of images by id, in memory, with exact search among them: the hits and scores are those of
 * comparing every vector in float64, on the GPU as on the CPU, equal scores in the order of their ids. `new
 * EmbeddingIndex` forgets everything with the page; `EmbeddingIndex.open` keeps it in the browser.
 *
 * Changes are made one after the other, in the order of the calls; each is durable, and seen by searches,
 * when its promise resolves.
 */
export class EmbeddingIndex {
  readonly header: IndexHeader;
  readonly #items: Items;
  readonly #searcher: Searcher;
  readonly #analysis: Analysis;
  readonly #journal: Journal | undefined;
  /** What a journal would keep beside the items. */
  readonly #states = new Map<string, unknown>();
  readonly #thumbnails = new Map<string, Blob>();
  readonly #listeners = new Set<(change: IndexChange) => void>();
  #stopWatching: (() => void) | undefined;
  /** The last change that was asked for. */
  #changes: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /**
   * An index in memory.
   * @param journal what keeps it, whose items it then begins with (`EmbeddingIndex.open` has one)
   * @throws IndexError INDEX_OPTIONS
   */
  constructor(options: IndexOptions, journal?: Journal) {
    checkOptions('EmbeddingIndex', options ?? null);
    this.header = journal?.header ?? headerOf(options);
    this.#items = new Items(this.header);
    this.#journal = journal;
    this.#searcher = new Searcher(this.#items, options.device);
    this.#analysis = new Analysis(this.#items, this.header, this.#searcher);
  }

  /**
   * Opens the index of this name that is kept in the browser, or begins one. Everything is read into memory.
   * @throws IndexError INDEX_MODEL, INDEX_HEADER if another index is kept under the name; INDEX_NEWER,
   *   INDEX_DAMAGED, INDEX_QUOTA, INDEX_STORAGE … (docs/search-store.md)
   */
  static async open(name: string, given: OpenOptions): Promise<EmbeddingIndex> {
    const { persist, signal, repair, ...options } = checkOptions('EmbeddingIndex.open', given ?? null);
    const journal = await openJournal(name, headerOf(options), { persist, signal, repair });
    const index = new EmbeddingIndex(options, journal);
    try {
      // Changes of other tabs that arrive while the items are read come after them.
      const early: (readonly Change[])[] = [];
      let ready = false;
      index.#stopWatching = journal.watch(
        (changes) => void (ready ? index.#apply(changes, true) : early.push(changes)),
      );
      for await (const item of journal.items(signal))
        index.#items.apply({ put: { ...item, metadata: jsonCopy(item.metadata, 'open') } });
      for (const changes of early) index.#apply(changes, true);
      ready = true;
      return index;
    } catch (error) {
      index.dispose();
      throw error;
    }
  }

  /** Ids of damaged items that `open` has dropped, as `repair: 'drop'` asks it to. */
  get dropped(): readonly string[] {
    return this.#journal?.dropped ?? [];
  }

  /**
   * Whether the browser had lost a part of what was kept, and `open` has made it anew: all items are there;
   * thumbnails and what `setState` kept are not.
   */
  get restored(): boolean {
    return this.#journal?.restored ?? false;
  }

  get size(): number {
    return this.#items.vectors.count;
  }

  /** Where searches run, and why there: the CPU until the first search. */
  get backend(): SearchBackend {
    return this.#searcher.backend;
  }

  has(id: string): boolean {
    return this.#items.rowOf.has(id);
  }

  /** In the order in which the items came. */
  ids(): string[] {
    return [...this.#items.rowOf.keys()];
  }

  /**
   * What was handed in with the item, as JSON keeps it (frozen); null if nothing was.
   * @throws IndexError INDEX_UNKNOWN_ID
   */
  metadata(id: string): unknown {
    return this.#items.metadata[this.#row(id, 'metadata')];
  }

  /**
   * The vector as it is stored, and compared: (dim).
   * @throws IndexError INDEX_UNKNOWN_ID
   */
  vector(id: string): Float32Array<ArrayBuffer> {
    return this.#items.vectors.decode(this.#row(id, 'vector'));
  }

  /** The picture that was handed in with the item, if one was. */
  async thumbnail(id: string): Promise<Blob | undefined> {
    this.#alive();
    if (!this.has(id)) return undefined;
    return this.#journal ? this.#journal.thumbnail(id) : this.#thumbnails.get(id);
  }

  /**
   * Adds an item.
   * @param vector (dim)
   * @throws IndexError INDEX_DUPLICATE_ID, INDEX_ID, INDEX_VECTOR, INDEX_METADATA, INDEX_PATCHES: nothing is
   *   added; or what the store throws
   */
  add(id: string, vector: ArrayLike<number>, metadata?: unknown, extras: ItemExtras = {}): Promise<void> {
    return this.#add('add', () => [{ id, vector, metadata, ...extras }]);
  }

  /** Adds items, all of them or, where one is refused, none. Errors as `add`. */
  addMany(items: Iterable<Item>): Promise<void> {
    return this.#add('addMany', () => items);
  }

  /**
   * Replaces what is given of an item and keeps the rest.
   * @throws IndexError INDEX_UNKNOWN_ID, and as `add`
   */
  async update(id: string, update: ItemUpdate): Promise<void> {
    const where = `update ${JSON.stringify(id)}`;
    const { vector, metadata, patches, thumbnail } = update;
    const given: Partial<StoredItem> = {
      // now: the caller may go on with its arrays
      ...(vector !== undefined && {
        vector: encodeVector(checkedVector(vector, this.header, where), this.header.storage, where),
      }),
      ...('metadata' in update && { metadata: jsonCopy(metadata, where) }),
      ...(patches && { patches: encodedPatches(patches, this.header, where) }),
      ...(thumbnail && { thumbnail }),
    };
    return this.#change(async () => [{ put: { ...this.#items.stored(this.#row(id, 'update')), ...given } }]);
  }

  /** Removes the items that are there, and says how many were. */
  async remove(ids: string | Iterable<string>): Promise<number> {
    const list = typeof ids === 'string' ? [ids] : [...ids];
    let removed = 0;
    await this.#change(async () => {
      const present = [...new Set(list)].filter((id) => this.has(id));
      removed = present.length;
      return present.map((id) => ({ remove: id }));
    });
    return removed;
  }

  /**
   * The items whose vectors are nearest to a query, best first, equal scores in the order of their ids; a
   * list of queries, which share one pass over the vectors, gives a list of results.
   * @throws IndexError INDEX_VECTOR, INDEX_OPTIONS; the signal's reason
   */
  search(query: ArrayLike<number>, options?: SearchOptions): Promise<Hit[]>;
  search(queries: readonly ArrayLike<number>[], options?: SearchOptions): Promise<Hit[][]>;
  async search(
    query: ArrayLike<number> | readonly ArrayLike<number>[],
    options: SearchOptions = {},
  ): Promise<Hit[] | Hit[][]> {
    checkOptions('search', options);
    this.#alive();
    if (isList(query)) {
      const queries = query.map((each, i) => ({
        vector: checkedVector(each, this.header, `search, query ${i}`),
      }));
      return this.#searcher.search(queries, options);
    }
    const [hits] = await this.#searcher.search(
      [{ vector: checkedVector(query, this.header, 'search') }],
      options,
    );
    return hits!;
  }

  /**
   * The images of which some part looks like a region of another image, best first, and where: searches the
   * patches of all items that have them.
   * @throws IndexError INDEX_PATCHES, INDEX_OPTIONS; the signal's reason
   */
  async searchByPart(query: PartQuery, options: SearchOptions = {}): Promise<PartHit[]> {
    checkOptions('searchByPart', options);
    this.#alive();
    return this.#analysis.searchByPart(query, options);
  }

  /**
   * What is nearest to an item, without the item itself. Its vector is taken as it is stored.
   * @throws IndexError INDEX_UNKNOWN_ID, INDEX_OPTIONS; the signal's reason
   */
  async neighbours(id: string, options: SearchOptions = {}): Promise<Hit[]> {
    const { filter, ...others } = checkOptions('neighbours', options);
    const vector = this.vector(id);
    const allowed: ItemFilter = (other, metadata) => other !== id && (!filter || filter(other, metadata));
    const [hits] = await this.#searcher.search([{ vector }], { ...others, filter: allowed });
    return hits!;
  }

  /**
   * Groups of near-duplicates: a chain of pairs leads from any item of a group to any other, each pair with
   * at least the threshold's score. In each group, and of the groups, the item that came first stands first.
   * All pairs are compared.
   * @throws IndexError INDEX_OPTIONS; the signal's reason
   */
  async duplicates(options: DuplicateOptions = {}): Promise<string[][]> {
    checkOptions('duplicates', options);
    this.#alive();
    return this.#analysis.duplicates(options);
  }

  /**
   * At most k clusters of items that look alike: spherical k-means, the same for the same items and seed, on
   * GPU and CPU.
   * @throws IndexError INDEX_OPTIONS; the signal's reason
   */
  async clusters(k: number, options: ClusterOptions = {}): Promise<Clusters> {
    checkOptions('clusters', options);
    this.#alive();
    return this.#analysis.clusters(k, options);
  }

  /**
   * Every item's place in the plane of the first two principal components of the vectors, in the order in
   * which the items came.
   */
  async map(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<MapPoint[]> {
    const { signal } = checkOptions('map', options);
    this.#alive();
    return this.#analysis.map(signal);
  }

  /**
   * Everything but the thumbnails in one safetensors file (docs/search.md has its form). Changes that are
   * under way come first.
   */
  async export(): Promise<Blob> {
    await this.#changes;
    this.#alive();
    return toSafetensors(this.#items, this.header);
  }

  /** The vectors as NumPy's file of float32, (count, dim), and the ids as a JSON array, in one order. */
  async exportNpy(): Promise<{ npy: Blob; ids: Blob }> {
    await this.#changes;
    this.#alive();
    return toNpy(this.#items);
  }

  /**
   * Adds the items of an exported file, all of them or none.
   * @throws IndexError INDEX_FILE, INDEX_NEWER, INDEX_VECTOR, INDEX_PATCHES, INDEX_ID for a file that is
   *   damaged or of another kind; INDEX_HEADER, INDEX_MODEL for an index that is another one;
   *   INDEX_DUPLICATE_ID
   */
  async importFrom(file: Blob): Promise<void> {
    this.#alive();
    const { header, items } = await fromSafetensors(file);
    checkSameIndex(header, this.header, 'import', ADVICE);
    return this.#change(async () => {
      const there = items.find(({ id }) => this.has(id));
      if (there)
        throw new IndexError(
          'INDEX_DUPLICATE_ID',
          `importFrom: expected ids that are not there yet, found ${JSON.stringify(there.id)}. Remove those items first, or import into a new index.`,
        );
      return items.map((item) => ({ put: item }));
    });
  }

  /**
   * Adds vectors of NumPy, float32 (count, dim), and their ids, a JSON array of strings in the same order;
   * all of them or none. What made them is not in such a file: see to it that it was this index's model.
   * @throws IndexError INDEX_FILE, INDEX_HEADER, INDEX_VECTOR, INDEX_ID, INDEX_DUPLICATE_ID
   */
  async importNpy(npy: Blob, ids: Blob): Promise<void> {
    this.#alive();
    return this.addMany(await fromNpy(npy, ids, this.header));
  }

  /**
   * An index in memory with the items of an exported file.
   * @param options what differs from the defaults of the file: `device`, and `model` if it has to be that one
   * @throws as `importFrom`
   */
  static async import(
    file: Blob,
    options: Pick<IndexOptions, 'device' | 'model'> = {},
  ): Promise<EmbeddingIndex> {
    const { device, model } = checkOptions('import', options);
    const { header, items } = await fromSafetensors(file);
    if (model) checkSameIndex(header, { ...header, model }, 'import', ADVICE);
    const index = new EmbeddingIndex({ ...header, device });
    for (const item of items) index.#items.apply({ put: item });
    return index;
  }

  /** What was kept under this key by `setState`. */
  async getState(key: string): Promise<unknown> {
    this.#alive();
    return this.#journal ? this.#journal.getState(key) : this.#states.get(key);
  }

  /**
   * Keeps a small record beside the items, such as how far an import has come: whatever `structuredClone` can
   * copy.
   */
  async setState(key: string, value: unknown): Promise<void> {
    this.#alive();
    if (this.#journal) await this.#journal.setState(key, value);
    else this.#states.set(key, structuredClone(value));
  }

  /**
   * What the index takes in the browser's storage; nothing, where it is in memory alone. @throws what the
   * store throws
   */
  async usage(): Promise<IndexUsage> {
    this.#alive();
    return this.#journal?.usage() ?? { items: this.size, bytes: 0, wastedBytes: 0 };
  }

  /**
   * Frees the room of items that were replaced or removed, now and all of it: the store does so by itself
   * where it is much. @throws INDEX_QUOTA and what else the store throws: nothing was changed
   */
  async compact(): Promise<void> {
    this.#alive();
    await this.#journal?.compact();
  }

  /** Calls back after every change, also those of other tabs. Returns how to stop. */
  on(event: 'change', callback: (change: IndexChange) => void): () => void {
    if (event !== 'change')
      throw new IndexError(
        'INDEX_OPTIONS',
        `on: expected the event 'change', found ${JSON.stringify(event)}.`,
      );
    this.#listeners.add(callback);
    return () => void this.#listeners.delete(callback);
  }

  /** Ends the use of the index: what is kept stays. Changes that are under way are finished first. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stopWatching?.();
    this.#listeners.clear();
    this.#searcher.dispose();
    void this.#changes.finally(() => this.#journal?.close());
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #alive(): void {
    if (this.#disposed)
      throw new IndexError(
        'INDEX_DISPOSED',
        'EmbeddingIndex: expected one that is in use, found one that was disposed of. Open it again.',
      );
  }

  #row(id: string, where: string): number {
    this.#alive();
    const row = this.#items.rowOf.get(id);
    if (row === undefined)
      throw new IndexError(
        'INDEX_UNKNOWN_ID',
        `${where}: expected the id of one of ${this.size} items, found ${JSON.stringify(id)}. has() tells which are there.`,
      );
    return row;
  }

  /**
   * Runs after all changes that were asked for before: `prepare` sees what they left, and says what is to be
   * done or throws.
   */
  #change(prepare: () => Promise<readonly Change[]>): Promise<void> {
    const change = this.#changes.then(async () => {
      this.#alive();
      let changes: readonly Change[] = [];
      // Of a kept index, it sees what other tabs have left too.
      const make = async (): Promise<readonly Change[]> => (changes = await prepare());
      await (this.#journal ? this.#journal.commit(make) : make());
      if (changes.length > 0) this.#apply(changes, false);
    });
    this.#changes = change.catch(() => undefined); // the caller has the error; the next change does not depend on this one
    return change;
  }

  /** All of them are encoded before this returns: the caller may go on with its arrays. */
  async #add(where: string, items: () => Iterable<Item>): Promise<void> {
    const added = [...items()].map((item) => storedItem(item, this.header, where));
    return this.#change(async () => {
      const seen = new Set<string>();
      for (const { id } of added) {
        if (this.has(id) || seen.has(id))
          throw new IndexError(
            'INDEX_DUPLICATE_ID',
            `${where}: expected ids that are not there yet, found ${JSON.stringify(id)}. Use update(), or another id.`,
          );
        seen.add(id);
      }
      return added.map((put) => ({ put }));
    });
  }

  #apply(changes: readonly Change[], elsewhere: boolean): void {
    const put = new Set<string>();
    const removed = new Set<string>();
    for (const change of changes) {
      this.#items.apply(change);
      const id = 'put' in change ? change.put.id : change.remove;
      ('put' in change ? removed : put).delete(id);
      ('put' in change ? put : removed).add(id);
      if (this.#journal) continue;
      if ('remove' in change) this.#thumbnails.delete(id);
      else if (change.put.thumbnail) this.#thumbnails.set(id, change.put.thumbnail);
    }
    const told: IndexChange = { put: [...put], removed: [...removed], elsewhere };
    for (const listener of this.#listeners) {
      try {
        listener(told);
      } catch (error) {
        // The change is made all the same; a listener's error is reported as one of an event's listener is.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

/** Where an import does not belong. */
const ADVICE = 'Import it into an index of its own, or embed the images again.';
const isList = (
  query: ArrayLike<number> | readonly ArrayLike<number>[],
): query is readonly ArrayLike<number>[] => Array.isArray(query) && typeof query[0] !== 'number';
