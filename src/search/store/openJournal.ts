/**
 * `openJournal`: opens a stored index or creates a new one, and checks it for damage, which it repairs if the
 * caller asks for it.
 */
import { openStore, type CacheKind, type CacheStore } from '../../storage/store.js';
import { checkSameIndex, differences } from '../checks.js';
import type { IndexHeader } from '../journal.js';
import { checkName, finishDeletion, folderOf, ROOT } from './catalogue.js';
import { exclusively, type Context } from './context.js';
import { Database, databaseNames } from './database.js';
import { damagedError, newerError, quote, storageError, typedError } from './errors.js';
import { inspectFiles, inspectRows, inspectThumbnails, isDamaged, readRows } from './inspect.js';
import { dropDamaged } from './repair.js';
import { readContents, restore, type Restored } from './restore.js';
import { FORMAT, headerText, isHeader, parseHeader, sealHeader, Seals, type HeaderRow } from './rows.js';
import { SegmentFiles } from './segments.js';
import { StoredJournal } from './storedJournal.js';
import { show } from '../../platform/json.js';

/** Options of `openJournal`. */
export interface JournalOptions {
  /**
   * Asks the browser not to evict the index (`navigator.storage.persist()`, which workers lack). Default
   * false.
   */
  readonly persist?: boolean | undefined;
  /** Aborts the wait for other tabs. */
  readonly signal?: AbortSignal | undefined;
  /**
   * `drop` opens a damaged index with its intact items; the journal's property `dropped` lists the ids of the
   * damaged items. Default: opening a damaged index throws INDEX_DAMAGED with these ids.
   */
  readonly repair?: 'drop' | undefined;
}

/**
 * Opens the journal of the index `name`, or creates an empty index of this name. Waits while a different tab
 * changes the index.
 * @param name 1 to 200 characters
 * @throws IndexError INDEX_NAME, INDEX_MODEL, INDEX_HEADER, INDEX_NEWER, INDEX_DAMAGED, INDEX_QUOTA,
 *   INDEX_STORAGE, INDEX_BLOCKED
 */
export async function openJournal(
  name: string,
  header: IndexHeader,
  { persist = false, signal, repair }: JournalOptions = {},
): Promise<StoredJournal> {
  checkName(name);
  signal?.throwIfAborted();
  const storage = (globalThis.navigator as Navigator | undefined)?.storage as
    Partial<StorageManager> | undefined;
  if (persist) void storage?.persist?.().catch(() => undefined); // not awaited: Firefox asks the visitor, who may never answer
  return exclusively(name, signal, async () => {
    const database = new Database(name);
    try {
      return await openExclusively(name, header, database, repair);
    } catch (error) {
      database.close();
      throw await typedError(name, 'opening it', error);
    }
  });
}

async function storeOf(name: string, kind: CacheKind | 'folder'): Promise<CacheStore> {
  const store = await openStore(kind, ROOT);
  if (typeof store === 'string') throw storageError(name, store);
  return store;
}

