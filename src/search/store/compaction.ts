/**
 * Compaction: merges segments. Each commit writes a new file, and the records of replaced or removed items
 * stay in older files. Files are merged if many have a similar size, so that each record is copied only a few
 * times in total, or if less than half of a file is in use. A merge is committed like any change: it writes a
 * new file, runs one transaction, and then removes the old files.
 */
import { checkState, exclusively, writeSegments, type Context } from './context.js';
import { decodeContents } from './contents.js';
import { ignoreRejection } from './database.js';
import { damagedError, overtakenError } from './errors.js';
import {
  addSeal,
  ONLY,
  readRecord,
  recordBytes,
  subtractSeal,
  type ItemRow,
  type RemovalRow,
  type SegmentRow,
} from './rows.js';
import { Packer, SEGMENT_BYTES, segmentRow } from './segments.js';

/** Files of one size class are merged once the class has this many files. */
const MANY = 16;
/**
 * Largest file size in the smallest size class. In each further class it is 16 times as large as in the class
 * below.
 */
const SMALL_BYTES = 2 ** 12;
/** Files of this size or larger are merged only if they contain unused records. */
const LARGE_BYTES = SEGMENT_BYTES / 2;
/**
 * Number of item removals that the database keeps for tabs that have not read them yet. A tab that has missed
 * more removals compares all items.
 */
const REMOVALS = 1024;

const sizeClass = (bytes: number): number => Math.max(0, Math.ceil(Math.log2(bytes / SMALL_BYTES) / 4));

/**
 * Chooses which files are merged. Each group in the result is merged into one file.
 * @param everything true to free all unused space; false to merge only if enough space is unused or many
 *   files are small
 */
export function chooseMerges(segments: readonly SegmentRow[], everything: boolean): SegmentRow[][] {
  const chosen = segments.filter((row) =>
    everything ? row.liveBytes < row.bytes || row.bytes < LARGE_BYTES : 2 * row.liveBytes < row.bytes,
  );
  if (!everything) {
    const rest = segments.filter((row) => row.bytes < LARGE_BYTES && !chosen.includes(row));
    for (const size of new Set(rest.map(({ bytes }) => sizeClass(bytes)))) {
      const rows = rest.filter(({ bytes }) => sizeClass(bytes) === size);
      if (rows.length >= MANY) chosen.push(...rows);
    }
  }
  const groups: SegmentRow[][] = [];
  let room = 0;
  for (const row of chosen.sort((a, b) => a.first - b.first)) {
    if (row.liveBytes > room || groups.length === 0) {
      groups.push([]);
      room = SEGMENT_BYTES;
    }
    groups.at(-1)!.push(row);
    room -= row.liveBytes;
  }
  return groups.filter((group) => group.length > 1 || group[0]!.liveBytes < group[0]!.bytes);
}

/** Frees all unused space. */
export const compact = (context: Context): Promise<void> => mergeChosen(context, true);
/** Merges files if enough space is unused or many files are small. */
export const compactWhereWorthIt = (context: Context): Promise<void> => mergeChosen(context, false);

async function mergeChosen(context: Context, everything: boolean): Promise<void> {
  const { name, database } = context;
  const groups = chooseMerges(await database.run((db) => db.getAll('segments')), everything);
  // Each group is merged under the lock separately, so that other tabs can write between two merges.
  for (const group of groups)
    await exclusively(name, undefined, () =>
      merge(
        context,
        group.map((row) => row.name),
      ),
    );
  const { removals } = checkState(context, await database.run((db) => db.get('state', ONLY)));
  if (removals > REMOVALS) await exclusively(name, undefined, () => forgetRemovals(context));
  if (everything)
    await exclusively(name, undefined, async () =>
      context.files.tidy(new Set(await database.run((db) => db.getAllKeys('segments')))),
    );
}

