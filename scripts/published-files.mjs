// Which files package.json promises to those who install the package, and which of them are not there.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** What bin/ imports: nothing in package.json names it. */
const TOOLS = 'dist/tools.js';

const pathsIn = (value) => {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(pathsIn) : [];
};

/** Entry points, types, commands and modules with side effects: paths within the package, each once. */
export function promisedFiles({ main, module, types, bin, exports, sideEffects }) {
  const named = pathsIn([main, module, types, bin, exports, sideEffects]).map((path) =>
    path.replace(/^\.\//, ''),
  );
  return [...new Set([...named, TOOLS])];
}

/**
 * Promised files that are not there.
 * @param exists whether a file of the package is there, by its path within the package
 */
export const missingFiles = (manifest, exists) => promisedFiles(manifest).filter((path) => !exists(path));

/** Whether files are there in a folder. */
export const existsIn = (folder) => (path) => existsSync(join(folder, path));
