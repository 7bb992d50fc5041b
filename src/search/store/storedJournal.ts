/** A journal in the browser's storage. `openJournal` makes it; docs/search-store.md says how it works. */
import { IndexError } from '../../errors.js';
import type { Change, Changes, IndexHeader, IndexUsage, Journal, StoredItem } from '../journal.js';
import { checkState, exclusively, readItem, type Context } from './context.js';
import { applyChanges, prepare } from './commit.js';
import { compact, compactWhereWorthIt } from './compaction.js';
import { closedError, damagedError, isQuota, quote } from './errors.js';
import { inspectSizes, readRows } from './inspect.js';
import { ONLY, thumbnailChecksum, type ItemRow, type SegmentRow, type StateRow } from './rows.js';

/** After so many commits it is looked whether files should be merged. */
const COMMITS_BETWEEN_LOOKS = 8;

/** What was found when the index was opened. */
export interface Opened {
  readonly header: IndexHeader;
  readonly state: StateRow;
  readonly items: readonly ItemRow[];
  readonly segments: readonly SegmentRow[];
  /** Ids of damaged items that were dropped, as `repair` asked for. */
  readonly dropped: readonly string[];
  /** Whether the database was lost, and made anew out of the files. */
  readonly restored: boolean;
}

type OnChanges = (changes: readonly Change[]) => void;

export class StoredJournal implements Journal {
  readonly header: IndexHeader;
  /** Ids of damaged items that were dropped when the index was opened with `repair: 'drop'`. */
  readonly dropped: readonly string[];
  /**
   * Whether the browser had lost the database when the index was opened: all items are there, thumbnails and
   * records beside the items are not.
   */
  readonly restored: boolean;
  readonly #context: Context;
  /** Where each id stands: complete, up to the sequence `seen`. */
  readonly #known: Map<string, number>;
  #seen: number;
  /** What `items` is to give. */
  #opened: Pick<Opened, 'items' | 'segments'> | undefined;
  #reading = false;
  readonly #watchers = new Set<OnChanges>();
  readonly #channel: BroadcastChannel;
  /** The last of what this tab does with the index, one after the other. */
  #queue: Promise<unknown> = Promise.resolve();
  #commits = 0;
  #listening = false;
  #closed = false;

  constructor(context: Context, { header, state, items, segments, dropped, restored }: Opened) {
    this.#context = context;
    this.header = header;
    this.dropped = dropped;
    this.restored = restored;
    this.#known = new Map(items.map(({ id, sequence }) => [id, sequence]));
    this.#seen = state.last;
    this.#opened = { items, segments };
    this.#channel = new BroadcastChannel(`dinov2-webgpu search ${context.name}`);
    this.#channel.onmessage = () => this.#listen();
  }

  /** @throws IndexError INDEX_DAMAGED, behind everything that is whole */
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
        else if (item) yield item; // else it was replaced or removed meanwhile, which the watchers hear
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
   * @param changes or what makes them, called when this tab knows all that others have committed and nobody
   *   else can: what it throws, `commit` rejects with
   * @throws IndexError INDEX_QUOTA, INDEX_STORAGE, INDEX_GONE, INDEX_DAMAGED, INDEX_DISPOSED: nothing was
   *   changed
   */
  commit(changes: Changes): Promise<void> {
    return this.#inTurn(async () => {
      const changed = await exclusively(this.#context.name, undefined, async () => {
        const state = await this.#takeOver();
        const prepared = await prepare(typeof changes === 'function' ? await changes() : changes);
        this.#seen = await applyChanges(this.#context, state, this.#known, prepared);
        return this.#seen !== state.last;
      });
      if (!changed) return;
      this.#tell();
      if (++this.#commits % COMMITS_BETWEEN_LOOKS === 0) this.#compactLater();
    });
  }

  /** @throws IndexError INDEX_DAMAGED */
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
    if (!row) return undefined; // another tab has removed or replaced it
    if (!seals.isItem(row)) throw damagedError(name, [id], [], this.#known.size - 1);
    if (row.thumbnail === undefined) return undefined;
    if (thumbnail && thumbnailChecksum(thumbnail) === row.thumbnail)
      return new Blob([thumbnail.bytes], { type: thumbnail.type });
    throw new IndexError(
      'INDEX_DAMAGED',
      `index ${quote(name)}: expected the thumbnail of ${quote(id)} as it was written, found ${thumbnail ? 'another' : 'none'}. The item itself is whole: give it a new thumbnail (update), or open the index with repair: 'drop'.`,
      { items: [id] },
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

  /** @throws IndexError INDEX_QUOTA; DOMException DataCloneError, if the value cannot be cloned */
  async setState(key: string, value: unknown): Promise<void> {
    this.#check();
    await this.#context.database.write(['records'], 0, async (transaction) => {
      const records = transaction.objectStore('records');
      await (value === undefined ? records.delete(key) : records.put(value, key));
    });
  }

  /** Merges small files, and writes anew those of which little is in use. @throws as `commit` */
  compact(): Promise<void> {
    return this.#inTurn(() => compact(this.#context));
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

  /** Waits for what was begun. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#channel.close();
    this.#watchers.clear();
    await this.#queue.catch(() => undefined); // whoever asked for it was told
    this.#context.database.close();
    this.#context.files.forget();
  }

  #check(): void {
    if (this.#closed) throw closedError(this.#context.name);
  }

  async #inTurn<T>(task: () => Promise<T>): Promise<T> {
    this.#check();
    const before = this.#queue;
    const turn = (async () => {
      await before.catch(() => undefined); // its own caller was told
      return task();
    })();
    this.#queue = turn;
    return turn;
  }

  #tell(): void {
    if (!this.#closed) this.#channel.postMessage(this.#seen);
  }

  /**
   * Another tab may have committed. Not while `items` is read: what it gives would come behind what is newer.
   */
  #listen(): void {
    if (this.#closed || this.#reading || this.#listening || this.#watchers.size === 0) return;
    this.#listening = true;
    const takeOver = (): Promise<StateRow> => {
      this.#listening = false; // what is committed from now on comes with a message of its own
      return this.#takeOver();
    };
    this.#inTurn(takeOver).catch((error: unknown) => {
      if (!this.#closed) reportError(error); // nobody waits for it; the next commit meets it again
    });
  }

  #compactLater(): void {
    this.#inTurn(() => compactWhereWorthIt(this.#context)).catch((error: unknown) => {
      if (!this.#closed && !(error instanceof IndexError && error.code === 'INDEX_QUOTA') && !isQuota(error))
        reportError(error); // without room it waits for better times
    });
  }

  /** Tells the watchers what others have committed since. */
  async #takeOver(): Promise<StateRow> {
    const context = this.#context;
    const { database, seals, name } = context;
    const found = await database.run(async (db) => {
      const transaction = db.transaction(['state', 'items', 'removals']);
      const state = checkState(context, await transaction.objectStore('state').get(ONLY));
      if (state.last === this.#seen) return { state, items: [], removals: [], whole: false };
      const whole = state.floor > this.#seen; // removals since are no longer kept one by one
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
    const kept = new Set(items.map(({ id }) => id));
    const gone = whole
      ? [...this.#known.keys()].filter((id) => !kept.has(id))
      : removals.map(({ id }) => id).filter((id) => this.#known.has(id) && !kept.has(id));
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
