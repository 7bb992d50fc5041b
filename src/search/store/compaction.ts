/**
 * Single adds make a file each, and what is replaced leaves holes. Files are merged when there are many of
 * about one size, so that a record is copied a few times in all, and when most of one is not in use. A merge
 * commits like any change: new file, one transaction, and then the old files go.
 */
import { checkState, exclusively, writeSegments, type Context } from './context.js';
import { decodeContents } from './contents.js';
import { told } from './database.js';
import { damagedError, overtakenError } from './errors.js';
import {
  addSeal,
  ONLY,
  readRecord,
  recordBytes,
  takeSeal,
  type ItemRow,
  type RemovalRow,
  type SegmentRow,
} from './rows.js';
import { Packer, SEGMENT_BYTES, segmentRow } from './segments.js';

/** So many files of one size class are merged. */
const MANY = 16;
/** The smallest class is below this, and each of the others up to 16 times as large as the one before. */
const SMALL_BYTES = 2 ** 12;
/** Files this large stay as they are while they are in use. */
const LARGE_BYTES = SEGMENT_BYTES / 2;
/**
 * So many removals are kept one by one for tabs that do not know of them yet; tabs that are further behind
 * compare everything.
 */
const REMOVALS = 1024;

const sizeClass = (bytes: number): number => Math.max(0, Math.ceil(Math.log2(bytes / SMALL_BYTES) / 4));

/** Groups of files that become one file each. */
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

export const compact = (context: Context): Promise<void> => compactThose(context, true);
export const compactWhereWorthIt = (context: Context): Promise<void> => compactThose(context, false);

async function compactThose(context: Context, everything: boolean): Promise<void> {
  const { name, database } = context;
  const groups = chooseMerges(await database.run((db) => db.getAll('segments')), everything);
  // The lock is taken for each: others may write in between.
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

/** Merges files into one. Those that another tab has merged meanwhile are passed over. */
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
    throw damagedError(name, [], ['items missing of some files'], state.items);
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
  // A removal is told of as long as an older file may have the item.
  const removals = new Map<number, RemovalRow>();
  for (const row of segments) {
    const bytes = await files.read(row.name);
    const contents = bytes && decodeContents(bytes);
    if (!contents)
      throw damagedError(
        name,
        damaged,
        ['a file that does not say what is in it'],
        state.items - damaged.length,
      );
    for (const removal of contents.removals)
      if (others.some(({ first }) => first < removal.sequence)) removals.set(removal.sequence, removal);
  }
  files.forget();
  if (damaged.length > 0) throw damagedError(name, damaged, [], state.items - damaged.length); // and the files stay as they are
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
        (total, row, i) => addSeal(takeSeal(total, items[i]!.seal), row.seal),
        state.sum,
      );
      for (const row of moved) told(transaction.objectStore('items').put(row));
      for (const row of segments) told(transaction.objectStore('segments').delete(row.name));
      for (const segment of packer.segments)
        told(transaction.objectStore('segments').put(seals.segment(segmentRow(segment))));
      told(
        transaction
          .objectStore('state')
          .put(seals.state({ ...state, generation: state.generation + 1, sum, token }), ONLY),
      );
    }),
  );
  await files.remove(segments.map((row) => row.name)); // in the order of their names, which is that of their age: what tells of a removal goes after what has the item
}

async function forgetRemovals(context: Context): Promise<void> {
  const { database, seals } = context;
  const token = crypto.randomUUID();
  await database.write(['state', 'removals'], 0, async (transaction) => {
    const state = checkState(context, await transaction.objectStore('state').get(ONLY));
    if (state.removals <= REMOVALS || state.token === token) return;
    const removals = transaction.objectStore('removals');
    const old = (await removals.getAll()).slice(0, -REMOVALS);
    const floor = old.at(-1)!.sequence;
    told(removals.delete(IDBKeyRange.upperBound(floor)));
    const sum = old.reduce((total, row) => takeSeal(total, row.seal), state.sum);
    told(
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
