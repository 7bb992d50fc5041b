/** What the browser's storage throws, as errors that say what to do. */
import { IndexError } from '../../errors.js';
import { quote } from '../../safetensors/format.js';

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : ''); // DOMException is one

export const isQuota = (error: unknown): boolean => nameOf(error) === 'QuotaExceededError';
/** A file that was there a moment ago. */
export const isVanished = (error: unknown): boolean =>
  ['NotFoundError', 'NotReadableError'].includes(nameOf(error));
/** What a database that the browser has closed, or cannot reach just now, answers with. */
export const isLost = (error: unknown): boolean =>
  ['InvalidStateError', 'UnknownError', 'AbortError', 'TransactionInactiveError'].includes(nameOf(error));

/** @param need bytes that were to be written */
export async function quotaError(name: string, need: number, cause: unknown): Promise<IndexError> {
  const { quota, usage } = await estimate();
  const have = quota === undefined || usage === undefined ? undefined : Math.max(0, quota - usage);
  const found =
    have === undefined
      ? 'found less'
      : `found the storage full (the browser says ${have} bytes are left, which is a guess)`;
  return new IndexError(
    'INDEX_QUOTA',
    `index ${quote(name)}: expected room for ${need > 0 ? `${need} bytes` : 'it'}, ${found}. Nothing of this change was made, and what was kept is whole. Free space on the disk, delete what is not needed (deleteIndex, removeCached), or open the index with persist: true.`,
    { cause, need, have },
  );
}

async function estimate(): Promise<StorageEstimate> {
  const storage = (globalThis.navigator as Navigator | undefined)?.storage as
    Partial<StorageManager> | undefined;
  try {
    return (await storage?.estimate?.()) ?? {};
  } catch {
    return {}; // an opaque origin has none: the message does without
  }
}

export const storageError = (name: string, problem: string, cause?: unknown): IndexError =>
  new IndexError(
    'INDEX_STORAGE',
    `index ${quote(name)}: expected a place to keep it, found that ${problem}. Private windows and sandboxed frames keep nothing: use an ordinary window, over https or from localhost, or an index in memory (new EmbeddingIndex).`,
    { cause },
  );

export const NO_DATABASE = 'IndexedDB is missing, or this page may not use it';

export const goneError = (name: string): IndexError =>
  new IndexError(
    'INDEX_GONE',
    `index ${quote(name)}: expected what was opened, found that it was deleted, by another tab or by the browser, which may evict what is not persisted. Open it again, and add its items again.`,
  );

export const closedError = (name: string): IndexError =>
  new IndexError(
    'INDEX_DISPOSED',
    `index ${quote(name)}: expected an open index, found that it was closed. Open it again.`,
  );

export const overtakenError = (name: string): IndexError =>
  new IndexError(
    'INDEX_STORAGE',
    `index ${quote(name)}: expected to be the only writer, found another's commit while the lock was held (was it stolen?). Nothing of this change was made: try again.`,
  );

export const newerError = (name: string, found: string, cause?: unknown): IndexError =>
  new IndexError(
    'INDEX_NEWER',
    `index ${quote(name)}: expected format 1, found ${found}: a newer version of the library wrote it. Reload the page, or update the library; nothing was changed.`,
    { cause },
  );

/** Ids that a message has room for. */
const LISTED = 10;

export function damagedError(
  name: string,
  items: readonly string[],
  notes: readonly string[],
  kept: number,
): IndexError {
  const ids =
    items.slice(0, LISTED).map(quote).join(', ') +
    (items.length > LISTED ? ` and ${items.length - LISTED} more` : '');
  const parts = [...(items.length > 0 ? [`${items.length} damaged (${ids})`] : []), ...notes];
  return new IndexError(
    'INDEX_DAMAGED',
    `index ${quote(name)}: expected what was written, found ${parts.join('; ')}; ${kept} items are whole. Open it with repair: 'drop' to go on with those, and add the others again.`,
    { items },
  );
}

export { quote };
