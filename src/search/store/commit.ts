/**
 * `applyChanges`: commits changes. It writes new segments, and then runs one transaction, which is the commit
 * point. Until the transaction completes, readers see the state before the commit, and the new segments are
 * not in use.
 */
import { IndexError } from '../../errors.js';
import type { Change, StoredItem } from '../journal.js';
import { writeSegments, type Context } from './context.js';
import { crc32c } from './crc32c.js';
import { ignoreRejection, type Writing } from './database.js';
import { damagedError, overtakenError, quote } from './errors.js';
import {
  addSeal,
  ONLY,
  recordBytes,
  subtractSeal,
  thumbnailChecksum,
  type ItemRow,
  type RemovalRow,
  type SegmentRow,
  type StateRow,
  type ThumbnailRow,
  type Unsealed,
} from './rows.js';
import { Packer, segmentRow, type NewSegment } from './segments.js';
import { wait } from '../../platform/pause.js';

/** An item that is ready to be written. */
interface PreparedItem {
  readonly item: StoredItem;
  readonly metadata: string | undefined;
  readonly checksum: number;
  readonly thumbnail: ThumbnailRow | undefined;
  /**
   * True if the same commit removes the existing item with this id before it adds this item. Nothing of the
   * removed item is then kept, not even its thumbnail.
   */
  readonly anew: boolean;
}

/**
 * The changes of a commit by item id, in the order of the last change of each id. The value undefined means
 * that the item is removed.
 */
export type Prepared = ReadonlyMap<string, PreparedItem | undefined>;

/** Combines all changes of the same id into one change, and computes the checksums of the items. */
export async function prepare(changes: readonly Change[]): Promise<Prepared> {
  const prepared = new Map<string, PreparedItem | undefined>();
  for (const change of changes) {
    const id = 'put' in change ? change.put.id : change.remove;
    const before = prepared.get(id);
    const anew = prepared.has(id) && (!before || before.anew);
    prepared.delete(id); // so that `set` appends the id at the end of the Map
    prepared.set(id, 'put' in change ? await prepareItem(change.put, anew, before?.thumbnail) : undefined);
  }
  return prepared;
}

async function prepareItem(
  item: StoredItem,
  anew: boolean,
  before: ThumbnailRow | undefined,
): Promise<PreparedItem> {
  const { vector, patches, thumbnail } = item;
  return {
    item,
    anew,
    metadata: item.metadata === undefined ? undefined : JSON.stringify(item.metadata),
    checksum: crc32c(patches?.data ?? new Uint8Array(), crc32c(vector)),
    thumbnail: thumbnail ? await readThumbnail(item.id, thumbnail) : before,
  };
}

async function readThumbnail(id: string, thumbnail: Blob): Promise<ThumbnailRow> {
  try {
    return { type: thumbnail.type, bytes: await thumbnail.arrayBuffer() };
  } catch (cause) {
    throw new IndexError(
      'INDEX_STORAGE',
      `item ${quote(id)}: its thumbnail could not be read (${String(cause)}). If it is a file, choose the file again.`,
      { cause },
    );
  }
}

const thumbnailBytes = ({ thumbnail }: PreparedItem): number => thumbnail?.bytes.byteLength ?? 0;

/**
 * Commits changes. When the promise resolves, the changes are on disk. The caller must hold the index's lock,
 * and `state` must be the state after the last commit.
 * @param known sequence number of each item id. The commit updates it
 * @returns the sequence number of the last change
 */
