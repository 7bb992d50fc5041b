/** What an index remembers of its ingests: which folders it was made of, and whether the last ingest came to its end. */
import { isDirectory, isFile, isHandle, type AskableHandle } from './fileSystem.js';
import { nameOf, type Root } from './source.js';
import type { IngestIndex } from './target.js';

const RUN = 'ingest';
const FOLDERS = 'ingest folders';

/** An ingest that a reload, a crash or an error has ended. */
export interface UnfinishedIngest {
  /** Names of the files and folders that it was given; of more than a hundred, the first ones. */
  readonly names: readonly string[];
  /** Their handles, where the browser gave them: `askAgain(handles)` on a click, then `ingest(index, model, handles)`. Else they must be dropped again. */
  readonly handles: readonly FileSystemHandle[] | undefined;
  /** Images that were found, and those of them that were dealt with. */
  readonly images: number;
  readonly finished: number;
}

const MOST_NAMES = 100;

type Run = UnfinishedIngest & { readonly done: boolean };

/** Undefined where the last ingest came to its end, or none was begun. */
export async function unfinishedIngest(index: Pick<IngestIndex, 'getState'>): Promise<UnfinishedIngest | undefined> {
  const run = await index.getState(RUN);
  if (!isRun(run) || run.done) return undefined;
  const { names, handles, images, finished } = run;
  return { names, handles, images, finished };
}

/** Forgets the ingest that did not come to its end. */
export async function forgetIngest(index: Pick<IngestIndex, 'setState'>): Promise<void> {
  await index.setState(RUN, undefined);
}

const isRun = (value: unknown): value is Run =>
  typeof value === 'object' && value !== null && 'done' in value && 'names' in value && Array.isArray(value.names) && 'handles' in value;

export async function keepRun(index: IngestIndex, roots: readonly Root[], counts: { images: number; finished: number; done: boolean }): Promise<void> {
  const names = roots.slice(0, MOST_NAMES).map(nameOf);
  const handles = roots.flatMap((root) => ('handle' in root ? [root.handle] : []));
  await setWithHandles(index, RUN, { names, handles: handles.length === roots.length ? handles : undefined, ...counts } satisfies Run, { names, handles: undefined, ...counts } satisfies Run);
}

/** Adds the handles among the roots to those that the index was made of before. */
export async function keepFolders(index: IngestIndex, roots: readonly Root[]): Promise<void> {
  const kept = await foldersOf(index);
  for (const root of roots) {
    if (!('handle' in root)) continue;
    const { kind, name } = root.handle; // asking the browser about each pair of a thousand dropped files would take it minutes
    const same = await Promise.all(kept.filter((handle) => handle.kind === kind && handle.name === name).map((handle) => handle.isSameEntry(root.handle)));
    if (!same.includes(true)) kept.push(root.handle);
  }
  if (kept.length > 0) await setWithHandles(index, FOLDERS, kept, undefined);
}

/** Not every store can keep handles; then they are asked for again. */
async function setWithHandles(index: Pick<IngestIndex, 'setState'>, key: string, withHandles: unknown, without: unknown): Promise<void> {
  try {
    await index.setState(key, withHandles);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof DOMException ? error.cause : error;
    if (!(cause instanceof DOMException) || cause.name !== 'DataCloneError') throw error;
    if (without !== undefined) await index.setState(key, without);
  }
}

/** Handles of the files and folders that an index was made of, where the browser gave any. */
export async function foldersOf(index: Pick<IngestIndex, 'getState'>): Promise<FileSystemHandle[]> {
  const kept = await index.getState(FOLDERS);
  return Array.isArray(kept) ? kept.filter(isHandle) : [];
}

/** Asks the visitor for leave to read these. After a reload browsers want that, and want it in the handler of a click. */
export async function askAgain(handles: readonly FileSystemHandle[]): Promise<boolean> {
  for (const handle of handles as readonly AskableHandle[]) {
    if ((await handle.requestPermission?.({ mode: 'read' })) === 'denied' || !(await mayRead(handle))) return false;
  }
  return true;
}

const mayRead = async (handle: AskableHandle): Promise<boolean> => !handle.queryPermission || (await handle.queryPermission({ mode: 'read' })) === 'granted';

/**
 * The file behind an id, if one of the index's folders is known and may be read without asking; else undefined. It may have changed since it was
 * ingested.
 */
export async function originalOf(index: Pick<IngestIndex, 'getState'>, id: string): Promise<File | undefined> {
  for (const handle of await foldersOf(index)) {
    if (!(await mayRead(handle))) continue;
    const file = await fileIn(handle, id);
    if (file) return file;
  }
  return undefined;
}

async function fileIn(root: FileSystemHandle, id: string): Promise<File | undefined> {
  try {
    if (isFile(root)) return root.name === id ? await root.getFile() : undefined;
    const prefix = root.name === '' ? '' : `${root.name}/`;
    if (!isDirectory(root) || !id.startsWith(prefix)) return undefined;
    const parts = id.slice(prefix.length).split('/');
    const name = parts.pop()!;
    let folder = root;
    for (const part of parts) folder = await folder.getDirectoryHandle(part);
    return await (await folder.getFileHandle(name)).getFile();
  } catch (error) {
    // Gone, renamed, or no longer to be read: another folder may have it. (TypeError: a part that is no file name.)
    if (error instanceof DOMException || error instanceof TypeError) return undefined;
    throw error;
  }
}
