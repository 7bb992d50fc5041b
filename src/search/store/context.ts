/**
 * `Context`: name, database, files and header of one open index, which the modules of the store share, and
 * functions that use them.
 */
import { withLock } from '../../storage/lock.js';
import type { Database } from './database.js';
import { IndexError } from '../../errors.js';
import { damagedError, storageError } from './errors.js';
import { readRecord, type ItemRow, type Seals, type StateRow } from './rows.js';
import type { NewSegment, SegmentFiles } from './segments.js';
import type { StoredItem } from '../journal.js';

/** The name, database, files and header of one open index. */
export interface Context {
  readonly name: string;
  readonly database: Database;
  readonly files: SegmentFiles;
  readonly seals: Seals;
  /** The `IndexHeader` as JSON, as the database stores it. */
  readonly header: string;
  /** Random id of this tab. The database records which tab last wrote files. */
  readonly tab: string;
  /** False if a failed commit of this tab may have left files in the folder of the index. */
  clean: boolean;
}

/** Key in the object store `records`. Its value is the id of the tab that last wrote files. */
const WRITER = 'store: writer';

/**
 * Runs `task` under the index's Web Lock, so that no other tab changes the index at the same time. The
 * browser releases the lock if the page is closed or crashes.
 * @throws IndexError INDEX_STORAGE if the page may not use locks; the signal's reason
 */
export const exclusively = <T>(
  name: string,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
): Promise<T> =>
  withLock(`dinov2-webgpu search ${name}`, signal, task, (cause) => {
    throw cause === undefined
      ? storageError(name, 'Web Locks are missing')
      : storageError(name, `this page may not use its storage (${String(cause)})`, cause);
  });

/** Checks and returns the database row that describes the last commit. @throws IndexError INDEX_DAMAGED */
export function checkState({ name, seals }: Context, state: StateRow | undefined): StateRow {
  if (seals.isState(state)) return state;
  throw damagedError(name, [], ['the database row of the last commit is damaged'], 0);
}

/**
 * Reads an item from its record. If the record's file is missing because a different tab has moved the record
 * to a new file, the database row with the record's position is read again.
 * @returns undefined if the item has been replaced or removed since `row` was read; 'damaged' if the record
 *   differs from what was written
 */
export async function readItem(
  { database, files, seals }: Context,
  row: ItemRow,
): Promise<StoredItem | 'damaged' | undefined> {
  for (let current = row; ;) {
    const bytes = await files.read(current.segment);
    if (bytes) return readRecord(current, bytes) ?? 'damaged';
    const now = await database.run((db) => db.get('items', row.sequence));
    if (!now) return undefined;
    if (now.segment === current.segment || !seals.isItem(now)) return 'damaged';
    current = now;
  }
}

/**
 * Records in the database that this tab writes files. If a different tab wrote last, it may have been killed
 * after it wrote files and before their transaction, so files that the database does not list are deleted
 * first. If they were kept, these files and the files that this tab is about to write would name the same
 * preceding commit in their tables of contents. A rebuild of the database could not tell which of them were
 * committed.
 */
async function claimWriter(context: Context): Promise<void> {
  const { database, files, tab } = context;
  if (context.clean && (await database.run((db) => db.get('records', WRITER))) === tab) return;
  const known = await database.run((db) => db.getAllKeys('segments'));
  await files.tidy(new Set(known));
  await files.leaveTornBlock();
  await database.write(
    ['records'],
    0,
    async (transaction) => void (await transaction.objectStore('records').put(tab, WRITER)),
  );
  context.clean = true;
}

/**
 * Writes files, then runs the transaction that makes them part of the index. Deletes the files if the
 * transaction fails.
 * @param need size of the whole commit in bytes, for the message of INDEX_QUOTA
 */
export async function writeSegments<T>(
  context: Context,
  segments: readonly NewSegment[],
  need: number,
  transaction: () => Promise<T>,
): Promise<T> {
  const { files } = context;
  if (segments.length > 0) await claimWriter(context);
  try {
    await files.write(segments, need);
    return await transaction();
  } catch (error) {
    context.clean = false;
    // After INDEX_STORAGE, the transaction may have been committed although its result was lost. The files
    // may then be in use, so they are kept. If they are not in use, the next opening deletes them.
    if (!(error instanceof IndexError && error.code === 'INDEX_STORAGE'))
      await files.remove(segments.map(({ name }) => name));
    throw error;
  }
}
