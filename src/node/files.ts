/** Lists image files: paths, folders and glob patterns. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { isAbsolute, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ImageError, OptionError } from '../errors.js';

/**
 * Extensions of image files. Node reads PNG, GIF and BMP, and with the package sharp the others, except HEIC: such a
 * file is listed, so that it appears among the failures.
 */
const IMAGE_NAME = /\.(jpe?g|jpe|jfif|png|apng|webp|gif|avif|bmp|heic|heif|tiff?)$/i;

/** Options of `imageFiles`. */
export interface ImageFilesOptions {
  /** False to leave out the folders within a folder. Default true. */
  readonly recursive?: boolean | undefined;
  /**
   * Called for each folder within a folder that cannot be read, such as `lost+found`. The other files are listed.
   * Default: such a folder throws the error.
   */
  readonly onError?: ((error: ImageError) => void) | undefined;
}

/**
 * Lists image files, for `embedAll` and other methods that take many images. A folder stands for all images
 * in it, by their extensions, in alphabetical order, without hidden files. A pattern may contain `*`, `?`,
 * `**` (any number of folders), `[abc]` and `{a,b}`. URLs are kept as they are.
 *
 * @param where a path, folder, pattern or URL, or several of them
 * @returns the paths, each once, in the order of `where`. They are absolute if `where` is
 * @throws ImageError IMAGE_FETCH, if a path does not exist, a folder cannot be read, or a folder or pattern has
 *   no image; OptionError OPTION_VALUE, if a pattern is not valid
 * @example
 * ```js
 * for await (const { index, embedding } of model.embedAll(await imageFiles('photos/'))) …
 * ```
 */
export async function imageFiles(
  where: string | URL | readonly (string | URL)[],
  { recursive = true, onError = fail }: ImageFilesOptions = {},
): Promise<string[]> {
  const found = new Set<string>();
  for (const each of Array.isArray(where) ? (where as readonly unknown[]) : [where])
    for (const path of await filesAt(each, recursive, onError)) found.add(path);
  return [...found];
}

function fail(error: ImageError): never {
  throw error;
}

async function filesAt(
  where: unknown,
  recursive: boolean,
  onError: (error: ImageError) => void,
): Promise<readonly string[]> {
  if (typeof where !== 'string' && !(where instanceof URL))
    throw new OptionError(
      'OPTION_VALUE',
      `imageFiles: expected paths, patterns or URLs, found ${where === null ? 'null' : typeof where}.`,
    );
  const text = String(where);
  if (/^(https?|data|blob):/i.test(text)) return [text];
  const path = /^file:/i.test(text) ? fileURLToPath(text) : text;
  const kind = await stat(path).catch((error: unknown) => error as NodeJS.ErrnoException);
  if ('isDirectory' in kind && !kind.isDirectory()) return [path];
  let first: ImageError | undefined;
  const unreadable = (folder: string, cause: Error): void => {
    const error = notRead(folder, cause);
    first ??= error;
    onError(error);
  };
  if ('isDirectory' in kind) {
    const enters = (): boolean => recursive;
    const names = await filesIn(path, enters, (within, cause) => unreadable(join(path, within), cause));
    return some(names.filter(isImage), path, 'a folder', first).map((name) => join(path, name));
  }
  if (kind.code !== 'ENOENT') throw notRead(path, kind);
  if (!isPattern(path))
    throw new ImageError(
      'IMAGE_FETCH',
      `${path}: there is no such file or folder. Check the path. A relative path starts at the program's working directory.`,
      { cause: kind },
    );
  const { base, rest } = splitPattern(path);
  return some(await matchesIn(base, rest, unreadable), path, 'a pattern', first);
}

const notRead = (path: string, cause: Error): ImageError =>
  new ImageError(
    'IMAGE_FETCH',
    `${path}: it cannot be read (${cause.message}). Check its permissions and its disk.`,
    { cause },
  );

const isImage = (path: string): boolean => IMAGE_NAME.test(path);
const isPattern = (path: string): boolean => /[*?[{]/.test(path);

/** Throws if there are no paths: `unreadable`, if it is set. */
function some(
  paths: readonly string[],
  where: string,
  what: string,
  unreadable: ImageError | undefined,
): readonly string[] {
  if (paths.length > 0) return paths;
  if (unreadable) throw unreadable;
  throw new ImageError(
    'IMAGE_FETCH',
    `${where}: expected ${what} with images (JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF), found none. Check the path.`,
  );
}

/** The codes of a path that is absent. With another code, such as EIO, there may be a file. */
const ABSENT: readonly unknown[] = ['ENOENT', 'ENOTDIR', 'ELOOP'];

/** Returns whether an error of the file system says that there is nothing at the path. */
export const isAbsent = (error: unknown): boolean => ABSENT.includes((error as NodeJS.ErrnoException).code);

/**
 * Lists the files in a folder, without hidden files, sorted by name. Follows links to files, but not to
 * folders, which might form a circle.
 * @param enters tells whether the files of a folder within the folder are listed too
 * @param unreadable called with a folder within the folder that cannot be read, and the cause
 * @throws ImageError IMAGE_FETCH, if the folder itself cannot be read
 */
async function filesIn(
  folder: string,
  enters: (within: string) => boolean,
  unreadable: (within: string, cause: Error) => void,
): Promise<string[]> {
  const found: string[] = [];
  const list = async (within: string): Promise<void> => {
    let entries: Dirent[];
    try {
      entries = await readdir(join(folder, within), { withFileTypes: true });
    } catch (cause) {
      if (within === '') throw notRead(folder, cause as Error);
      if (!isAbsent(cause)) unreadable(within, cause as Error); // else removed a moment ago
      return;
    }
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.name.startsWith('.')) continue;
      const path = within === '' ? entry.name : `${within}/${entry.name}`;
      if (!entry.isDirectory()) found.push(path);
      else if (enters(path)) await list(path);
    }
  };
  await list('');
  return found;
}

