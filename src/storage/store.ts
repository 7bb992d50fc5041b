/**
 * Named files in the browser's storage, in folders: the origin private file system, or the Cache API where
 * that is missing.
 */
import { storageGlobal } from '../platform/storageGlobal.js';

/** Where checkpoints are kept. `auto`: the file system of the origin, else the Cache API, else nowhere. */
export type CacheKind = 'auto' | 'opfs' | 'cache-api' | 'none';

/** The files of one entry. A file is there whole or not at all. */
export interface CacheFolder {
  read(name: string): Promise<Blob | undefined>;
  /** @throws DOMException QuotaExceededError, with no file left */
  write(name: string, data: Blob): Promise<void>;
  remove(name: string): Promise<void>;
  names(): Promise<string[]>;
  /**
   * What is written from now on does not go with what a crash has torn before. Chromium's directory of an
   * origin's files is a LevelDB; it goes on with the log behind a record that was torn, and at the next start
   * drops what follows it in its block of 32 KiB, acknowledged or not. So the rest of that block is filled:
   * with files of long names, empty, which are removed again, as they are by whoever removes what it does not
   * know. As far as there is room, and once a page; it fails never.
   */
  leaveTornBlock?(): Promise<void>;
}

export interface CacheStore {
  readonly kind: 'opfs' | 'cache-api';
  keys(): Promise<string[]>;
  /** Makes the folder if it is missing; with `clear`, not in a torn block (`leaveTornBlock`). */
  folder(key: string, clear?: boolean): Promise<CacheFolder>;
  /** The folder, if there is one. Writes nothing. */
  existing(key: string): Promise<CacheFolder | undefined>;
  remove(key: string): Promise<void>;
}

const NAME = 'dinov2-webgpu';

/**
 * The store, or in a sentence why there is none. Writes nothing: the root is made with its first folder.
 * @param root the folder, or the cache, that holds everything: what is kept of models, unless told otherwise
 */
export async function openStore(kind: CacheKind, root: string = NAME): Promise<CacheStore | string> {
  if (kind === 'none') return 'switched off';
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
 * A file is open for writing. Where there are no locks, a load may be at it: each of its files takes it a
 * moment.
 */
const isInUse = (error: unknown): boolean =>
  error instanceof DOMException && error.name === 'NoModificationAllowedError';
const REMOVE_TRIES = 50;
const REMOVE_WAIT_MS = 20;

/**
 * For a name as long as this one Chromium writes about 900 bytes, when the file is made and when it is
 * removed (measured).
 */
const FILLERS = 44;
/** A number larger than any segment's (search/store/segments.ts): a file that was never written to. */
const FILLER = `9999999999-${'-'.repeat(200)}`;

/**
 * Once a page: what it writes from then on lies behind whatever was torn before it, and what tears the log is
 * the end of the browser, and so of the page.
 */
let filling: Promise<void> | undefined;

function fillBlock(directory: FileSystemDirectoryHandle): Promise<void> {
  const fill = async (): Promise<void> => {
    const names = Array.from({ length: FILLERS }, (_, i) => `${FILLER}${i}`);
    const made = await Promise.allSettled(
      names.map(async (name) => directory.getFileHandle(name, { create: true })),
    );
    await Promise.allSettled(names.map(async (name) => remove(directory, name, false)));
    if (made.some(({ status }) => status === 'rejected')) filling = undefined; // another time there may be room
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
 * The folder, which is made where it is missing.
 * @param clear not in a torn block: with the record of a folder all that is in it would go. The block is filled from
 *   within the new folder, which is then made again behind it.
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
  await parent.removeEntry(name).catch(() => undefined); // another page may have put something into it
  return parent.getDirectoryHandle(name, { create: true });
}

/** Empty for a directory that has been removed, before or while it is listed. */
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
        return file.size > 0 ? file : undefined; // a writer that died before its first commit leaves an empty one
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    async write(name, data) {
      const handle = await directory.getFileHandle(name, { create: true });
      const writable = await handle.createWritable(); // a copy, which takes the file's place when it is closed
      try {
        await writable.write(data);
        await writable.close();
      } catch (error) {
        await writable.abort().catch(() => undefined); // does not hide the first error
        await remove(directory, name, false).catch(() => undefined); // nor does a lock that is not let go of yet
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
        return make(key, clear); // another page has made the root again meanwhile
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
  /** Undefined where there is none: to open it would make it. */
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
    existing: folder, // it is a prefix of names, so there is nothing to make
    keys: async () => [...new Set((await paths()).map((path) => path.split('/')[0]!))],
    remove: async (key) => {
      for (const path of await paths())
        if (path.startsWith(`${key}/`)) await (await existing())?.delete(base + path);
    },
  };
}