/** Merges the files with these names into one. Files that a different tab has already merged are skipped. */
async function merge(context: Context, names: readonly string[]): Promise<void> {
  const { name, database, files, seals, header } = context;
  const { state, segments, others, items } = await database.run(async (db) => {
    const transaction = db.transaction(['state', 'segments', 'items']);
    const last = checkState(context, await transaction.objectStore('state').get(ONLY));
    const all = await transaction.objectStore('segments').getAll();
    const found = all.filter((row) => names.includes(row.name));
    const bounds =
      found.length > 0
        ? IDBKeyRange.bound(
            Math.min(...found.map(({ first }) => first)),
            Math.max(...found.map((row) => row.last)),
          )
        : undefined;
    const within = new Set(found.map((row) => row.name));
    return {
      state: last,
      segments: found,
      others: all.filter((row) => !names.includes(row.name)),
      items: bounds
        ? (await transaction.objectStore('items').getAll(bounds)).filter(({ segment }) => within.has(segment))
        : [],
    };
  });
  if (segments.length === 0) return;
  if (items.length !== segments.reduce((sum, row) => sum + row.items, 0))
    throw damagedError(name, [], ['the items of some files are missing'], state.items);
  const packer = new Packer(state.last);
  const moved: ItemRow[] = [];
  const damaged: string[] = [];
  for (const row of items) {
    const bytes = seals.isItem(row) ? await files.read(row.segment) : undefined;
    if (!bytes || !readRecord(row, bytes)) damaged.push(String(row.id));
    else
      moved.push(
        seals.item({
          ...row,
          ...packer.add(row.sequence, [bytes.slice(row.offset, row.offset + recordBytes(row))]),
        }),
      );
  }
  // A removal is copied to the merged file as long as an older file may contain the removed item.
  const removals = new Map<number, RemovalRow>();
  for (const row of segments) {
    const bytes = await files.read(row.name);
    const contents = bytes && decodeContents(bytes);
    if (!contents)
      throw damagedError(
        name,
        damaged,
        ['the table of contents of a file is damaged'],
        state.items - damaged.length,
      );
    for (const removal of contents.removals)
      if (others.some(({ first }) => first < removal.sequence)) removals.set(removal.sequence, removal);
  }
  files.forget();
  // If a record is damaged, the merge fails and the old files stay.
  if (damaged.length > 0) throw damagedError(name, damaged, [], state.items - damaged.length);
  const token = crypto.randomUUID();
  const need = packer.finish({
    header,
    settled: state.last,
    commit: token,
    items: moved,
    removals: [...removals.values()].sort((a, b) => a.sequence - b.sequence),
  });
  await writeSegments(context, packer.segments, need, () =>
    database.write(['state', 'items', 'segments'], need, async (transaction) => {
      const current = await transaction.objectStore('state').get(ONLY);
      if (current?.token === token) return;
      if (current?.token !== state.token) throw overtakenError(name);
      const sum = moved.reduce(
        (total, row, i) => addSeal(subtractSeal(total, items[i]!.seal), row.seal),
        state.sum,
      );
      for (const row of moved) ignoreRejection(transaction.objectStore('items').put(row));
      for (const row of segments) ignoreRejection(transaction.objectStore('segments').delete(row.name));
      for (const segment of packer.segments)
        ignoreRejection(transaction.objectStore('segments').put(seals.segment(segmentRow(segment))));
      ignoreRejection(
        transaction
          .objectStore('state')
          .put(seals.state({ ...state, generation: state.generation + 1, sum, token }), ONLY),
      );
    }),
  );
  // Remove the files in the order of their names, oldest first: if the browser is killed in between, a file
  // that records a removal must not be gone before the file that contains the removed item.
  await files.remove(segments.map((row) => row.name));
}

/** Deletes the database rows of all removals but the newest `REMOVALS`. */
async function forgetRemovals(context: Context): Promise<void> {
  const { database, seals } = context;
  const token = crypto.randomUUID();
  await database.write(['state', 'removals'], 0, async (transaction) => {
    const state = checkState(context, await transaction.objectStore('state').get(ONLY));
    if (state.removals <= REMOVALS || state.token === token) return;
    const removals = transaction.objectStore('removals');
    const old = (await removals.getAll()).slice(0, -REMOVALS);
    const floor = old.at(-1)!.sequence;
    ignoreRejection(removals.delete(IDBKeyRange.upperBound(floor)));
    const sum = old.reduce((total, row) => subtractSeal(total, row.seal), state.sum);
    ignoreRejection(
      transaction.objectStore('state').put(
        seals.state({
          ...state,
          generation: state.generation + 1,
          removals: state.removals - old.length,
          floor,
          sum,
          token,
        }),
        ONLY,
      ),
    );
  });
}
