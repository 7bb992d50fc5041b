/** Errors of an index in a folder on disk. */
import { IndexError } from '../../errors.js';

/** Converts an error of the file system to INDEX_QUOTA or INDEX_STORAGE. Returns other errors unchanged. */
export function folderError(folder: string, cause: unknown): unknown {
  const { code, syscall, message } = cause as NodeJS.ErrnoException;
  if (syscall === undefined || code === undefined) return cause;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  return new IndexError(
    full ? 'INDEX_QUOTA' : 'INDEX_STORAGE',
    full
      ? `index ${JSON.stringify(folder)}: the disk is full. Nothing of this change was made, and the stored index is intact. Free space on the disk.`
      : `index ${JSON.stringify(folder)}: its folder cannot be used: ${message}. Choose a folder in which this process may read and write.`,
    { cause, need: 0 },
  );
}

/** The error for a change of an index that this process may only read. */
export const readOnlyError = (folder: string): IndexError =>
  new IndexError(
    'INDEX_STORAGE',
    `index ${JSON.stringify(folder)}: this process may read its folder, but not write into it. To change the index, permit that, or copy the folder.`,
  );
