/** From files and folders to the images in them, each with the path that is its id. */
import { isDirectory, isFile } from './fileSystem.js';
import type { Root } from './source.js';

/** One thing that the walk came by. */
export type Found =
  /** A file that may be an image. `read` gives it as it is at that moment. */
  | {
      readonly kind: 'image';
      readonly id: string;
      readonly read: () => Promise<File>;
      /** A file that was given without its folder: nothing but its name tells it from another. */
      readonly alone?: boolean;
    }
  /** Something else: a file of another type, or one that a system keeps for itself. */
  | { readonly kind: 'other'; readonly id: string }
  /** A folder that cannot be read. */
  | { readonly kind: 'failure'; readonly id: string; readonly error: unknown };

/**
 * What browsers can decode, and what people take for photographs and browsers may not decode: that is then
 * said of each file.
 */
const IMAGE_NAME = /\.(jpe?g|jpe|jfif|pjp|pjpeg|png|apng|webp|gif|avif|bmp|heic|heif|tiff?)$/i;
/** What systems and programs leave in folders: `._photo.jpg` is no photograph. */
const OF_THE_SYSTEM = /^(\.|__MACOSX$|@eaDir$|Thumbs\.db$|desktop\.ini$)/i;

const isImageName = (name: string): boolean => IMAGE_NAME.test(name) && !OF_THE_SYSTEM.test(name);
/**
 * A file that somebody names is taken by its type too: a picture that is pasted has a name without an ending.
 */
const isImageFile = ({ name, type }: File): boolean =>
  (isImageName(name) || type.startsWith('image/')) && !OF_THE_SYSTEM.test(name);

/**
 * Folders are walked in the order of their names, so that the same folder gives the same order everywhere.
 * @param under what ids begin with, before a slash; '' for nothing
 */
export async function* walk(roots: readonly Root[], under: string): AsyncGenerator<Found, void, undefined> {
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
 * Ids of what lies in a root that is a folder, or a file that knows its folder, begin with this; undefined
 * for another file.
 */
export function folderOf(root: Root, under: string): string | undefined {
  const within = (path: string): string => (path === '' ? '' : `${path}/`);
  if ('handle' in root) return isDirectory(root.handle) ? within(joined(under, root.handle.name)) : undefined;
  if ('entry' in root) return root.entry.isDirectory ? within(joined(under, root.entry.name)) : undefined;
  const [folder, ...rest] = (root.file.webkitRelativePath || '').split('/');
  return rest.length > 0 ? within(joined(under, folder!)) : undefined;
}

function ofFile(file: File, under: string): Found {
  const path = file.webkitRelativePath || ''; // Node's files have none
  const id = joined(under, path || file.name);
  const hidden = path.split('/').some((part) => OF_THE_SYSTEM.test(part));
  return isImageFile(file) && !hidden
    ? { kind: 'image', id, read: () => Promise.resolve(file), alone: path === '' }
    : { kind: 'other', id };
}

const joined = (path: string, name: string): string =>
  path === '' || name === '' ? path + name : `${path}/${name}`;

async function* ofHandle(handle: FileSystemHandle, path: string): AsyncGenerator<Found, void, undefined> {
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

async function* ofEntry(entry: FileSystemEntry, path: string): AsyncGenerator<Found, void, undefined> {
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

/** A reader gives at most a hundred at a time, and none at the end. */
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
