/** Checks a stored index for damage: database rows, files and thumbnails. */
import { readItem, type Context } from './context.js';
import type { Connection } from './database.js';
import {
  addSeal,
  ONLY,
  recordBytes,
  thumbnailChecksum,
  type ItemRow,
  type RemovalRow,
  type Seals,
  type SegmentRow,
  type StateRow,
  type Unsealed,
} from './rows.js';

/** All database rows of an index, read in one transaction. */
export interface Rows {
  readonly state: StateRow | undefined;
  readonly items: readonly ItemRow[];
  readonly removals: readonly RemovalRow[];
  readonly segments: readonly SegmentRow[];
}

/** The damage that a check has found, and the intact items. */
export interface Damage {
  /** Database rows of the intact items. */
  readonly whole: readonly ItemRow[];
  /** Ids of the damaged items whose ids could be read. */
  readonly items: readonly string[];
  /** Descriptions of damage that does not belong to a single item. */
  readonly notes: readonly string[];
}

export const isDamaged = ({ items, notes }: Damage): boolean => items.length > 0 || notes.length > 0;

/** Number of rows that one request reads. Each request costs a message between processes. */
const BATCH = 4096;

/** Reads all database rows in one transaction. */
export async function readRows(db: Connection): Promise<Rows> {
  const transaction = db.transaction(['state', 'items', 'removals', 'segments']);
  const all = async <Row extends { readonly sequence: number }>(
    read: (from: IDBKeyRange) => Promise<Row[]>,
  ): Promise<Row[]> => {
    const rows: Row[] = [];
    for (let last = -1; ;) {
      const batch = await read(IDBKeyRange.lowerBound(last, true));
      rows.push(...batch);
      if (batch.length < BATCH) return rows;
      last = batch.at(-1)!.sequence;
    }
  };
  const state = await transaction.objectStore('state').get(ONLY);
  const items = await all((from) => transaction.objectStore('items').getAll(from, BATCH));
  const removals = await all((from) => transaction.objectStore('removals').getAll(from, BATCH));
  return { state, items, removals, segments: await transaction.objectStore('segments').getAll() };
}

/** Computes the database rows of segments from the rows of the items that the segments contain. */
export function segmentsOf(items: readonly ItemRow[]): Map<string, Unsealed<SegmentRow>> {
  const found = new Map<string, Unsealed<SegmentRow>>();
  for (const row of items) {
    const name = row.segment;
    const segment = found.get(name) ?? {
      name,
      bytes: 0,
      size: 0,
      items: 0,
      liveBytes: 0,
      removals: 0,
      first: row.sequence,
      last: row.sequence,
    };
    const bytes = recordBytes(row);
    found.set(name, {
      ...segment,
      bytes: Math.max(segment.bytes, row.offset + bytes),
      items: segment.items + 1,
      liveBytes: segment.liveBytes + bytes,
      last: row.sequence,
    });
  }
  return found;
}

/**
 * Checks every database row against its checksum. Also checks whether the numbers of rows and the sum of
 * their checksums agree with the row of the last commit and with the rows of the segments.
 */
export function inspectRows({ state, items, removals, segments }: Rows, seals: Seals): Damage {
  const notes: string[] = [];
  const damaged: string[] = [];
  const whole: ItemRow[] = [];
  const ids = new Set<string>();
  let sum = 0;
  for (const row of items) {
    sum = addSeal(sum, row.seal);
    if (!seals.isItem(row) || ids.has(row.id)) damaged.push(String(row.id));
    else whole.push(row);
    ids.add(row.id);
  }
  for (const row of removals) sum = addSeal(sum, row.seal);
  const broken = removals.filter((row) => !seals.isRemoval(row)).length;
  if (broken > 0) notes.push(`${broken} database rows of removals are damaged`);
  if (!seals.isState(state)) notes.push('the database row of the last commit is damaged');
  else if (items.length !== state.items)
    notes.push(`${state.items} items were written, and ${items.length} are in the database`);
  else if (damaged.length === 0 && broken === 0 && (sum !== state.sum || removals.length !== state.removals))
    notes.push('the database rows differ from those of the last commit');
  const computed = segmentsOf(whole);
  const wrong =
    segments.filter((row) => {
      const found = computed.get(row.name);
      computed.delete(row.name);
      if (!seals.isSegment(row)) return true;
      if (!found) return damaged.length === 0 && (row.items > 0 || row.removals === 0);
      return (
        damaged.length === 0 &&
        (found.items !== row.items ||
          found.liveBytes !== row.liveBytes ||
          found.first < row.first ||
          found.last > row.last)
      );
    }).length + (damaged.length === 0 ? computed.size : 0);
  if (wrong > 0) notes.push(`the database rows of ${wrong} files are damaged`);
  return { whole, items: damaged, notes };
}

/**
 * Checks the sizes and tables of contents of those files that were read, and returns descriptions of the
 * damage. Such damage does not always affect an item.
 */
export function inspectSizes({ files }: Context, segments: readonly SegmentRow[]): string[] {
  return segments.flatMap(({ name, size }) => {
    // A file that was not read is either missing, in which case its items are reported as damaged, or was
    // merged by a different tab.
    const end = files.endOf(name);
    if (!end || (end.size === size && end.whole)) return [];
    return end.size === size
      ? ['the table of contents of a file is damaged']
      : [`a file has ${end.size} bytes, but ${size} bytes were written`];
  });
}

/** Checks the records of all items, and the sizes and tables of contents of the files that contain them. */
export async function inspectFiles(
  context: Context,
  segments: readonly SegmentRow[],
  found: Damage,
): Promise<Damage> {
  const whole: ItemRow[] = [];
  const items = [...found.items];
  const notes = [...found.notes];
  for (const row of found.whole) {
    const item = await readItem(context, row);
    if (item === 'damaged') items.push(row.id);
    else if (item) whole.push(row);
  }
  notes.push(...inspectSizes(context, segments));
  return { whole, items, notes };
}

/**
 * Checks the thumbnails. An item with a damaged thumbnail counts as intact: `whole` in the result contains
 * the item's row, but without its thumbnail.
 */
export async function inspectThumbnails(
  { database, seals }: Context,
  { whole, items, notes }: Damage,
): Promise<Damage> {
  const rows = await database.run(async (db) => {
    const thumbnails = db.transaction('thumbnails').store;
    const checked: ItemRow[] = [];
    for (const row of whole) {
      const thumbnail = row.thumbnail === undefined ? undefined : await thumbnails.get(row.id);
      const good =
        row.thumbnail === undefined || (thumbnail && thumbnailChecksum(thumbnail) === row.thumbnail);
      checked.push(good ? row : seals.item({ ...row, thumbnail: undefined }));
    }
    return checked;
  });
  const damaged = rows.filter((row, i) => row !== whole[i]).length;
  return { whole: rows, items, notes: damaged > 0 ? [...notes, `${damaged} thumbnails are damaged`] : notes };
}
