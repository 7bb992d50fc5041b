/** `walk`: lists the images in files and folders. The path of an image is its id. */
import { isDirectory, isFile } from './fileSystem.js';
import type { Root } from './source.js';

/** A file or folder that the walk found. */
export type WalkEntry =
  /** A file that may be an image. `read` returns its current contents. */
  | {
      readonly kind: 'image';
      readonly id: string;
      readonly read: () => Promise<File>;
      /** True for a file that was passed without its folder, so that only its name identifies it. */
      readonly alone?: boolean;
    }
  /** A file that is not an image, or a file that the operating system made. */
  | { readonly kind: 'other'; readonly id: string }
  /** A folder that could not be read. */
  | { readonly kind: 'failure'; readonly id: string; readonly error: unknown };

/**
 * Extensions of image files, including formats that browsers may not decode (HEIC, TIFF). If the browser
 * cannot decode a file, the file appears among the failures.
 */
const IMAGE_NAME = /\.(jpe?g|jpe|jfif|pjp|pjpeg|png|apng|webp|gif|avif|bmp|heic|heif|tiff?)$/i;
/** Names of files that operating systems and programs leave in folders, such as `._photo.jpg`. */
const OF_THE_SYSTEM = /^(\.|__MACOSX$|@eaDir$|Thumbs\.db$|desktop\.ini$)/i;

const isImageName = (name: string): boolean => IMAGE_NAME.test(name) && !OF_THE_SYSTEM.test(name);
/**
 * True if a file that the caller passed is an image. The media type of the file counts too, because the name
 * of a pasted picture may have no extension.
 */
const isImageFile = ({ name, type }: File): boolean =>
  (isImageName(name) || type.startsWith('image/')) && !OF_THE_SYSTEM.test(name);

/**
 * Walks files and folders. The entries of a folder are sorted by name, so that the images of a folder are in
 * the same order in every browser.
 * @param under prefix of the ids, without the slash; '' for none
 */
export async function* walk(
  roots: readonly Root[],
  under: string,
): AsyncGenerator<WalkEntry, void, undefined> {
  for (const root of roots) {
    if ('file' in root) yield ofFile(root.file, under);
    else {
      const found =
        'handle' in root
          ? ofHandle(root.handle, joined(under, root.handle.name))
          : ofEntry(root.entry, joined(under, root.entry.name));
      const alone = folderOf(root, under) === undefined;
      for await (const each of found) yield each.kind === 'image' ? { ...each, alone } : each;
    }
  }
}

/**
 * Returns the id prefix of a folder, or of the folder in a file's `webkitRelativePath`; undefined for a file
 * that was passed without a folder.
 */
export function folderOf(root: Root, under: string): string | undefined {
  const within = (path: string): string => (path === '' ? '' : `${path}/`);
  if ('handle' in root) return isDirectory(root.handle) ? within(joined(under, root.handle.name)) : undefined;
  if ('entry' in root) return root.entry.isDirectory ? within(joined(under, root.entry.name)) : undefined;
  const [folder, ...rest] = (root.file.webkitRelativePath || '').split('/');
  return rest.length > 0 ? within(joined(under, folder!)) : undefined;
}

function ofFile(file: File, under: string): WalkEntry {
  const path = file.webkitRelativePath || ''; // the property is undefined in Node
  const id = joined(under, path || file.name);
  const hidden = path.split('/').some((part) => OF_THE_SYSTEM.test(part));
  return isImageFile(file) && !hidden
    ? { kind: 'image', id, read: () => Promise.resolve(file), alone: path === '' }
    : { kind: 'other', id };
}

const joined = (path: string, name: string): string =>
  path === '' || name === '' ? path + name : `${path}/${name}`;

async function* ofHandle(handle: FileSystemHandle, path: string): AsyncGenerator<WalkEntry, void, undefined> {
  if (isFile(handle)) {
    yield isImageName(handle.name)
      ? { kind: 'image', id: path, read: () => handle.getFile() }
      : { kind: 'other', id: path };
    return;
  }
  if (!isDirectory(handle)) return;
  const children: [string, FileSystemHandle][] = [];
  try {
    for await (const child of handle.entries()) children.push(child);
  } catch (error) {
    yield { kind: 'failure', id: path, error };
    return;
  }
  for (const [name, child] of children.sort(byName)) {
    if (isDirectory(child) && OF_THE_SYSTEM.test(name)) continue;
    yield* ofHandle(child, joined(path, name));
  }
}

async function* ofEntry(entry: FileSystemEntry, path: string): AsyncGenerator<WalkEntry, void, undefined> {
  if (entry.isFile) {
    const read = (): Promise<File> =>
      new Promise((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    yield isImageName(entry.name) ? { kind: 'image', id: path, read } : { kind: 'other', id: path };
    return;
  }
  let children: FileSystemEntry[];
  try {
    children = await entriesOf(entry as FileSystemDirectoryEntry);
  } catch (error) {
    yield { kind: 'failure', id: path, error };
    return;
  }
  for (const child of children.sort((a, b) => byName([a.name], [b.name]))) {
    if (child.isDirectory && OF_THE_SYSTEM.test(child.name)) continue;
    yield* ofEntry(child, joined(path, child.name));
  }
}

/**
 * Reads all entries of a dropped folder. `readEntries` returns at most a hundred per call, and an empty list
 * at the end.
 */
async function entriesOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (some.length === 0) return all;
    all.push(...some);
  }
}

const byName = ([a]: readonly [string, ...unknown[]], [b]: readonly [string, ...unknown[]]): number =>
  a < b ? -1 : a > b ? 1 : 0;
