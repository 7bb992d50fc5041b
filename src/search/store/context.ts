/** What the parts of the store share about one open index. */
import { withLock } from '../../storage/lock.js';
import type { Database } from './database.js';
import { IndexError } from '../../errors.js';
import { damagedError, storageError } from './errors.js';
import { readRecord, type ItemRow, type Seals, type StateRow } from './rows.js';
import type { NewSegment, SegmentFiles } from './segments.js';
import type { StoredItem } from '../journal.js';

export interface Context {
  readonly name: string;
  readonly database: Database;
  readonly files: SegmentFiles;
  readonly seals: Seals;
  /** As its row has it. */
  readonly header: string;
  /** By chance: this tab among those that write. */
  readonly tab: string;
  /** Whether this tab has removed what it could not finish. */
  clean: boolean;
}

/** Of the records: the tab that has last written files. */
const WRITER = 'store: writer';

/** Runs `task` while no other tab writes to the index of this name. Ends with the page, however that ends. */
export const exclusively = <T>(
  name: string,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
): Promise<T> =>
  withLock(`dinov2-webgpu search ${name}`, signal, task, (cause) => {
    throw cause === undefined
      ? storageError(name, 'Web Locks are missing')
      : storageError(name, `this page may not store (${String(cause)})`, cause);
  });

/** @throws IndexError INDEX_DAMAGED */
export function checkState({ name, seals }: Context, state: StateRow | undefined): StateRow {
  if (seals.isState(state)) return state;
  throw damagedError(name, [], ['the record of the last commit is damaged'], 0);
}

/**
 * An item with its bytes. Another tab may have moved them into another file since the row was read: then the
 * row is read again.
 * @returns undefined if the item was replaced or removed since; 'damaged' if its bytes are not those that
 *   were written
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
 * Before a tab writes files: if another one has done so since, it may have died between its files and their
 * transaction. These go now. They say that they follow the same commit as this tab's will, and should the
 * database be lost, nothing would tell which of the two was made.
 */
async function takePen(context: Context): Promise<void> {
  const { name, database, files, tab } = context;
  if (context.clean && (await database.run((db) => db.get('records', WRITER))) === tab) return;
  const known = await database.run((db) => db.getAllKeys('segments'));
  await files.tidy(new Set(known)).catch((error: unknown) => {
    throw storageError(name, `its folder could not be read (${String(error)})`, error);
  });
  await files.leaveTornBlock();
  await database.write(
    ['records'],
    0,
    async (transaction) => void (await transaction.objectStore('records').put(tab, WRITER)),
  );
  context.clean = true;
}

/**
 * Writes files, and then the transaction that makes them part of the index. @param need bytes of all of it
 */
export async function writeSegments<T>(
  context: Context,
  segments: readonly NewSegment[],
  need: number,
  transaction: () => Promise<T>,
): Promise<T> {
  const { files } = context;
  if (segments.length > 0) await takePen(context);
  try {
    await files.write(segments, need);
    return await transaction();
  } catch (error) {
    context.clean = false;
    // Where the answer alone was lost, the transaction may be in, and the files in use. What is nobody's goes
    // at the next opening.
    if (!(error instanceof IndexError && error.code === 'INDEX_STORAGE'))
      await files.remove(segments.map(({ name }) => name));
    throw error;
  }
}
