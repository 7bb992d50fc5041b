/** Opens an index that is kept in the browser, or begins one. */
import { openStore, type CacheKind, type CacheStore } from '../../storage/store.js';
import { checkSameIndex, differences } from '../checks.js';
import type { IndexHeader } from '../journal.js';
import { checkName, finishDeletion, folderOf, ROOT } from './catalogue.js';
import { exclusively, type Context } from './context.js';
import { Database, databaseNames } from './database.js';
import { damagedError, isQuota, newerError, quotaError, quote, storageError } from './errors.js';
import { inspectFiles, inspectRows, inspectThumbnails, isDamaged, readRows } from './inspect.js';
import { dropDamaged } from './repair.js';
import { readContents, restore, type Restored } from './restore.js';
import { FORMAT, headerText, isHeader, parseHeader, sealHeader, Seals, type HeaderRow } from './rows.js';
import { SegmentFiles } from './segments.js';
import { StoredJournal } from './storedJournal.js';

export interface JournalOptions {
  /**
   * Asks the browser not to evict what is kept (`navigator.storage.persist()`, which workers lack). Default:
   * false.
   */
  readonly persist?: boolean | undefined;
  /** Ends the wait for other tabs. */
  readonly signal?: AbortSignal | undefined;
  /**
   * `drop`: where something is damaged, goes on with the items that are whole; `dropped` of the journal names
   * the others. Default: an error that names them.
   */
  readonly repair?: 'drop' | undefined;
}

/**
 * The journal of the index `name`, which begins empty where there is none. One writer at a time: waits while
 * another tab writes.
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
  if (persist) void storage?.persist?.().catch(() => undefined); // Firefox asks the visitor, who may not answer
  return exclusively(name, signal, async () => {
    const database = new Database(name);
    try {
      return await openExclusively(name, header, database, repair);
    } catch (error) {
      database.close();
      if (!(error instanceof DOMException)) throw error;
      throw isQuota(error)
        ? await quotaError(name, 0, error)
        : storageError(name, `opening it failed (${String(error)})`, error);
    }
  });
}

async function storeOf(name: string, kind: CacheKind): Promise<CacheStore> {
  const store = await openStore(kind, ROOT);
  if (typeof store === 'string') throw storageError(name, store);
  return store;
}

/** With the lock. */
async function openExclusively(
  name: string,
  header: IndexHeader,
  database: Database,
  repair: 'drop' | undefined,
): Promise<StoredJournal> {
  const wanted = headerText(header);
  const preferred = await storeOf(name, 'auto');
  await finishDeletion(name);
  const begin: HeaderRow = sealHeader({
    format: FORMAT,
    header: wanted,
    store: preferred.kind,
    identity: crypto.randomUUID(),
    deleting: false,
  });
  const restored = await restoreLost(
    name,
    new SegmentFiles(name, await folderOf(preferred, name)),
    begin,
    header,
    repair,
  );
  const state = new Seals(wanted).state({
    generation: 0,
    last: 0,
    floor: 0,
    items: 0,
    removals: 0,
    sum: 0,
    token: crypto.randomUUID(),
  });
  const found = await database.open(restored ?? { header: begin, state, items: [], segments: [] });
  const readable = isHeader(found);
  if (readable) checkHeader(name, found, header);
  else if (!repair)
    throw damagedError(name, [], ['the record of what the index is (model, dim) is damaged'], 0);
  const store =
    found?.store === undefined || found.store === preferred.kind
      ? preferred
      : await storeOf(name, readable ? found.store : 'auto');
  const files = new SegmentFiles(name, await folderOf(store, name));
  // Its own words: what the model is called there may be something else, and the seals are made with it.
  const text = readable
    ? found.header
    : ((await readContents(files, await files.names())).found.find(
        ({ contents }) => differences(parseHeader(contents.header), header).length === 0,
      )?.contents.header ?? wanted);
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
  if (isDamaged(damage) || repair) damage = await inspectFiles(context, rows.segments, damage); // so that all of it is told at once
  if (repair) damage = await inspectThumbnails(context, damage);
  const damaged = isDamaged(damage) || !readable;
  if (damaged && !repair) throw damagedError(name, damage.items, damage.notes, damage.whole.length);
  const kept = damaged
    ? await dropDamaged(
        context,
        readable ? found : sealHeader({ ...begin, header: text, store: store.kind }),
        rows,
        damage,
      )
    : { state: rows.state!, items: rows.items, segments: rows.segments };
  if (!readable) await database.open(undefined); // from now on it is the index with this header
  context.files.forget();
  await context.files.tidy(new Set(kept.segments.map((segment) => segment.name)));
  return new StoredJournal(context, {
    header: parseHeader(text),
    ...kept,
    dropped: damaged ? damage.items : [],
    restored: restored !== undefined,
  });
}

/**
 * Files without a database: the browser has lost it. It is made anew out of what the files say is in them.
 */
async function restoreLost(
  name: string,
  files: SegmentFiles,
  begin: HeaderRow,
  header: IndexHeader,
  repair: 'drop' | undefined,
): Promise<Restored | undefined> {
  const names = await databaseNames();
  if (!names || names.includes(name)) return undefined;
  const { found, unreadable } = await readContents(files, await files.names());
  for (const { contents } of found) checkHeader(name, { ...begin, header: contents.header }, header);
  const text = found[0]?.contents.header ?? begin.header;
  const restored = restore(sealHeader({ ...begin, header: text }), new Seals(text), found, unreadable);
  if (unreadable.length > 0 && !repair)
    throw damagedError(
      name,
      [],
      [
        `its database gone, and ${unreadable.length} files that do not say what is in them (a repair may bring back older versions of their items)`,
      ],
      restored.items.length,
    );
  return found.length > 0 ? restored : undefined;
}

/** @throws IndexError INDEX_NEWER, INDEX_MODEL, INDEX_HEADER */
export function checkHeader(name: string, row: HeaderRow, wanted: IndexHeader): void {
  if (row.format > FORMAT) throw newerError(name, `format ${row.format}`);
  const found = parseHeader(row.header);
  if (found.format > FORMAT) throw newerError(name, `format ${String(found.format)}`);
  checkSameIndex(
    found,
    wanted,
    `index ${quote(name)}`,
    'Open it as it was made, take another name, or delete it (deleteIndex) first.',
  );
}
