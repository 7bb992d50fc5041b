/**
 * `MemoryJournal`: the journal of an index in memory. It holds only the thumbnails and the values of
 * `setState`, because `EmbeddingIndex` holds the items.
 */
import type { Changes, IndexHeader, IndexUsage, Journal, StoredItem } from './journal.js';

export class MemoryJournal implements Journal {
  readonly header: IndexHeader;
  readonly dropped: readonly string[] = [];
  readonly restored: boolean = false;
  readonly created: boolean = true;
  readonly #thumbnails = new Map<string, Blob>();
  readonly #states = new Map<string, unknown>();
  readonly #countItems: () => number;

  constructor(header: IndexHeader, countItems: () => number) {
    this.header = header;
    this.#countItems = countItems;
  }

  async *items(): AsyncIterable<StoredItem> {
    // Yields nothing: an index in memory has no stored items when it is made.
  }

  async commit(changes: Changes): Promise<void> {
    for (const change of typeof changes === 'function' ? await changes() : changes) {
      if ('remove' in change) this.#thumbnails.delete(change.remove);
      else if (change.put.thumbnail) this.#thumbnails.set(change.put.id, change.put.thumbnail);
    }
  }

  async thumbnail(id: string): Promise<Blob | undefined> {
    return this.#thumbnails.get(id);
  }

  watch(): () => void {
    return () => undefined; // there is nothing to stop: other tabs cannot change an index in memory
  }

  async getState(key: string): Promise<unknown> {
    return this.#states.get(key);
  }

  async setState(key: string, value: unknown): Promise<void> {
    this.#states.set(key, structuredClone(value));
  }

  async compact(): Promise<void> {
    // There are no files, so there is no space to free.
  }

  async usage(): Promise<IndexUsage> {
    return { items: this.#countItems(), bytes: 0, wastedBytes: 0 };
  }

  async close(): Promise<void> {
    // There is no database to close.
  }
}