/**
 * Lists the files that a pattern matches in a folder ('' for the working directory), sorted. A match that is no image
 * is left out.
 * @param unreadable called with the path of a folder that cannot be read and may have a match, and the cause
 * @throws OptionError OPTION_VALUE, if the pattern is not valid; ImageError IMAGE_FETCH, if the folder itself
 *   cannot be read
 */
export async function matchesIn(
  base: string,
  pattern: string,
  unreadable: (folder: string, cause: Error) => void,
): Promise<string[]> {
  const expression = globExpression(pattern);
  const enters = foldersOf(pattern);
  const files = await filesIn(base === '' ? '.' : base, enters, (within, cause) =>
    unreadable(join(base, within), cause),
  ).catch((error: unknown) => {
    if (error instanceof ImageError && isAbsent(error.cause)) return [];
    throw error;
  });
  return files.filter((path) => expression.test(path) && isImage(path)).map((path) => join(base, path));
}

/** Returns a function that tells whether a folder may have a match of a pattern, directly or deeper. */
function foldersOf(pattern: string): (folder: string) => boolean {
  const split = pattern.split('/');
  // A part of a brace with a slash in it is not one folder: the pattern is then not split.
  const isWhole = (part: string): boolean => part.split('{').length === part.split('}').length;
  const parts = split.every(isWhole) ? split : ['**'];
  const deep = parts.findIndex((part) => part.includes('**'));
  const names = parts.slice(0, deep < 0 ? -1 : deep).map(globExpression);
  return (folder) =>
    folder.split('/').every((name, i) => (i < names.length ? names[i]!.test(name) : deep >= 0));
}

/** Splits a pattern into the folder where it starts ('' for the working directory) and the part behind it. */
export function splitPattern(pattern: string): { readonly base: string; readonly rest: string } {
  const parts = (sep === '\\' ? pattern.replaceAll('\\', '/') : pattern).split('/');
  const first = parts.findIndex(isPattern);
  const base = parts.slice(0, first).join('/') || (isAbsolute(pattern) ? resolve('/') : '');
  return { base, rest: parts.slice(first).join('/') };
}

/**
 * Returns the folder where a pattern starts: `photos` for `photos/*.jpg`. Undefined for a path that exists or
 * is no pattern.
 */
export async function baseOfPattern(where: string): Promise<string | undefined> {
  if (!isPattern(where)) return undefined;
  const exists = await stat(where).then(
    () => true,
    () => false,
  );
  return exists ? undefined : splitPattern(where).base || '.';
}

/**
 * Converts a glob pattern to a regular expression on paths with slashes.
 * @throws OptionError OPTION_VALUE, if a range or a brace of the pattern is not valid
 */
export function globExpression(pattern: string): RegExp {
  let made = '';
  let braces = 0;
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i]!;
    const group = /^\[(!?)([^\]/]+)\]/.exec(pattern.slice(i));
    if (pattern.startsWith('**/', i)) {
      made += '(?:[^/]+/)*';
      i += 2;
    } else if (pattern.startsWith('**', i)) {
      made += '.*';
      i += 1;
    } else if (character === '*') made += '[^/]*';
    else if (character === '?') made += '[^/]';
    else if (group) {
      made += `[${group[1] === '!' ? '^' : ''}${group[2]!.replaceAll(/[\\^\]]/g, '\\$&')}]`;
      i += group[0].length - 1;
    } else if (character === '{' && pattern.includes('}', i)) {
      made += '(?:';
      braces += 1;
    } else if (character === '}' && braces > 0) {
      made += ')';
      braces -= 1;
    } else if (character === ',' && braces > 0) made += '|';
    else made += character.replaceAll(/[\\^$.|+()[\]{}]/g, '\\$&');
  }
  try {
    return new RegExp(`^${made}$`);
  } catch (cause) {
    throw new OptionError(
      'OPTION_VALUE',
      `${pattern}: expected a pattern such as *.{jpg,png} or [a-z]*.jpg, found ranges or braces that cannot be read (${String(cause)}). Correct the pattern.`,
      { cause },
    );
  }
}
