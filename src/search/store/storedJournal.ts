/**
 * `StoredJournal`: the journal of an index in the browser's storage. `openJournal` makes it;
 * docs/internals/search-store.md describes how the storage works.
 */
import { IndexError } from '../../errors.js';
import type { Change, Changes, IndexHeader, IndexUsage, Journal, StoredItem } from '../journal.js';
import { checkState, exclusively, readItem, type Context } from './context.js';
import { applyChanges, prepare } from './commit.js';
import { compact, compactWhereWorthIt } from './compaction.js';
import { closedError, damagedError, isQuota, thumbnailError } from './errors.js';
import { inspectSizes, readRows } from './inspect.js';
import { ONLY, thumbnailChecksum, type ItemRow, type SegmentRow, type StateRow } from './rows.js';

/** After every this many commits, a tab checks whether files should be merged. */
const COMMITS_BETWEEN_CHECKS = 8;

/** The state of the index when it was opened. */
export interface OpenedIndex {
  readonly header: IndexHeader;
  readonly state: StateRow;
  readonly items: readonly ItemRow[];
  readonly segments: readonly SegmentRow[];
  /** Ids of damaged items that `repair: 'drop'` left out. */
  readonly dropped: readonly string[];
  /** True if the browser had lost the database and opening rebuilt it from the files. */
  readonly restored: boolean;
  readonly created: boolean;
}

type OnChanges = (changes: readonly Change[]) => void;

export class StoredJournal implements Journal {
  readonly header: IndexHeader;
  /** Ids of damaged items that opening with `repair: 'drop'` left out. */
  readonly dropped: readonly string[];
  /**
   * True if the browser had lost the database and opening rebuilt it from the files. All items are then
   * present, but thumbnails and the values of `setState` are lost.
   */
  readonly restored: boolean;
  readonly created: boolean;
  readonly #context: Context;
  /** Sequence number of each item id, as of the last change that this tab has read (`#seen`). */
  readonly #known: Map<string, number>;
  #seen: number;
  /** The database rows that were read when the index was opened. `items` reads the items of these rows. */
  #opened: Pick<OpenedIndex, 'items' | 'segments'> | undefined;
  #reading = false;
  readonly #watchers = new Set<OnChanges>();
  readonly #channel: BroadcastChannel;
  /** The most recent task of this tab. Tasks run one after the other, so the next task waits for it. */
  #queue: Promise<unknown> = Promise.resolve();
  #commits = 0;
  #listening = false;
  #closed = false;

  constructor(context: Context, { header, state, items, segments, dropped, restored, created }: OpenedIndex) {
    this.#context = context;
    this.header = header;
    this.dropped = dropped;
    this.restored = restored;
    this.created = created;
    this.#known = new Map(items.map(({ id, sequence }) => [id, sequence]));
    this.#seen = state.last;
    this.#opened = { items, segments };
    this.#channel = new BroadcastChannel(`dinov2-webgpu search ${context.name}`);
    this.#channel.onmessage = () => this.#listen();
  }

