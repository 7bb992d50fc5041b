/**
 * Sources of an ingest: files, handles, and files that were dropped on the page. `rootsOf` converts a source
 * to its roots: the files and folders where the walk starts.
 */
import { kindOf, wrongKind } from '../../optionObject.js';
import { host } from '../../platform/host.js';
import { isHandle, type DroppedItem } from './fileSystem.js';

/** A file or folder where the walk starts. */
export type Root =
  { readonly file: File } | { readonly handle: FileSystemHandle } | { readonly entry: FileSystemEntry };

/** The files and folders that were dropped on a page, as `droppedFiles` returns them. */
export class DroppedFiles {
  /**
   * The dropped files and folders.
   * @internal
   */
  readonly roots: Promise<readonly Root[]>;

  /**
   * Called by `droppedFiles`.
   * @internal
   */
  constructor(roots: Promise<readonly Root[]>) {
    this.roots = roots;
  }
}

/**
 * A source that `ingest` accepts. The id of a `File` is its path if it comes from `<input webkitdirectory>`,
 * otherwise its name. A string or URL is a path of a file or folder, or a pattern such as `photos/*.jpg`; it
 * works in Node, with `dinov2-webgpu/node`.
 */
export type IngestSource =
  File | FileSystemHandle | DroppedFiles | string | URL | Iterable<File | FileSystemHandle> | ArrayLike<File>;

/**
 * Reads the files and folders that a visitor dropped on the page. Call it in the handler of the event `drop`,
 * before any `await`: the browser clears `items` afterwards. In browsers that provide handles (Chromium), an
 * ingest of dropped files can continue after a reload.
 */
export function droppedFiles(items: DataTransferItemList): DroppedFiles {
  const roots = [...items].filter(({ kind }) => kind === 'file').map(rootOf);
  return new DroppedFiles(Promise.all(roots).then((all) => all.filter((root) => root !== undefined)));
}

function rootOf(item: DroppedItem): Promise<Root | undefined> {
  // All three methods must be called before the event handler returns. `getAsFileSystemHandle` may reject (on
  // an insecure page) or resolve to null (for an item that a script made).
  const file = item.getAsFile();
  const entry = item.webkitGetAsEntry();
  const handle = item.getAsFileSystemHandle?.() ?? Promise.resolve(null);
  const other: Root | undefined = entry ? { entry } : file ? { file } : undefined;
  return handle.then(
    (found) => (found ? { handle: found } : other),
    () => other,
  );
}

/**
 * Converts a source to the roots where the walk starts. @throws OptionError OPTION_VALUE if `source` is
 * neither a file, a folder, a drop, nor a list of files and folders
 */
export function rootsOf(source: IngestSource): readonly Root[] | Promise<readonly Root[]> {
  if (source instanceof DroppedFiles) return source.roots;
  if (host.handlesAt && (typeof source === 'string' || source instanceof URL))
    return host.handlesAt(source).then((handles) => handles.map((handle) => ({ handle })));
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

/** Returns the name of the file or folder where the walk starts. */
export const nameOf = (root: Root): string =>
  'file' in root ? root.file.name : 'handle' in root ? root.handle.name : root.entry.name;
