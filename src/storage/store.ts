/**
 * Stores files in folders in the browser's storage: the origin private file system, or the Cache API if the
 * file system is missing.
 */
import { host } from '../platform/host.js';
import { storageGlobal } from '../platform/storageGlobal.js';

/**
 * Where checkpoints are cached. `auto`: in the origin private file system if it is available, else in the
 * Cache API if that is available, else nowhere.
 */
export type CacheKind = 'auto' | 'opfs' | 'cache-api' | 'none';

/** The files of one entry of the store, such as one cached model. A file exists completely or not at all. */
export interface CacheFolder {
  read(name: string): Promise<Blob | undefined>;
  /** Writes a file. @throws DOMException QuotaExceededError if storage is full; no partial file stays */
  write(name: string, data: Blob): Promise<void>;
  remove(name: string): Promise<void>;
  names(): Promise<string[]>;
  /**
   * Protects later writes from a log record that a crash has torn, so that only its first part is on the
   * disk. Chromium keeps an origin's file names in a LevelDB. After a crash, Chromium appends to the log
   * behind the torn record. At the next start it drops everything that follows the torn record in the same
   * 32 KiB block, including acknowledged writes. This function fills the rest of the block by creating and
   * removing empty files with long names. Best effort, once per page; never rejects.
   */
  leaveTornBlock?(): Promise<void>;
}

export interface CacheStore {
  readonly kind: 'opfs' | 'cache-api' | 'folder';
  keys(): Promise<string[]>;
  /**
   * Returns the folder, and creates it if it is missing. With `clear`, the browser's log records a new
   * folder outside the block that a crash has torn (`leaveTornBlock`).
   */
  folder(key: string, clear?: boolean): Promise<CacheFolder>;
  /** Returns the folder; undefined if it does not exist. Writes nothing. */
  existing(key: string): Promise<CacheFolder | undefined>;
  remove(key: string): Promise<void>;
}

const NAME = 'dinov2-webgpu';

/**
 * Opens the store. Returns a text with the reason if no store is available. Writes nothing: the root folder
 * is created together with the first folder within it.
 * @param root name of the folder or cache that holds all entries. Default: the name of the weight cache
 */
export async function openStore(
  kind: CacheKind | 'folder',
  root: string = NAME,
): Promise<CacheStore | string> {
  if (kind === 'none') return 'switched off';
  if (host.openStore && root === NAME) return host.openStore() as CacheStore;
  const problems: string[] = [];
  const { crypto } = globalThis;
  const storage = (globalThis.navigator as Navigator | undefined)?.storage as StorageManager | undefined;
  if (!crypto?.subtle) return 'this is no secure page: open it over https, or from localhost';
  if (kind !== 'cache-api') {
    try {
      if (
        typeof storage?.getDirectory === 'function' &&
        typeof FileSystemFileHandle.prototype.createWritable === 'function'
      ) {
        const origin = await storage.getDirectory();
        await existingDirectory(origin, root);
        return fileStore(origin, root);
      }
      problems.push('the origin private file system is missing');
    } catch (error) {
      problems.push(`the origin private file system failed (${String(error)})`); // private windows, sandboxes
    }
  }
  if (kind !== 'opfs') {
    try {
      const caches = storageGlobal('caches');
      if (caches) {
        await caches.has(root);
        return responseStore(root);
      }
      problems.push('the Cache API is missing');
    } catch (error) {
      problems.push(`the Cache API failed (${String(error)})`);
    }
  }
  return problems.join('; ');
}

const isMissing = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NotFoundError';

/**
 * Returns whether an error means that a file is open for writing. Without locks, a load in a different page
 * may be writing the file, which takes a moment.
 */
const isInUse = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NoModificationAllowedError';
const REMOVE_TRIES = 50;
const REMOVE_WAIT_MS = 20;

/**
 * Number of empty files that fill a block of Chromium's log. For a name as long as FILLER, Chromium logs
 * about 900 bytes in all when the file is created and removed (measured).
 */
const FILLERS = 44;
/**
 * Prefix of the names of the empty files that fill a log block. The number 9999999999 is larger than the
 * number of any segment file of a search index (search/store/segments.ts).
 */
const FILLER = `9999999999-${'-'.repeat(200)}`;

/**
 * Set once filling the torn log block has begun. Once per page is enough: later writes of the page lie behind
 * the torn record, and a record can be torn again only when the browser ends, which also ends the page.
 */
let filling: Promise<void> | undefined;

function fillBlock(directory: FileSystemDirectoryHandle): Promise<void> {
  const fill = async (): Promise<void> => {
    const names = Array.from({ length: FILLERS }, (_, i) => `${FILLER}${i}`);
    const made = await Promise.allSettled(
      names.map(async (name) => directory.getFileHandle(name, { create: true })),
    );
    await Promise.allSettled(names.map(async (name) => remove(directory, name, false)));
    if (made.some(({ status }) => status === 'rejected')) filling = undefined; // the next call may find free storage
  };
  return (filling ??= fill());
}

