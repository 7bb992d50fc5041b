/**
 * Data about ingests that an index stores: the folders that its items came from, and the progress of the last
 * ingest.
 */
import { isDirectory, isFile, isHandle, type AskableHandle } from './fileSystem.js';
import { IndexError } from '../../errors.js';
import { isSameFile } from './known.js';
import { nameOf, type Root } from './source.js';
import type { IngestIndex } from './target.js';
import { folderOf } from './walk.js';

const RUN = 'ingest';
const FOLDERS = 'ingest folders';

/** An ingest that was interrupted by a reload, a crash or an error. */
export interface UnfinishedIngest {
  /** Names of the ingested files and folders, at most a hundred. */
  readonly names: readonly string[];
  /**
   * Handles of the ingested files and folders, if the browser provided handles. On a click, call
   * `askAgain(handles)`, then `ingest(index, model, handles)`. Without handles, the visitor must choose the
   * files again.
   */
  readonly handles: readonly FileSystemHandle[] | undefined;
  /** The option `under` of the interrupted ingest. Pass the same value to `ingest` when continuing it. */
  readonly under: string | undefined;
  /** Number of images that were found. */
  readonly images: number;
  /** Number of images that were processed. */
  readonly finished: number;
}

const MOST_NAMES = 100;

type Run = UnfinishedIngest & { readonly done: boolean };

/** Returns the last ingest if it was interrupted; undefined if it was completed or there was none. */
export async function unfinishedIngest(
  index: Pick<IngestIndex, 'getState'>,
): Promise<UnfinishedIngest | undefined> {
  const run = await index.getState(RUN);
  if (!isRun(run) || run.done) return undefined;
  const { names, handles, under, images, finished } = run;
  return { names, handles, under, images, finished };
}

/** Deletes what the index has stored about an interrupted ingest. */
export async function forgetIngest(index: Pick<IngestIndex, 'setState'>): Promise<void> {
  await index.setState(RUN, undefined);
}

const isRun = (value: unknown): value is Run =>
  typeof value === 'object' &&
  value !== null &&
  'done' in value &&
  'names' in value &&
  Array.isArray(value.names) &&
  'handles' in value;

/** Stores the progress of an ingest in the index. */
export async function recordRun(
  index: IngestIndex,
  roots: readonly Root[],
  counts: { under: string | undefined; images: number; finished: number; done: boolean },
): Promise<void> {
  const names = roots.slice(0, MOST_NAMES).map(nameOf);
  const handles = roots.flatMap((root) => ('handle' in root ? [root.handle] : []));
  await setWithHandles(
    index,
    RUN,
    { names, handles: handles.length === roots.length ? handles : undefined, ...counts } satisfies Run,
    { names, handles: undefined, ...counts } satisfies Run,
  );
}

/** A folder or file that the index was made from. */
interface Source {
  /** Prefix of the ids of a folder's items, or the id of a file. */
  readonly prefix: string;
  /** Handle of the folder or file; undefined if the browser provided none. */
  handle: FileSystemHandle | undefined;
  /** True if some items with this prefix may have come from a different folder of the same name. */
  mixed: boolean;
}

/** The folders and files that the index was made from, including this ingest. */
export interface KnownSources {
  /** Id prefixes of folders, and ids of files. */
  readonly prefixes: readonly string[];
  /**
   * Ids of the ingested files that the index already has: their handles show that they are the same files.
   */
  readonly same: ReadonlySet<string>;
}

/**
 * Records the files and folders of an ingest as sources of the index. The items of two folders with the same
 * name would have the same ids. Therefore, if the handles show that two folders differ, the second folder is
 * refused. If there are no handles, the second folder is accepted, but the option `removeMissing` is refused.
 * @param under the option `under`; if defined, the caller declares that all ids with this prefix belong to
 *   the ingested folder
 * @throws IndexError INDEX_DUPLICATE_ID if a different folder of the same name is known; INDEX_OPTIONS if
 *   `removeMissing` could remove items of a different folder
 */
