/**
 * What an index remembers of its ingests: which folders it was made of, and whether the last ingest came to
 * its end.
 */
import { isDirectory, isFile, isHandle, type AskableHandle } from './fileSystem.js';
import { IndexError } from '../../errors.js';
import { isSameFile } from './known.js';
import { nameOf, type Root } from './source.js';
import type { IngestIndex } from './target.js';
import { folderOf } from './walk.js';

const RUN = 'ingest';
const FOLDERS = 'ingest folders';

/** An ingest that a reload, a crash or an error has ended. */
export interface UnfinishedIngest {
  /** Names of the files and folders that it was given; of more than a hundred, the first ones. */
  readonly names: readonly string[];
  /**
   * Their handles, where the browser gave them: `askAgain(handles)` on a click, then `ingest(index, model,
   * handles)`. Else they must be dropped again.
   */
  readonly handles: readonly FileSystemHandle[] | undefined;
  /** As the option was: to be given again. */
  readonly under: string | undefined;
  /** Images that were found, and those of them that were dealt with. */
  readonly images: number;
  readonly finished: number;
}

const MOST_NAMES = 100;

type Run = UnfinishedIngest & { readonly done: boolean };

/** Undefined where the last ingest came to its end, or none was begun. */
export async function unfinishedIngest(
  index: Pick<IngestIndex, 'getState'>,
): Promise<UnfinishedIngest | undefined> {
  const run = await index.getState(RUN);
  if (!isRun(run) || run.done) return undefined;
  const { names, handles, under, images, finished } = run;
  return { names, handles, under, images, finished };
}

/** Forgets the ingest that did not come to its end. */
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

export async function keepRun(
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

/** A folder, or a file, that an index was made of. */
interface Source {
  /** Its items' ids begin with this, or are it. */
  readonly prefix: string;
  /** Where the browser gave one. */
  handle: FileSystemHandle | undefined;
  /** Nothing tells whether all items whose ids begin so came from this folder. */
  mixed: boolean;
}

/** What an index was made of, this ingest included. */
export interface Claims {
  /** What ids of folders begin with, and ids of files. */
  readonly prefixes: readonly string[];
  /** Ids of files whose handles say that the index has them from these very files. */
  readonly same: ReadonlySet<string>;
}

/**
 * Adds the roots to what the index was made of before. Two folders of one name have the same ids: where their
 * handles tell them apart, the second is refused; where nothing does, nothing may be removed.
 * @param under undefined: the caller says nothing of which folder it is. Else it vouches that ids that begin
 *   so are this folder's
 * @throws IndexError INDEX_DUPLICATE_ID for another folder of that name; INDEX_OPTIONS where `removeMissing`
 *   might remove another folder's items
 */
export async function claimFolders(
  index: IngestIndex,
  roots: readonly Root[],
  under: string | undefined,
  removeMissing: boolean,
): Promise<Claims> {
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
      // An item may have come from another file of that name, which it goes on to stand for.
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
        `ingest: expected one folder ${JSON.stringify(handle.name)}, found another of that name, with the same ids. Add it under a name of its own (under: 'a name'), or, if it was moved, with under: ''.`,
      );
    }
    if (mixed && removeMissing) {
      throw new IndexError(
        'INDEX_OPTIONS',
        `removeMissing: expected a folder whose items are known, found ${JSON.stringify(prefix)}: without a handle, or with items from elsewhere. Add it under a name of its own, or, if all that begins so is this folder's, with under: ''.`,
      );
    }
    sources.set(prefix, { prefix, handle: handle ?? found?.handle, mixed });
  }
  const kept = [...sources.values()];
  if (kept.length > 0)
    await setWithHandles(
      index,
      FOLDERS,
      kept,
      kept.map((source) => ({ ...source, handle: undefined })),
    );
  return { prefixes: [...sources.keys()], same };
}

const isFileOf = async (index: IngestIndex, id: string, handle: FileSystemFileHandle): Promise<boolean> => {
  const file = await handle.getFile().catch(() => undefined); // that it cannot be read is told when it is its turn
  return file !== undefined && isSameFile(index, id, file);
};

async function sourcesOf(index: Pick<IngestIndex, 'getState'>): Promise<Source[]> {
  const kept = await index.getState(FOLDERS);
  return Array.isArray(kept)
    ? (kept as Partial<Source>[]).flatMap(({ prefix, handle, mixed }) =>
        typeof prefix === 'string'
          ? [{ prefix, handle: isHandle(handle) ? handle : undefined, mixed: mixed !== false }]
          : [],
      )
    : [];
}

/** Not every store can keep handles; then they are asked for again. */
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

/** Handles of the files and folders that an index was made of, where the browser gave any. */
export async function foldersOf(index: Pick<IngestIndex, 'getState'>): Promise<FileSystemHandle[]> {
  return (await sourcesOf(index)).flatMap(({ handle }) => handle ?? []);
}

/**
 * Asks the visitor for leave to read these. After a reload browsers want that, and want it in the handler of
 * a click.
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
 * The file behind an id, if one of the index's folders is known and may be read without asking; else
 * undefined. It may have changed since it was ingested.
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

/** @param path from a folder to a file within; '' for a file itself */
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
    // Gone, renamed, or no longer to be read: another folder may have it. (TypeError: a part that is no file
    // name.)
    if (error instanceof DOMException || error instanceof TypeError) return undefined;
    throw error;
  }
}
