/** Which indexes there are, where each has its files, and how to be rid of one. */
import { storageGlobal } from '../../platform/storageGlobal.js';
import { openStore, type CacheFolder, type CacheStore } from '../../storage/store.js';
import { IndexError } from '../../errors.js';
import type { IndexHeader } from '../journal.js';
import { exclusively } from './context.js';
import { Database, databaseNames, deleteDatabase } from './database.js';
import { NO_DATABASE, quote, storageError } from './errors.js';
import { FORMAT, isHeader, ONLY, parseHeader, sealHeader, type HeaderRow } from './rows.js';

/** The folder of the origin's file system, or the cache, that all indexes have their folders in. */
export const ROOT = 'dinov2-webgpu-search';
const NAME_CHARACTERS = 200;

/** An index that is kept in this browser, for this origin. */
export interface StoredIndex {
  readonly name: string;
  /** `newer`: of a later version of the library. `damaged`: opening it tells more. */
  readonly condition: 'good' | 'newer' | 'damaged';
  /** Where the condition is good. */
  readonly header: IndexHeader | undefined;
  readonly items: number | undefined;
  /** Of the files with vectors. */
  readonly bytes: number | undefined;
}

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

/** Any name is good for a folder: what it is called is a hash. */
export async function folderKey(name: string): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name)));
  return Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export const folderOf = async (store: CacheStore, name: string): Promise<CacheFolder> =>
  store.folder(await folderKey(name), true);

/** Removes the files of an index, wherever they are. */
async function removeFiles(name: string): Promise<void> {
  const key = await folderKey(name);
  for (const kind of ['opfs', 'cache-api'] as const) {
    const store = await openStore(kind, ROOT);
    if (typeof store !== 'string') await store.remove(key);
  }
}

/** The indexes of this origin, by name. @throws IndexError INDEX_STORAGE where the browser does not tell */
export async function listIndexes(): Promise<StoredIndex[]> {
  if (!storageGlobal('indexedDB')) return [];
  const names = await databaseNames().catch((error: unknown) => String(error));
  if (typeof names !== 'object')
    throw new IndexError(
      'INDEX_STORAGE',
      names === undefined
        ? 'The indexes of this origin cannot be listed: this browser has no indexedDB.databases(). Open indexes by their names.'
        : `The indexes of this origin cannot be listed: this page may not store (${names}). Sandboxed frames and blocked cookies do that.`,
    );
  const found = await Promise.all(names.sort().map(look));
  return found.filter((index) => index !== undefined);
}

/** Undefined where there is none, or one whose deletion was interrupted. */
async function look(name: string): Promise<StoredIndex | undefined> {
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
 * Deletes an index and all that belongs to it, one of a newer format or a damaged one too. Tabs that have it
 * open find it gone.
 * @returns false if there is none of this name
 * @throws IndexError INDEX_NAME, INDEX_BLOCKED (it is gone once the other page is closed), INDEX_STORAGE
 */
export async function deleteIndex(name: string): Promise<boolean> {
  checkName(name);
  return exclusively(name, undefined, async () => {
    if (!storageGlobal('indexedDB')) throw storageError(name, NO_DATABASE);
    const database = new Database(name);
    try {
      const header = await database.open(undefined);
      // From here on it is deleted, whatever happens before its files are gone.
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

/** What an interrupted `deleteIndex` has left. With the lock. */
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