async function existingDirectory(
  parent: FileSystemDirectoryHandle,
  name: string,
): Promise<FileSystemDirectoryHandle | undefined> {
  try {
    return await parent.getDirectoryHandle(name);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * Returns the folder, and creates it if it is missing.
 * @param clear whether the browser's log must record a new folder outside the block that a crash has torn:
 *   if the record of a folder is lost, all its files are lost. The block is filled from within the new
 *   folder, which is then created again behind the block
 */
async function makeDirectory(
  parent: FileSystemDirectoryHandle,
  name: string,
  clear: boolean,
): Promise<FileSystemDirectoryHandle> {
  const found = await existingDirectory(parent, name);
  if (found) return found;
  const made = await parent.getDirectoryHandle(name, { create: true });
  if (!clear) return made;
  await fillBlock(made);
  await parent.removeEntry(name).catch(() => undefined); // fails if a different page has put a file into the folder
  return parent.getDirectoryHandle(name, { create: true });
}

/**
 * Returns the names in a directory, or no names if the directory was removed before or during the listing.
 */
async function namesOf(directory: FileSystemDirectoryHandle): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const name of directory.keys()) names.push(name);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  return names;
}

async function remove(directory: FileSystemDirectoryHandle, name: string, recursive: boolean): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await directory.removeEntry(name, { recursive });
    } catch (error) {
      if (isMissing(error)) return;
      if (!(isInUse(error) && recursive) || tries === REMOVE_TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, REMOVE_WAIT_MS));
    }
  }
}

function fileStore(origin: FileSystemDirectoryHandle, name: string): CacheStore {
  const folderIn = (directory: FileSystemDirectoryHandle): CacheFolder => ({
    names: () => namesOf(directory),
    remove: (name) => remove(directory, name, false),
    leaveTornBlock: () => fillBlock(directory),
    async read(name) {
      try {
        const file = await (await directory.getFileHandle(name)).getFile();
        return file.size > 0 ? file : undefined; // a page that ended before its first write completed leaves an empty file
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    async write(name, data) {
      const handle = await directory.getFileHandle(name, { create: true });
      const writable = await handle.createWritable(); // a temporary copy, which replaces the file when it is closed
      try {
        await writable.write(data);
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => undefined); // a second error must not hide the first
        await remove(directory, name, false).catch(() => undefined); // may fail because the lock of the file is not released yet
        throw error;
      }
    },
  });
  const root = (): Promise<FileSystemDirectoryHandle | undefined> => existingDirectory(origin, name);
  const make = async (key: string, clear: boolean): Promise<CacheFolder> =>
    folderIn(await makeDirectory(await makeDirectory(origin, name, clear), key, clear));
  return {
    kind: 'opfs',
    async keys() {
      const directory = await root();
      return directory ? (await namesOf(directory)).filter((key) => !key.startsWith(FILLER)) : [];
    },
    folder: (key, clear = false) =>
      make(key, clear).catch((error: unknown) => {
        if (!isMissing(error)) throw error;
        return make(key, clear); // a different page removed the root folder at the same time
      }),
    async existing(key) {
      const directory = await root();
      const found = directory && (await existingDirectory(directory, key));
      return found && folderIn(found);
    },
    async remove(key) {
      const directory = await root();
      if (directory) await remove(directory, key, true);
    },
  };
}

function responseStore(root: string): CacheStore {
  const base = `https://${NAME}.invalid/`; // never fetched: the name is reserved (RFC 2606)
  /** Returns the cache; undefined if it does not exist. `caches.open` would create a missing cache. */
  const existing = async (): Promise<Cache | undefined> =>
    (await caches.has(root)) ? caches.open(root) : undefined;
  const paths = async (): Promise<string[]> =>
    ((await (await existing())?.keys()) ?? [])
      .map(({ url }) => url)
      .filter((url) => url.startsWith(base))
      .map((url) => url.slice(base.length));
  const folder = async (key: string): Promise<CacheFolder> => ({
    names: async () =>
      (await paths()).filter((path) => path.startsWith(`${key}/`)).map((path) => path.slice(key.length + 1)),
    read: async (name) => (await (await existing())?.match(`${base}${key}/${name}`))?.blob(),
    write: async (name, data) => (await caches.open(root)).put(`${base}${key}/${name}`, new Response(data)),
    remove: async (name) => void (await (await existing())?.delete(`${base}${key}/${name}`)),
  });
  return {
    kind: 'cache-api',
    folder,
    existing: folder, // in the Cache API a folder is only a prefix of names, and need not be created
    keys: async () => [...new Set((await paths()).map((path) => path.split('/')[0]!))],
    remove: async (key) => {
      for (const path of await paths())
        if (path.startsWith(`${key}/`)) await (await existing())?.delete(base + path);
    },
  };
}
