/** Changes → segments, and then one transaction: that is the commit. Before it nothing is changed; what was written for it is nobody's. */
import type { Change, StoredItem } from '../journal.js';
import { writeSegments, type Context } from './context.js';
import { crc32c } from './crc32c.js';
import { told, type Writing } from './database.js';
import { damagedError, overtakenError } from './errors.js';
import { addSeal, ONLY, recordBytes, takeSeal, thumbnailChecksum, type ItemRow, type SegmentRow, type StateRow, type ThumbnailRow, type Unsealed } from './rows.js';
import { Packer, type NewSegment } from './segments.js';

/** An item, ready to be written. */
interface PreparedItem {
  readonly item: StoredItem;
  readonly metadata: string | undefined;
  readonly checksum: number;
  readonly thumbnail: ThumbnailRow | undefined;
  /** Removed before in the same commit: nothing of what was kept stays. */
  readonly anew: boolean;
}

/** By id, in the order of the last change of each; undefined: removed. */
export type Prepared = ReadonlyMap<string, PreparedItem | undefined>;

/** What follows from the changes alone. */
export async function prepare(changes: readonly Change[]): Promise<Prepared> {
  const prepared = new Map<string, PreparedItem | undefined>();
  for (const change of changes) {
    const id = 'put' in change ? change.put.id : change.remove;
    const before = prepared.get(id);
    const anew = prepared.has(id) && (!before || before.anew);
    prepared.delete(id); // and set again: behind those that came before
    prepared.set(id, 'put' in change ? await prepareItem(change.put, anew, before?.thumbnail) : undefined);
  }
  return prepared;
}

async function prepareItem(item: StoredItem, anew: boolean, before: ThumbnailRow | undefined): Promise<PreparedItem> {
  const { vector, patches, thumbnail } = item;
  return {
    item,
    anew,
    metadata: item.metadata === undefined ? undefined : JSON.stringify(item.metadata),
    checksum: crc32c(patches?.data ?? new Uint8Array(), crc32c(vector)),
    thumbnail: thumbnail ? { type: thumbnail.type, bytes: await thumbnail.arrayBuffer() } : before,
  };
}

const thumbnailBytes = ({ thumbnail }: PreparedItem): number => thumbnail?.bytes.byteLength ?? 0;

/**
 * Makes the changes, on disk when it resolves. The caller has the lock, and `state` is the last commit.
 * @param known where each id stands; changed accordingly
 * @returns the sequence of the last change
 */
export async function applyChanges(context: Context, state: StateRow, known: Map<string, number>, prepared: Prepared): Promise<number> {
  const { database, files } = context;
  const changes = [...prepared].filter(([id, item]) => item !== undefined || known.has(id)); // what is not there needs no removing
  if (changes.length === 0) return state.last;
  const packer = new Packer();
  const places = new Map(changes.flatMap(([id, change], i) => (change ? [[id, packer.add(state.last + 1 + i, partsOf(change.item))] as const] : [])));
  const need = changes.reduce((sum, [, item]) => sum + (item ? thumbnailBytes(item) + (item.metadata?.length ?? 0) : 0), packer.segments.reduce((sum, { bytes }) => sum + bytes, 0));
  const token = crypto.randomUUID();
  const unused = await writeSegments(context, packer.segments, need, () =>
    database.write(['state', 'items', 'removals', 'segments', 'thumbnails'], need, async (transaction) => {
      const update = await Update.begin(context, transaction, state, token);
      if (!update) return []; // an earlier try was made, and its answer lost: files that it left unused go at the next opening
      for (const segment of packer.segments) update.addSegment(segment);
      let sequence = state.last;
      for (const [id, item] of changes) {
        sequence += 1;
        const old = known.get(id);
        const replaced = old === undefined ? undefined : await update.release(old, id);
        if (item) update.put(sequence, item, places.get(id)!, item.anew ? undefined : replaced);
        else update.remove(sequence, id);
      }
      return update.finish(sequence);
    }),
  );
  await files.remove(unused);
  changes.forEach(([id, item], i) => (item ? known.set(id, state.last + 1 + i) : known.delete(id)));
  return state.last + changes.length;
}