  /** Yields all items. @throws IndexError INDEX_DAMAGED after all intact items, if any item is damaged */
  async *items(signal?: AbortSignal): AsyncIterable<StoredItem> {
    this.#check();
    const { items, segments } = this.#opened ?? (await this.#context.database.run(readRows));
    this.#opened = undefined;
    this.#reading = true;
    const { files } = this.#context;
    const damaged: string[] = [];
    try {
      for (const row of items) {
        signal?.throwIfAborted();
        this.#check();
        const item = await readItem(this.#context, row);
        if (item === 'damaged') damaged.push(row.id);
        // If `item` is undefined, another tab changed it, and the callbacks of `watch` receive the change.
        else if (item) yield item;
      }
      const notes = inspectSizes(this.#context, segments);
      if (damaged.length > 0 || notes.length > 0)
        throw damagedError(this.#context.name, damaged, notes, items.length - damaged.length);
    } finally {
      files.forget();
      this.#reading = false;
      this.#listen();
    }
  }

  /**
   * Commits changes under the lock of the index.
   * @param changes the changes, or a function that returns them. The function is called under the lock, after
   *   this tab has received all commits made by other tabs. If the function throws, `commit` rejects with its
   *   error
   * @throws IndexError INDEX_QUOTA, INDEX_STORAGE, INDEX_GONE, INDEX_DAMAGED, INDEX_DISPOSED: nothing was
   *   changed
   */
  commit(changes: Changes): Promise<void> {
    return this.#enqueue(async () => {
      const changed = await exclusively(this.#context.name, undefined, async () => {
        const state = await this.#catchUp();
        const prepared = await prepare(typeof changes === 'function' ? await changes() : changes);
        this.#seen = await applyChanges(this.#context, state, this.#known, prepared);
        return this.#seen !== state.last;
      });
      if (!changed) return;
      this.#notifyTabs();
      if (++this.#commits % COMMITS_BETWEEN_CHECKS === 0) this.#compactLater();
    });
  }

  /** Reads the thumbnail of an item; undefined if the item has none. @throws IndexError INDEX_DAMAGED */
  async thumbnail(id: string): Promise<Blob | undefined> {
    this.#check();
    const { name, database, seals } = this.#context;
    const sequence = this.#known.get(id);
    if (sequence === undefined) return undefined;
    const { row, thumbnail } = await database.run(async (db) => {
      const transaction = db.transaction(['items', 'thumbnails']);
      return {
        row: await transaction.objectStore('items').get(sequence),
        thumbnail: await transaction.objectStore('thumbnails').get(id),
      };
    });
    if (!row) return undefined; // another tab removed or replaced the item
    if (!seals.isItem(row)) throw damagedError(name, [id], [], this.#known.size - 1);
    if (row.thumbnail === undefined) return undefined;
    if (thumbnail && thumbnailChecksum(thumbnail) === row.thumbnail)
      return new Blob([thumbnail.bytes], { type: thumbnail.type });
    throw thumbnailError(
      name,
      id,
      thumbnail ? 'damaged' : 'missing',
      ", or open the index with repair: 'drop'",
    );
  }

  watch(onChanges: OnChanges): () => void {
    this.#check();
    this.#watchers.add(onChanges);
    this.#listen();
    return () => void this.#watchers.delete(onChanges);
  }

  async getState(key: string): Promise<unknown> {
    this.#check();
    return this.#context.database.run((db) => db.get('records', key));
  }

  /**
   * Stores a value beside the items. @throws IndexError INDEX_QUOTA; DOMException DataCloneError if the value
   * cannot be cloned
   */
  async setState(key: string, value: unknown): Promise<void> {
    this.#check();
    await this.#context.database.write(['records'], 0, async (transaction) => {
      const records = transaction.objectStore('records');
      await (value === undefined ? records.delete(key) : records.put(value, key));
    });
  }

  /** Merges small files, and rewrites files with unused records. @throws the errors of `commit` */
  compact(): Promise<void> {
    return this.#enqueue(() => compact(this.#context));
  }

