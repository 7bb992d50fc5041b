/** `listIndexes` and `deleteIndex`: functions that list and delete the indexes stored for this origin. */
import { storageGlobal } from '../../platform/storageGlobal.js';
import { openStore, type CacheFolder, type CacheStore } from '../../storage/store.js';
import { IndexError } from '../../errors.js';
import type { IndexHeader } from '../journal.js';
import { exclusively } from './context.js';
import { Database, databaseNames, deleteDatabase } from './database.js';
import { NO_DATABASE, quote, storageError, typedError } from './errors.js';
import { FORMAT, isHeader, ONLY, parseHeader, sealHeader, type HeaderRow } from './rows.js';

/**
 * Name of the directory that holds one folder for each index. It is a directory of the origin private file
 * system, or, without one, a cache of the Cache API.
 */
export const ROOT = 'dinov2-webgpu-search';
/** Maximum length of an index name. */
const NAME_CHARACTERS = 200;

/** An index that is stored in this browser for this origin. */
export interface StoredIndex {
  /** Name of the index. */
  readonly name: string;
  /**
   * Whether the index can be opened. `good`: yes. `newer`: a newer version of the library wrote the index.
   * `damaged`: no, and the error of `EmbeddingIndex.open` says what is damaged.
   */
  readonly condition: 'good' | 'newer' | 'damaged';
  /** Header of the index; undefined unless `condition` is `good`. */
  readonly header: IndexHeader | undefined;
  /** Number of items; undefined unless `condition` is `good`. */
  readonly items: number | undefined;
  /** Size in bytes of the files with vectors and patches; undefined unless `condition` is `good`. */
  readonly bytes: number | undefined;
}

/** Checks the name of an index. @throws IndexError INDEX_NAME */
export function checkName(name: string): void {
  if (typeof name === 'string' && name.length > 0 && name.length <= NAME_CHARACTERS && name.isWellFormed())
    return;
  const found =
    typeof name === 'string' ? `${name.length} characters (${quote(name.slice(0, 50))})` : typeof name;
  throw new IndexError(
    'INDEX_NAME',
    `name of an index: expected a string of 1 to ${NAME_CHARACTERS} characters, found ${found}. Choose another name.`,
  );
}

/**
 * Returns the name of an index's folder: a hash of the index name, because an index name may contain
 * characters that a folder name may not.
 */
export async function folderKey(name: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name)));
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Returns the folder of an index. */
export const folderOf = async (store: CacheStore, name: string): Promise<CacheFolder> =>
  store.folder(await folderKey(name), true);

/**
 * Removes the files of an index from the origin private file system and from the Cache API.
 * @param used where the index has its files, if it is known
 * @throws IndexError INDEX_STORAGE if the browser does not open `used`: without its database, the next opening
 *   would restore the index from the files
 */
async function removeFiles(name: string, used: HeaderRow['store'] | undefined): Promise<void> {
  const key = await folderKey(name);
  for (const kind of ['opfs', 'cache-api'] as const) {
    const store = await openStore(kind, ROOT);
    if (typeof store !== 'string') await store.remove(key);
    else if (kind === used) throw storageError(name, store);
  }
}

/**
 * Lists the indexes that are stored for this origin, sorted by name. @throws IndexError INDEX_STORAGE if the
 * browser cannot list them
 */
export async function listIndexes(): Promise<StoredIndex[]> {
  if (!storageGlobal('indexedDB')) return [];
  const names = await databaseNames().catch((error: unknown) => String(error));
  if (typeof names !== 'object')
    throw new IndexError(
      'INDEX_STORAGE',
      names === undefined
        ? 'The indexes of this origin cannot be listed: this browser has no indexedDB.databases(). Open indexes by their names.'
        : `The indexes of this origin cannot be listed: this page may not use its storage (${names}). Check that the page is not in a sandboxed frame and that cookies are allowed.`,
    );
  const found = await Promise.all(names.sort().map(describe));
  return found.filter((index) => index !== undefined);
}

/** Describes a stored index. Returns undefined if it does not exist or its deletion was interrupted. */
async function describe(name: string): Promise<StoredIndex | undefined> {
  const database = new Database(name);
  const known = { name, header: undefined, items: undefined, bytes: undefined };
  try {
    const header = await database.open(undefined);
    if (!isHeader(header)) return { ...known, condition: 'damaged' };
    if (header.deleting) return undefined;
    if (header.format > FORMAT) return { ...known, condition: 'newer' };
    const { state, segments } = await database.run(async (db) => ({
      state: await db.get('state', ONLY),
      segments: await db.getAll('segments'),
    }));
    return {
      name,
      condition: 'good',
      header: parseHeader(header.header),
      items: state?.items,
      bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  } catch (error) {
    if (!(error instanceof IndexError)) throw await typedError(name, 'reading it', error);
    if (error.code === 'INDEX_GONE') return undefined;
    if (error.code === 'INDEX_NEWER') return { ...known, condition: 'newer' };
    throw error;
  } finally {
    database.close();
  }
}

/**
 * Deletes an index with its files and thumbnails, even if the index is damaged or has a newer format. If
 * other tabs have the index open, their next call on it throws INDEX_GONE.
 * @returns false if no index has this name
 * @throws IndexError INDEX_NAME, INDEX_STORAGE, INDEX_QUOTA; INDEX_BLOCKED if another page keeps the index
 *   open; the index is then deleted once that page is closed
 */
export async function deleteIndex(name: string): Promise<boolean> {
  checkName(name);
  return exclusively(name, undefined, () =>
    deleteExclusively(name).catch(async (error: unknown) => {
      throw await typedError(name, 'deleting it', error);
    }),
  );
}

/** Deletes an index. The caller must hold the index's lock. */
async function deleteExclusively(name: string): Promise<boolean> {
  if (!storageGlobal('indexedDB')) throw storageError(name, NO_DATABASE);
  const database = new Database(name);
  let used: HeaderRow['store'] | undefined;
  try {
    const header = await database.open(undefined);
    used = header?.store;
    // From this point on the index counts as deleted, even if the page is closed before the files are removed.
    if (isHeader(header))
      await database.write(
        ['header'],
        0,
        async (transaction) => void (await transaction.objectStore('header').put(marked(header), ONLY)),
      );
  } catch (error) {
    if (!(error instanceof IndexError)) throw error;
    if (error.code === 'INDEX_GONE') {
      await removeFiles(name, undefined);
      return false;
    }
    if (error.code !== 'INDEX_NEWER') throw error;
  } finally {
    database.close();
  }
  await removeFiles(name, used);
  await deleteDatabase(name);
  return true;
}

const marked = (row: HeaderRow): HeaderRow => sealHeader({ ...row, deleting: true });

/**
 * If a call of `deleteIndex` was interrupted, removes the remaining files and the database of the index. The
 * caller must hold the index's lock.
 */
export async function finishDeletion(name: string): Promise<void> {
  const database = new Database(name);
  let header: HeaderRow | undefined;
  try {
    header = await database.open(undefined);
    if (!isHeader(header) || !header.deleting) return;
  } catch (error) {
    if (error instanceof IndexError && error.code === 'INDEX_GONE') return;
    throw error;
  } finally {
    database.close();
  }
  await removeFiles(name, header.store);
  await deleteDatabase(name);
}
