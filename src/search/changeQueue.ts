/**
 * `ChangeQueue`: makes the changes of an index one after the other, and reports each change to the listeners
 * of the index.
 */
import { IndexError } from '../errors.js';
import { jsonCopy, storedItem } from './checks.js';
import type { Items } from './items.js';
import type { Change, Journal, StoredItem } from './journal.js';
import type { IndexChange, Item } from './options.js';

export class ChangeQueue {
  readonly #items: Items;
  readonly #journal: Journal;
  readonly #checkOpen: () => void;
  readonly #listeners = new Set<(change: IndexChange) => void>();
  #last: Promise<unknown> = Promise.resolve();
  #stopWatching: (() => void) | undefined;

  /** @param checkOpen function that throws if the index is disposed */
  constructor(items: Items, journal: Journal, checkOpen: () => void) {
    this.#items = items;
    this.#journal = journal;
    this.#checkOpen = checkOpen;
  }

  /** Resolves when all changes that were requested before this call have been made or have failed. */
  get settled(): Promise<unknown> {
    return this.#last;
  }

  /**
   * Makes one change after all earlier changes: first in durable storage, then in memory.
   * @param prepare returns the change. When `prepare` is called, the items in memory include all earlier
   *   changes, including those made by other tabs. If `prepare` throws, nothing is changed.
   */
  run(prepare: () => Promise<readonly Change[]>): Promise<void> {
    const change = this.#last.then(async () => {
      this.#checkOpen();
      let changes: readonly Change[] = [];
      await this.#journal.commit(async () => (changes = await prepare()));
      if (changes.length > 0) this.#apply(changes, false);
    });
    this.#last = change.catch(() => undefined); // the caller receives the error; later changes do not depend on it
    return change;
  }

  /**
   * Adds items to the index: all of them, or none if one is refused. The items are encoded before the first
   * `await`, so the caller may then overwrite its arrays.
   * @param where name of the calling function for error messages
   * @throws IndexError INDEX_DUPLICATE_ID, and the errors of `storedItem`
   */
  async add(where: string, items: () => Iterable<Item>): Promise<void> {
    const stored = [...items()].map((item) => storedItem(item, this.#journal.header, where));
    return this.addStored(where, stored, 'Use update(), or another id.');
  }

  /**
   * Adds items that are already encoded: all of them, or none if one is refused.
   * @param advice what the user can do if an id is already in use, for the error message
   * @throws IndexError INDEX_DUPLICATE_ID
   */
  addStored(where: string, items: readonly StoredItem[], advice: string): Promise<void> {
    return this.run(async () => {
      const seen = new Set<string>();
      for (const { id } of items) {
        if (this.#items.rowOf.has(id) || seen.has(id))
          throw new IndexError(
            'INDEX_DUPLICATE_ID',
            `${where}: the id ${JSON.stringify(id)} is already in use. ${advice}`,
          );
        seen.add(id);
      }
      return items.map((put) => ({ put }));
    });
  }

  /**
   * Reads all stored items into memory. From then on, changes made by other tabs are also applied to the
   * items in memory.
   */
  async load(signal: AbortSignal | undefined): Promise<void> {
    // Changes made by other tabs can arrive while the items are being read. These changes are newer than the
    // items, so they are applied afterwards.
    const early: (readonly Change[])[] = [];
    let ready = false;
    this.#stopWatching = this.#journal.watch(
      (changes) => void (ready ? this.#apply(changes, true) : early.push(changes)),
    );
    for await (const item of this.#journal.items(signal))
      this.#items.apply({ put: { ...item, metadata: jsonCopy(item.metadata, 'open') } });
    for (const changes of early) this.#apply(changes, true);
    ready = true;
  }

  /**
   * Applies durable changes to the items in memory, and calls the listeners.
   * @param elsewhere true if another tab made the changes
   */
  #apply(changes: readonly Change[], elsewhere: boolean): void {
    const put = new Set<string>();
    const removed = new Set<string>();
    for (const change of changes) {
      this.#items.apply(change);
      const id = 'put' in change ? change.put.id : change.remove;
      ('put' in change ? removed : put).delete(id);
      ('put' in change ? put : removed).add(id);
    }
    const event: IndexChange = { put: [...put], removed: [...removed], elsewhere };
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        // The change has already been made, so an error of a listener must not reject the promise of the
        // change. The error is reported as an uncaught error instead.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Calls `listener` after every change of the index. Returns a function that removes the listener. */
  listen(listener: (change: IndexChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Removes all listeners, and stops applying changes made by other tabs to the items in memory. */
  close(): void {
    this.#stopWatching?.();
    this.#listeners.clear();
  }
}