  async usage(): Promise<IndexUsage> {
    this.#check();
    const { state, segments } = await this.#context.database.run(async (db) => {
      const transaction = db.transaction(['state', 'segments']);
      return {
        state: checkState(this.#context, await transaction.objectStore('state').get(ONLY)),
        segments: await transaction.objectStore('segments').getAll(),
      };
    });
    const sum = (of: (row: SegmentRow) => number): number =>
      segments.reduce((total, row) => total + of(row), 0);
    return {
      items: state.items,
      bytes: sum(({ size }) => size),
      wastedBytes: sum((row) => row.bytes - row.liveBytes),
    };
  }

  /** Waits until the running tasks have ended, then closes the database. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#channel.close();
    this.#watchers.clear();
    await this.#queue.catch(() => undefined); // the caller of the task receives its error
    this.#context.database.close();
    this.#context.files.forget();
  }

  #check(): void {
    if (this.#closed) throw closedError(this.#context.name);
  }

  async #enqueue<T>(task: () => Promise<T>): Promise<T> {
    this.#check();
    const before = this.#queue;
    const result = (async () => {
      await before.catch(() => undefined); // the caller of that task receives its error
      return task();
    })();
    this.#queue = result;
    return result;
  }

  #notifyTabs(): void {
    if (!this.#closed) this.#channel.postMessage(this.#seen);
  }

  /**
   * Reads the commits that other tabs have made, in the background. Does so only once `items` has yielded all
   * items, because the callbacks of `watch` may receive a change of an item only after `items` has yielded
   * the item.
   */
  #listen(): void {
    if (this.#closed || this.#reading || this.#listening || this.#watchers.size === 0) return;
    this.#listening = true;
    const catchUp = (): Promise<StateRow> => {
      this.#listening = false; // a commit made after this point sends a message of its own
      return this.#catchUp();
    };
    this.#enqueue(catchUp).catch((error: unknown) => {
      if (!this.#closed) reportError(error); // no caller receives this error; the next commit fails too
    });
  }

  #compactLater(): void {
    this.#enqueue(() => compactWhereWorthIt(this.#context)).catch((error: unknown) => {
      if (!this.#closed && !(error instanceof IndexError && error.code === 'INDEX_QUOTA') && !isQuota(error))
        reportError(error); // not fatal: a full storage only postpones the compaction
    });
  }

  /**
   * Reads the commits that other tabs have made since the last call, and passes their changes to the
   * watchers.
   */
  async #catchUp(): Promise<StateRow> {
    const context = this.#context;
    const { database, seals, name } = context;
    const found = await database.run(async (db) => {
      const transaction = db.transaction(['state', 'items', 'removals']);
      const state = checkState(context, await transaction.objectStore('state').get(ONLY));
      if (state.last === this.#seen) return { state, items: [], removals: [], whole: false };
      const whole = state.floor > this.#seen; // true if removals since `#seen` were deleted from the database
      const range = IDBKeyRange.lowerBound(whole ? 0 : this.#seen, true);
      return {
        state,
        items: await transaction.objectStore('items').getAll(range),
        removals: await transaction.objectStore('removals').getAll(range),
        whole,
      };
    });
    const { state, items, removals, whole } = found;
    if (state.last === this.#seen) return state;
    const damaged = [
      ...items.filter((row) => !seals.isItem(row)),
      ...removals.filter((row) => !seals.isRemoval(row)),
    ].map(({ id }) => String(id));
    if (damaged.length > 0) throw damagedError(name, damaged, [], state.items - damaged.length);
    const present = new Set(items.map(({ id }) => id));
    const gone = whole
      ? [...this.#known.keys()].filter((id) => !present.has(id))
      : removals.map(({ id }) => id).filter((id) => this.#known.has(id) && !present.has(id));
    const fresh = items.filter(({ sequence }) => sequence > this.#seen);
    const changes: Change[] = [
      ...gone.map((remove) => ({ remove })),
      ...(this.#watchers.size > 0 ? await this.#readAll(fresh) : []),
    ];
    for (const id of gone) this.#known.delete(id);
    for (const { id, sequence } of fresh) this.#known.set(id, sequence);
    this.#seen = state.last;
    if (changes.length > 0) for (const watcher of this.#watchers) watcher(changes);
    return state;
  }

  async #readAll(rows: readonly ItemRow[]): Promise<Change[]> {
    const changes: Change[] = [];
    const damaged: string[] = [];
    for (const row of rows) {
      const item = await readItem(this.#context, row);
      if (item === 'damaged') damaged.push(row.id);
      else if (item) changes.push({ put: item });
    }
    this.#context.files.forget();
    if (damaged.length > 0) throw damagedError(this.#context.name, damaged, [], this.#known.size);
    return changes;
  }
}
