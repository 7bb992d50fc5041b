/**
 * `Items`: the items of an index in memory. Each row holds one item: its id, vector, metadata and patches.
 */
import type { Change, EncodedPatches, IndexHeader, StoredItem } from './journal.js';
import { VectorTable } from './table.js';

export class Items {
  readonly vectors: VectorTable;
  /** Id of each row. The arrays `metadata` and `patches` also have one element for each row. */
  readonly ids: string[] = [];
  readonly metadata: unknown[] = [];
  readonly patches: (EncodedPatches | undefined)[] = [];
  /** Row number of each id, in the order in which the items were added. */
  readonly rowOf: Map<string, number> = new Map();

  constructor({ dim, storage }: IndexHeader) {
    this.vectors = new VectorTable(dim, storage);
  }

  apply(change: Change): void {
    if ('remove' in change) this.#remove(change.remove);
    else this.#put(change.put);
  }

  /** Returns the item in a row, without its thumbnail. */
  stored(row: number): StoredItem {
    const patches = this.patches[row];
    return {
      id: this.ids[row]!,
      vector: this.vectors.encoded(row),
      metadata: this.metadata[row],
      ...(patches && { patches }),
    };
  }

  #put({ id, vector, metadata, patches }: StoredItem): void {
    let row = this.rowOf.get(id);
    if (row === undefined) {
      row = this.vectors.append(vector);
      this.rowOf.set(id, row);
    } else {
      this.vectors.replace(row, vector);
    }
    this.ids[row] = id;
    this.metadata[row] = metadata;
    this.patches[row] = patches;
  }

  #remove(id: string): void {
    const row = this.rowOf.get(id);
    if (row === undefined) return;
    const last = this.vectors.count - 1;
    this.vectors.remove(row);
    this.rowOf.delete(id);
    if (row !== last) {
      this.ids[row] = this.ids[last]!;
      this.metadata[row] = this.metadata[last];
      this.patches[row] = this.patches[last];
      this.rowOf.set(this.ids[row]!, row);
    }
    this.ids.length = this.metadata.length = this.patches.length = last;
  }
}
