/** `listIndexes` and `deleteIndex`: the stored indexes of this origin. */
import { storageGlobal } from '../../platform/storageGlobal.js';
import { openStore, type CacheFolder, type CacheStore } from '../../storage/store.js';
import { IndexError } from '../../errors.js';
import type { IndexHeader } from '../journal.js';
import { exclusively } from './context.js';
import { Database, databaseNames, deleteDatabase } from './database.js';
import { NO_DATABASE, quote, storageError } from './errors.js';
import { FORMAT, isHeader, ONLY, parseHeader, sealHeader, type HeaderRow } from './rows.js';

/**
 * Name of the directory in the origin private file system (or of the cache in the Cache API) with the folders
 * of all indexes.
 */
export const ROOT = 'dinov2-webgpu-search';
/** Maximum length of an index name. */
const NAME_CHARACTERS = 200;

/** An index that is stored in this browser for this origin. */
export interface StoredIndex {
  /** Name of the index. */
  readonly name: string;
  /**
   * `good`; `newer`: a newer version of the library wrote the index; `damaged`: opening the index reports
   * what is wrong.
   */
  readonly condition: 'good' | 'newer' | 'damaged';
  /** Header of the index, if its condition is good. */
  readonly header: IndexHeader | undefined;
  /** Number of items, if the condition is good. */
  readonly items: number | undefined;
  /** Bytes of the files with vectors, if the condition is good. */
  readonly bytes: number | undefined;
}

/** Checks an index name. @throws IndexError INDEX_NAME */
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

/** Name of an index's folder: a hash of the index name, which may contain any character. */
export async function folderKey(name: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name)));
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The folder of an index. */
export const folderOf = async (store: CacheStore, name: string): Promise<CacheFolder> =>
  store.folder(await folderKey(name), true);

/** Removes the files of an index from both kinds of storage. */
async function removeFiles(name: string): Promise<void> {
  const key = await folderKey(name);
  for (const kind of ['opfs', 'cache-api'] as const) {
    const store = await openStore(kind, ROOT);
    if (typeof store !== 'string') await store.remove(key);
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

/** Describes an index; undefined if it does not exist or its deletion was interrupted. */
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
    if (!(error instanceof IndexError)) throw error;
    if (error.code === 'INDEX_GONE') return undefined;
    if (error.code === 'INDEX_NEWER') return { ...known, condition: 'newer' };
    throw error;
  } finally {
    database.close();
  }
}

/**
 * Deletes an index with its files and thumbnails, even if the index is damaged or has a newer format. In tabs
 * that have the index open, the next call throws INDEX_GONE.
 * @returns false if no index has this name
 * @throws IndexError INDEX_NAME, INDEX_STORAGE; INDEX_BLOCKED if another page keeps the index open; the index
 *   is then deleted once that page is closed
 */
export async function deleteIndex(name: string): Promise<boolean> {
  checkName(name);
  return exclusively(name, undefined, async () => {
    if (!storageGlobal('indexedDB')) throw storageError(name, NO_DATABASE);
    const database = new Database(name);
    try {
      const header = await database.open(undefined);
      // From here on the index counts as deleted, even if the page is closed before the files are removed.
      if (isHeader(header))
        await database.write(
          ['header'],
          0,
          async (transaction) => void (await transaction.objectStore('header').put(marked(header), ONLY)),
        );
    } catch (error) {
      if (!(error instanceof IndexError)) throw error;
      if (error.code === 'INDEX_GONE') {
        await removeFiles(name);
        return false;
      }
      if (error.code !== 'INDEX_NEWER') throw error;
    } finally {
      database.close();
    }
    await removeFiles(name);
    await deleteDatabase(name);
    return true;
  });
}

const marked = (row: HeaderRow): HeaderRow => sealHeader({ ...row, deleting: true });

/** Completes an interrupted `deleteIndex`. The caller must hold the index's lock. */
export async function finishDeletion(name: string): Promise<void> {
  const database = new Database(name);
  try {
    const header = await database.open(undefined);
    if (!isHeader(header) || !header.deleting) return;
  } catch (error) {
    if (error instanceof IndexError && error.code === 'INDEX_GONE') return;
    throw error;
  } finally {
    database.close();
  }
  await removeFiles(name);
  await deleteDatabase(name);
}
