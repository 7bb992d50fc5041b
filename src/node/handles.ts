/**
 * Files and folders on disk as handles of the File System API, which `ingest` walks. A handle has its path, so
 * that an index can keep it.
 */
import { openAsBlob } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { baseOfPattern, imageFiles, isAbsent, matchesIn, splitPattern } from './files.js';

/** A handle of a file or folder on disk. Its methods are its own properties, so that it cannot be cloned. */
interface DiskHandle {
  readonly kind: 'file' | 'directory';
  readonly name: string;
  /** The absolute path. */
  readonly diskPath: string;
  /** A pattern relative to the folder, if the folder stands for what the pattern matches in it. */
  readonly pattern?: string | undefined;
  isSameEntry(other: FileSystemHandle): Promise<boolean>;
}

const isDiskHandle = (value: unknown): value is DiskHandle =>
  typeof value === 'object' && value !== null && 'diskPath' in value && 'isSameEntry' in value;

function common<Kind extends DiskHandle['kind']>(path: string, kind: Kind): DiskHandle & { kind: Kind } {
  return {
    kind,
    name: basename(path),
    diskPath: path,
    isSameEntry: async (other) => isDiskHandle(other) && other.diskPath === path,
  };
}

/** Returns the handle of a file, which is read only when its bytes are needed. */
function fileHandle(path: string): object {
  return {
    ...common(path, 'file'),
    async getFile(): Promise<File> {
      const [blob, { mtimeMs }] = await Promise.all([openAsBlob(path), stat(path)]);
      return new File([blob], basename(path), { lastModified: Math.floor(mtimeMs) });
    },
  };
}

/**
 * Returns the handle of a folder.
 * @param pattern if set, the folder has only the files that this pattern matches, and their folders
 * @param only absolute paths of these files and folders, if they are known; for a folder that could not be read, the
 *   cause
 */
function folderHandle(path: string, pattern?: string, only?: ReadonlyMap<string, Error | undefined>): object {
  return {
    ...common(path, 'directory'),
    pattern,
    async *entries(): AsyncGenerator<[string, object]> {
      const shown = only ?? (pattern === undefined ? undefined : await matchedBy(pattern, path));
      const cause = shown?.get(path);
      if (cause) throw cause;
      for (const entry of await readdir(path, { withFileTypes: true })) {
        const child = join(path, entry.name);
        if (shown && !shown.has(child)) continue;
        if (entry.isDirectory()) yield [entry.name, folderHandle(child, pattern, shown)];
        else if (entry.isFile() || (entry.isSymbolicLink() && (await isFile(child))))
          yield [entry.name, fileHandle(child)];
      }
    },
  };
}

/**
 * Returns the absolute paths of the files that a pattern matches, and of their folders below `base`. Folders that
 * cannot be read are among them with the cause, which the ingest reports. They are not read again: if that succeeded,
 * their files would count as not matched.
 */
async function matchedBy(pattern: string, base: string): Promise<Map<string, Error | undefined>> {
  const found = new Map<string, Error | undefined>();
  const unreadable = new Map<string, Error>();
  const files = await matchesIn(base, pattern, (folder, cause) => void unreadable.set(folder, cause));
  for (const file of [...files, ...unreadable.keys()])
    for (let path = file; path !== base && !found.has(path); path = dirname(path))
      found.set(path, unreadable.get(path));
  return found;
}

/**
 * Returns whether a link leads to a file. True also if the link cannot be followed, for example because its disk
 * fails: reading the file then reports the error. Taken for absent, the file would be removed from an index.
 */
const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    (error: unknown) => !isAbsent(error),
  );

/**
 * Returns the handles of a path: of the folder or file, or for a pattern, of the folder where it starts, with
 * only the files that it matches. So a file has the same id as in an ingest of the folder.
 *
 * @throws ImageError IMAGE_FETCH, if there is nothing at the path, or the pattern matches no image
 */
export async function handlesAt(path: string | URL): Promise<FileSystemHandle[]> {
  const text = path instanceof URL && path.protocol === 'file:' ? fileURLToPath(path) : String(path);
  const kind = await stat(text).catch(() => undefined);
  if (kind?.isDirectory()) return [folderHandle(resolve(text))] as FileSystemHandle[];
  // Throws if there are none. The ingest reports folders that cannot be read.
  const files = await imageFiles(path, { onError: () => undefined });
  const base = await baseOfPattern(text);
  const made =
    base === undefined
      ? files.map((file) => fileHandle(resolve(file)))
      : [folderHandle(resolve(base), splitPattern(text).rest)];
  return made as FileSystemHandle[];
}

/** Replaces the handles in a value by plain objects with their paths. */
export function withPaths(value: unknown): unknown {
  if (isDiskHandle(value)) {
    const { diskPath, kind, pattern } = value;
    return { diskPath, kind, ...(pattern !== undefined && { pattern }) };
  }
  return mapped(value, withPaths);
}

/** Replaces objects with the paths of handles by handles: the reverse of `withPaths`. */
export function withHandles(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && 'diskPath' in value && 'kind' in value) {
    const path = String(value.diskPath);
    const pattern = 'pattern' in value ? String(value.pattern) : undefined;
    return value.kind === 'directory' ? folderHandle(path, pattern) : fileHandle(path);
  }
  return mapped(value, withHandles);
}

/** Maps the members of an array or plain object. Returns any other value as it is. */
function mapped(value: unknown, map: (member: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map(map);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype)
    return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, map(member)]));
}