export async function applyChanges(
  context: Context,
  state: StateRow,
  known: Map<string, number>,
  prepared: Prepared,
): Promise<number> {
  const { database, files, seals, header } = context;
  // Skip removals of items that do not exist.
  const changes = [...prepared].filter(([id, item]) => item !== undefined || known.has(id));
  if (changes.length === 0) return state.last;
  const replaced = await readReplaced(
    context,
    changes.map(([id]) => id),
    known,
    state,
  );
  const packer = new Packer(state.last);
  const items: ItemRow[] = [];
  const removals: RemovalRow[] = [];
  changes.forEach(([id, change], i) => {
    const sequence = state.last + 1 + i;
    if (change)
      items.push(
        seals.item(rowOf(change, sequence, packer.add(sequence, partsOf(change.item)), replaced.get(id))),
      );
    else removals.push(seals.removal({ sequence, id }));
  });
  const token = crypto.randomUUID();
  const fileBytes = packer.finish({ header, settled: state.last, commit: token, items, removals });
  const need = changes.reduce(
    (sum, [, item]) => sum + (item ? thumbnailBytes(item) + (item.metadata?.length ?? 0) : 0),
    fileBytes,
  );
  const write = (added: readonly NewSegment[]): Promise<string[]> =>
    writeSegments(context, added, need, () =>
      database.write(['state', 'items', 'removals', 'segments', 'thumbnails'], need, async (transaction) => {
        const current = await transaction.objectStore('state').get(ONLY);
        // An earlier attempt has already committed this transaction, but the connection was lost before it
        // returned. Files that are no longer in use are removed when the index is next opened.
        if (current?.token === token) return [];
        if (current?.token !== state.token) throw overtakenError(context.name);
        const segments = await countSegments(context, transaction, added, replaced);
        for (const row of replaced.values())
          ignoreRejection(transaction.objectStore('items').delete(row.sequence));
        for (const row of items) ignoreRejection(transaction.objectStore('items').put(row));
        for (const row of removals) ignoreRejection(transaction.objectStore('removals').put(row));
        for (const row of segments)
          ignoreRejection(
            isNeeded(row)
              ? transaction.objectStore('segments').put(seals.segment(row))
              : transaction.objectStore('segments').delete(row.name),
          );
        const thumbnails = transaction.objectStore('thumbnails');
        for (const [id, change] of changes) {
          if (change?.thumbnail) ignoreRejection(thumbnails.put(change.thumbnail, id));
          else if (!change || change.anew) ignoreRejection(thumbnails.delete(id));
        }
        const sealed = [...items, ...removals].reduce((sum, { seal }) => addSeal(sum, seal), state.sum);
        ignoreRejection(
          transaction.objectStore('state').put(
            seals.state({
              generation: state.generation + 1,
              last: state.last + changes.length,
              floor: state.floor,
              token,
              items: state.items + items.length - replaced.size,
              removals: state.removals + removals.length,
              sum: [...replaced.values()].reduce((sum, { seal }) => subtractSeal(sum, seal), sealed),
            }),
            ONLY,
          ),
        );
        return segments.filter((row) => !isNeeded(row)).map(({ name }) => name);
      }),
    );
  let unused: string[];
  try {
    unused = await write(packer.segments);
  } catch (error) {
    if (items.length > 0) throw error;
    // A removal must succeed even if the storage is full. If the new file could not be written, only the
    // transaction is run, so that the removal is recorded in the database only.
    unused = await withoutRoom(error, () => write([]));
  }
  await files.remove(unused);
  changes.forEach(([id, item], i) => (item ? known.set(id, state.last + 1 + i) : known.delete(id)));
  return state.last + changes.length;
}

/**
 * If the storage was full when files were written, calls `write`, which runs only the transaction and writes
 * no files. The browser may still count files that were just removed, and refuse this write too. It is
 * therefore retried several times, with pauses.
 */
async function withoutRoom<T>(error: unknown, write: () => Promise<T>, tries = ROOM_TRIES): Promise<T> {
  if (tries === 0 || !(error instanceof IndexError && error.code === 'INDEX_QUOTA')) throw error;
  return write().catch(async (again: unknown) => {
    await wait(ROOM_WAIT_MS);
    return withoutRoom(again, write, tries - 1);
  });
}

const ROOM_TRIES = 5;
const ROOM_WAIT_MS = 100;

const isNeeded = ({ items, removals }: Unsealed<SegmentRow>): boolean => items > 0 || removals > 0;

/** Reads the database rows of the items that are replaced or removed. @throws IndexError INDEX_DAMAGED */
async function readReplaced(
  { database, seals, name }: Context,
  ids: readonly string[],
  known: ReadonlyMap<string, number>,
  state: StateRow,
): Promise<Map<string, ItemRow>> {
  const sequences = ids.flatMap((id) => known.get(id) ?? []);
  if (sequences.length === 0) return new Map();
  const rows = await database.run(async (db) => {
    const { store } = db.transaction('items');
    // `async`: if a call throws, because the transaction was aborted, the promises before it are still awaited.
    return Promise.all(sequences.map(async (sequence) => store.get(sequence)));
  });
  const found = new Map(rows.flatMap((row) => (row && seals.isItem(row) ? [[row.id, row] as const] : [])));
  const damaged = ids.filter((id) => known.has(id) && !found.has(id));
  if (damaged.length > 0) throw damagedError(name, damaged, [], state.items - damaged.length);
  return found;
}

/**
 * Computes the database rows of the new segments, and of the existing segments with items that this commit
 * replaces or removes.
 */
async function countSegments(
  { name }: Context,
  transaction: Writing,
  added: readonly NewSegment[],
  replaced: ReadonlyMap<string, ItemRow>,
): Promise<Unsealed<SegmentRow>[]> {
  const rows = new Map<string, Unsealed<SegmentRow>>(
    added.map((segment) => [segment.name, segmentRow(segment)]),
  );
  for (const item of replaced.values()) {
    const row = rows.get(item.segment) ?? (await transaction.objectStore('segments').get(item.segment));
    if (!row) throw damagedError(name, [], ['the database row of a file is missing'], 0);
    rows.set(row.name, { ...row, items: row.items - 1, liveBytes: row.liveBytes - recordBytes(item) });
  }
  return [...rows.values()];
}

function rowOf(
  { item, metadata, checksum, thumbnail, anew }: PreparedItem,
  sequence: number,
  position: { readonly segment: string; readonly offset: number },
  replaced: ItemRow | undefined,
): Unsealed<ItemRow> {
  const { id, vector, patches } = item;
  return {
    sequence,
    id,
    ...position,
    metadata,
    checksum,
    vectorBytes: vector.length,
    patches: patches && { rows: patches.rows, cols: patches.cols, bytes: patches.data.length },
    thumbnail: thumbnail ? thumbnailChecksum(thumbnail) : anew ? undefined : replaced?.thumbnail,
  };
}

const partsOf = ({ vector, patches }: StoredItem): Uint8Array<ArrayBuffer>[] =>
  patches ? [vector, patches.data] : [vector];