const partsOf = ({ vector, patches }: StoredItem): Uint8Array<ArrayBuffer>[] => (patches ? [vector, patches.data] : [vector]);

/** One transaction's changes, and the sums that go with them. */
class Update {
  readonly #context: Context;
  readonly #transaction: Writing;
  readonly #state: StateRow;
  readonly #token: string;
  readonly #segments = new Map<string, Unsealed<SegmentRow>>();
  #sum: number;
  #items: number;
  #removals: number;

  constructor(context: Context, transaction: Writing, state: StateRow, token: string) {
    this.#context = context;
    this.#transaction = transaction;
    this.#state = state;
    this.#token = token;
    this.#sum = state.sum;
    this.#items = state.items;
    this.#removals = state.removals;
  }

  /** Undefined if the commit with this token is in already. */
  static async begin(context: Context, transaction: Writing, state: StateRow, token: string): Promise<Update | undefined> {
    const current = await transaction.objectStore('state').get(ONLY);
    if (current?.token === token) return undefined;
    if (current?.token === state.token) return new Update(context, transaction, state, token);
    throw overtakenError(context.name);
  }

  addSegment({ name, bytes, first, last }: NewSegment): void {
    this.#segments.set(name, { name, bytes, items: 0, liveBytes: 0, first, last });
  }

  /** Takes an item's row away. */
  async release(sequence: number, id: string): Promise<ItemRow> {
    const { name, seals } = this.#context;
    const items = this.#transaction.objectStore('items');
    const row = await items.get(sequence);
    if (!row || row.id !== id || !seals.isItem(row)) throw damagedError(name, [id], [], this.#items - 1);
    const segment = this.#segments.get(row.segment) ?? (await this.#transaction.objectStore('segments').get(row.segment));
    if (!segment) throw damagedError(name, [], ['the record of a file missing'], this.#items);
    this.#segments.set(row.segment, { ...segment, items: segment.items - 1, liveBytes: segment.liveBytes - recordBytes(row) });
    this.#sum = takeSeal(this.#sum, row.seal);
    this.#items -= 1;
    told(items.delete(sequence));
    return row;
  }

  put(sequence: number, { item, metadata, checksum, thumbnail, anew }: PreparedItem, place: { readonly segment: string; readonly offset: number }, replaced: ItemRow | undefined): void {
    const { id, vector, patches } = item;
    const row = this.#context.seals.item({
      sequence, id, ...place, metadata, checksum,
      vectorBytes: vector.length,
      patches: patches && { rows: patches.rows, cols: patches.cols, bytes: patches.data.length },
      thumbnail: thumbnail ? thumbnailChecksum(thumbnail) : replaced?.thumbnail,
    });
    const segment = this.#segments.get(place.segment)!;
    this.#segments.set(segment.name, { ...segment, items: segment.items + 1, liveBytes: segment.liveBytes + recordBytes(row) });
    this.#sum = addSeal(this.#sum, row.seal);
    this.#items += 1;
    told(this.#transaction.objectStore('items').put(row));
    if (thumbnail) told(this.#transaction.objectStore('thumbnails').put(thumbnail, id));
    else if (anew) told(this.#transaction.objectStore('thumbnails').delete(id));
  }

  remove(sequence: number, id: string): void {
    const row = this.#context.seals.removal({ sequence, id });
    this.#sum = addSeal(this.#sum, row.seal);
    this.#removals += 1;
    told(this.#transaction.objectStore('removals').put(row));
    told(this.#transaction.objectStore('thumbnails').delete(id));
  }

  /** @returns names of segments that nothing is in any more */
  finish(last: number): string[] {
    const segments = this.#transaction.objectStore('segments');
    for (const row of this.#segments.values()) told(row.items > 0 ? segments.put(this.#context.seals.segment(row)) : segments.delete(row.name));
    const { generation, floor } = this.#state;
    const state = this.#context.seals.state({ generation: generation + 1, last, floor, items: this.#items, removals: this.#removals, sum: this.#sum, token: this.#token });
    told(this.#transaction.objectStore('state').put(state, ONLY));
    return [...this.#segments.values()].filter(({ items }) => items === 0).map(({ name }) => name);
  }
}