/** Opens the index. The caller must hold the index's lock. */
async function openExclusively(
  name: string,
  header: IndexHeader,
  database: Database,
  repair: 'drop' | undefined,
): Promise<StoredJournal> {
  const callerHeader = headerText(header);
  const preferred = await storeOf(name, 'auto');
  await finishDeletion(name);
  const newHeader: HeaderRow = sealHeader({
    format: FORMAT,
    header: callerHeader,
    store: preferred.kind,
    identity: crypto.randomUUID(),
    deleting: false,
  });
  const restored = await restoreLost(
    name,
    new SegmentFiles(name, await folderOf(preferred, name)),
    newHeader,
    header,
    repair,
  );
  const state = new Seals(callerHeader).state({
    generation: 0,
    last: 0,
    floor: 0,
    items: 0,
    removals: 0,
    sum: 0,
    token: crypto.randomUUID(),
  });
  const found = await database.open(restored ?? { header: newHeader, state, items: [], segments: [] });
  const readable = isHeader(found);
  if (readable) checkHeader(name, found, header);
  else if (!repair)
    throw damagedError(name, [], ['the database row with the header (model, dim) is damaged'], 0);
  const store =
    found?.store === undefined || found.store === preferred.kind
      ? preferred
      : await storeOf(name, readable ? found.store : 'auto');
  const files = new SegmentFiles(name, await folderOf(store, name));
  // Use the header text that is stored, not the caller's text: the name of the model may differ in them, and
  // the checksums of all rows depend on the stored text.
  const text = readable
    ? found.header
    : ((await readContents(files, await files.names())).found.find(
        ({ contents }) => differences(parseHeader(contents.header), header).length === 0,
      )?.contents.header ?? callerHeader);
  const seals = new Seals(text);
  const context: Context = {
    name,
    database,
    files,
    seals,
    header: text,
    tab: crypto.randomUUID(),
    clean: true,
  };
  const rows = await database.run(readRows);
  let damage = inspectRows(rows, seals);
  // Check the files too if the rows are damaged, so that one error reports all damage.
  if (isDamaged(damage) || repair) damage = await inspectFiles(context, rows.segments, damage);
  if (repair) damage = await inspectThumbnails(context, damage);
  const damaged = isDamaged(damage) || !readable;
  if (damaged && !repair) throw damagedError(name, damage.items, damage.notes, damage.whole.length);
  const intact = damaged
    ? await dropDamaged(
        context,
        readable ? found : sealHeader({ ...newHeader, header: text, store: store.kind }),
        rows,
        damage,
      )
    : { state: rows.state!, items: rows.items, segments: rows.segments };
  // Open the database again, so that a later reconnection expects the new header.
  if (!readable) await database.open(undefined);
  context.files.forget();
  await context.files.tidy(new Set(intact.segments.map((segment) => segment.name)));
  return new StoredJournal(context, {
    header: parseHeader(text),
    ...intact,
    dropped: damaged ? damage.items : [],
    restored: restored !== undefined,
    created: !restored && found?.identity === newHeader.identity,
  });
}

/**
 * Rebuilds the database from the files if the browser has lost the database. Returns undefined if the
 * database exists or no file has a readable table of contents.
 */
async function restoreLost(
  name: string,
  files: SegmentFiles,
  newHeader: HeaderRow,
  header: IndexHeader,
  repair: 'drop' | undefined,
): Promise<Restored | undefined> {
  const names = await databaseNames();
  if (!names || names.includes(name)) return undefined;
  const { found, unreadable } = await readContents(files, await files.names());
  for (const { contents } of found) checkHeader(name, { ...newHeader, header: contents.header }, header);
  const text = found[0]?.contents.header ?? newHeader.header;
  const restored = restore(sealHeader({ ...newHeader, header: text }), new Seals(text), found, unreadable);
  if (unreadable.length > 0 && !repair)
    throw damagedError(
      name,
      [],
      [
        `the database is lost, and the tables of contents of ${unreadable.length} files are damaged (a repair may bring back older versions of their items)`,
      ],
      restored.items.length,
    );
  return found.length > 0 ? restored : undefined;
}

/**
 * Checks that the header of a stored index matches the caller's options. @throws IndexError INDEX_NEWER,
 * INDEX_MODEL, INDEX_HEADER
 */
export function checkHeader(name: string, row: HeaderRow, expected: IndexHeader): void {
  if (row.format > FORMAT) throw newerError(name, `format ${row.format}`);
  const found = parseHeader(row.header);
  if (found.format > FORMAT) throw newerError(name, `format ${show(found.format)}`);
  checkSameIndex(
    found,
    expected,
    `index ${quote(name)}`,
    'Open it with the options that it was made with, choose another name, or delete it first (deleteIndex).',
  );
}