export async function claimFolders(
  index: IngestIndex,
  roots: readonly Root[],
  under: string | undefined,
  removeMissing: boolean,
): Promise<KnownSources> {
  const same = new Set<string>();
  const sources = new Map((await sourcesOf(index)).map((source) => [source.prefix, source]));
  for (const root of roots) {
    const handle = 'handle' in root ? root.handle : undefined;
    const folder = folderOf(root, under ?? '');
    if (folder === undefined && !handle) continue;
    const prefix = folder ?? (under ? `${under}/${handle!.name}` : handle!.name);
    const found = sources.get(prefix);
    const isSame = found?.handle && handle && (await found.handle.isSameEntry(handle));
    if (folder === undefined && handle && under === undefined && index.has(prefix)) {
      // If the existing item came from a different file of this name, the recorded source is not changed.
      if (isSame) same.add(prefix);
      else if (!isFile(handle) || !(await isFileOf(index, prefix, handle))) continue;
    }
    const mixed =
      folder !== undefined &&
      under === undefined &&
      (found ? found.mixed || !isSame : !handle || [...index.ids()].some((id) => id.startsWith(folder)));
    if (mixed && found?.handle && handle && !isSame) {
      throw new IndexError(
        'INDEX_DUPLICATE_ID',
        `ingest: another folder named ${JSON.stringify(handle.name)} was ingested into this index before, and items of both folders could have the same ids. Ingest the new folder with a prefix (under: 'a name'). If the new folder is the old folder, moved, set under: ''.`,
      );
    }
    if (mixed && removeMissing) {
      throw new IndexError(
        'INDEX_OPTIONS',
        `removeMissing: cannot tell which items with the prefix ${JSON.stringify(prefix)} came from this folder: the browser provides no handle of the folder, or a different folder has items with the same prefix. Give this folder a prefix of its own, for example under: 'a name'. If all items with this prefix came from this folder, set under: '' to confirm that.`,
      );
    }
    sources.set(prefix, { prefix, handle: handle ?? found?.handle, mixed });
  }
  const all = [...sources.values()];
  if (all.length > 0)
    await setWithHandles(
      index,
      FOLDERS,
      all,
      all.map((source) => ({ ...source, handle: undefined })),
    );
  return { prefixes: [...sources.keys()], same };
}

const isFileOf = async (index: IngestIndex, id: string, handle: FileSystemFileHandle): Promise<boolean> => {
  const file = await handle.getFile().catch(() => undefined); // an unreadable file is reported when it is ingested
  return file !== undefined && isSameFile(index, id, file);
};

async function sourcesOf(index: Pick<IngestIndex, 'getState'>): Promise<Source[]> {
  const stored = await index.getState(FOLDERS);
  return Array.isArray(stored)
    ? (stored as Partial<Source>[]).flatMap(({ prefix, handle, mixed }) =>
        typeof prefix === 'string'
          ? [{ prefix, handle: isHandle(handle) ? handle : undefined, mixed: mixed !== false }]
          : [],
      )
    : [];
}

/** Stores a value that contains handles, or the same value without handles if the store cannot clone them. */
async function setWithHandles(
  index: Pick<IngestIndex, 'setState'>,
  key: string,
  withHandles: unknown,
  without: unknown,
): Promise<void> {
  try {
    await index.setState(key, withHandles);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof DOMException ? error.cause : error;
    if (!(cause instanceof DOMException) || cause.name !== 'DataCloneError') throw error;
    await index.setState(key, without);
  }
}

/** Returns the handles of the files and folders that the index was made from, if the browser provided any. */
export async function foldersOf(index: Pick<IngestIndex, 'getState'>): Promise<FileSystemHandle[]> {
  return (await sourcesOf(index)).flatMap(({ handle }) => handle ?? []);
}

/**
 * Asks the visitor for permission to read these files and folders. Browsers require this after a reload. Call
 * it in the handler of a click. Returns false if permission is denied.
 */
export async function askAgain(handles: readonly FileSystemHandle[]): Promise<boolean> {
  for (const handle of handles as readonly AskableHandle[]) {
    if ((await handle.requestPermission?.({ mode: 'read' })) === 'denied' || !(await mayRead(handle)))
      return false;
  }
  return true;
}

const mayRead = async (handle: AskableHandle): Promise<boolean> =>
  !handle.queryPermission || (await handle.queryPermission({ mode: 'read' })) === 'granted';

/**
 * Returns the original file of an item, if the handle of its folder is known and readable without asking the
 * visitor; otherwise undefined. The file may have changed since it was ingested.
 */
export async function originalOf(
  index: Pick<IngestIndex, 'getState'>,
  id: string,
): Promise<File | undefined> {
  for (const { handle, prefix } of await sourcesOf(index)) {
    if (!handle || !id.startsWith(prefix) || !(await mayRead(handle))) continue;
    const file = await fileIn(handle, id.slice(prefix.length));
    if (file) return file;
  }
  return undefined;
}

/**
 * Returns the file at a path; undefined if it cannot be read.
 * @param path path from the folder `root` to the file; '' if `root` is the file itself
 */
async function fileIn(root: FileSystemHandle, path: string): Promise<File | undefined> {
  try {
    if (isFile(root)) return path === '' ? await root.getFile() : undefined;
    if (!isDirectory(root)) return undefined;
    const parts = path.split('/');
    const name = parts.pop()!;
    let folder = root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part);
    return await (await folder.getFileHandle(name)).getFile();
  } catch (error) {
    // The file was deleted, was renamed or is not readable, so the caller tries the other folders. A
    // TypeError means that a part of the path is not a valid file name.
    if (error instanceof DOMException || error instanceof TypeError) return undefined;
    throw error;
  }
}
