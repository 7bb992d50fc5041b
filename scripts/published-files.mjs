// Lists the files that package.json refers to, and finds missing ones.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** A file that bin/ imports, although package.json does not name it. */
const TOOLS = 'dist/tools.js';

const pathsIn = (value) => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(pathsIn) : [];
};

/** Returns the paths within the package of all files that package.json refers to, and of dist/tools.js. */
export function promisedFiles({ main, module, types, bin, exports, sideEffects }) {
  const named = pathsIn([main, module, types, bin, exports, sideEffects]).map((path) =>
    path.replace(/^\.\//, ''),
  );
  return [...new Set([...named, TOOLS])];
}

/**
 * Returns the files that package.json refers to and that are missing.
 * @param exists whether the package has a file, by its path within the package
 */
export const missingFiles = (manifest, exists) => promisedFiles(manifest).filter((path) => !exists(path));

/**
 * Returns a function that says whether a folder has a file. It is the argument `exists` of `missingFiles`.
 */
export const existsIn = (folder) => (path) => existsSync(join(folder, path));
