/**
 * What can be ingested: files, handles, and what was dropped. All of them become roots, from which the walk
 * starts.
 */
import { kindOf, wrongKind } from '../../optionObject.js';
import { isHandle, type DroppedItem } from './fileSystem.js';

/** Where a walk starts. */
export type Root =
  { readonly file: File } | { readonly handle: FileSystemHandle } | { readonly entry: FileSystemEntry };

/** Files and folders that were dropped on a page. */
export class DroppedFiles {
  readonly roots: Promise<readonly Root[]>;

  constructor(roots: Promise<readonly Root[]>) {
    this.roots = roots;
  }
}

/** A `File` of `<input webkitdirectory>` knows its path; any other one's path is its name. */
export type IngestSource =
  File | FileSystemHandle | DroppedFiles | Iterable<File | FileSystemHandle> | ArrayLike<File>;

/**
 * Takes files and folders out of a drop. Call it in the handler of the event, before anything is awaited: the
 * browser lets go of the items afterwards. Where it gives handles (Chromium), an ingest of them can go on
 * after a reload.
 */
export function droppedFiles(items: DataTransferItemList): DroppedFiles {
  const taken = [...items].filter(({ kind }) => kind === 'file').map(take);
  return new DroppedFiles(Promise.all(taken).then((roots) => roots.filter((root) => root !== undefined)));
}

function take(item: DroppedItem): Promise<Root | undefined> {
  // All three are asked for now. The handle may be refused (a page that is not secure) or be none (an item
  // that a script has made).
  const file = item.getAsFile();
  const entry = item.webkitGetAsEntry();
  const handle = item.getAsFileSystemHandle?.() ?? Promise.resolve(null);
  const other: Root | undefined = entry ? { entry } : file ? { file } : undefined;
  return handle.then(
    (found) => (found ? { handle: found } : other),
    () => other,
  );
}

/** @throws OptionError OPTION_VALUE for what is no file, folder or drop, nor a list of files and folders */
export function rootsOf(source: IngestSource): readonly Root[] | Promise<readonly Root[]> {
  if (source instanceof DroppedFiles) return source.roots;
  const expected = 'a file, a folder, a drop (droppedFiles), or a list of files and folders';
  const isOne = isHandle(source) || kindOf(source) === 'File';
  const isList = typeof source === 'object' && source && (Symbol.iterator in source || 'length' in source);
  if (!isOne && (!isList || ArrayBuffer.isView(source))) throw wrongKind('ingest', expected, source);
  return Array.from(isOne ? [source] : (source as ArrayLike<unknown>), (each): Root => {
    if (isHandle(each)) return { handle: each };
    if (kindOf(each) !== 'File') throw wrongKind('ingest', `${expected}, all with names`, each);
    return { file: each as File };
  });
}

/** What a person calls a root: its name. */
export const nameOf = (root: Root): string =>
  'file' in root ? root.file.name : 'handle' in root ? root.handle.name : root.entry.name;
