/** Recognises errors of the browser's storage, and makes `IndexError`s from them. */
import { IndexError } from '../../errors.js';
import { quote } from '../../safetensors/format.js';

// The name of an error. The browser's DOMException is an Error too.
const nameOf = (error: unknown): string => (error instanceof Error ? error.name : '');

/** True if an error means that the storage is full. */
export const isQuota = (error: unknown): boolean => nameOf(error) === 'QuotaExceededError';
/** True if an error means that a file disappeared while it was used. */
export const isVanished = (error: unknown): boolean =>
  ['NotFoundError', 'NotReadableError'].includes(nameOf(error));
/** True if an error means that the connection to the database is closed or does not work at the moment. */
export const isLost = (error: unknown): boolean =>
  ['InvalidStateError', 'UnknownError', 'AbortError', 'TransactionInactiveError'].includes(nameOf(error));

/**
 * Makes the error INDEX_QUOTA for a full storage. @param need number of bytes that were to be written; 0 if
 * unknown
 */
export async function quotaError(name: string, need: number, cause: unknown): Promise<IndexError> {
  const { quota, usage } = await estimate();
  const have = quota === undefined || usage === undefined ? undefined : Math.max(0, quota - usage);
  const size = need > 0 ? ` to write ${need} bytes` : '';
  const left = have === undefined ? '' : ` (the browser estimates that ${have} bytes are left)`;
  return new IndexError(
    'INDEX_QUOTA',
    `index ${quote(name)}: the storage is too full${size}${left}. Nothing of this change was made, and the stored index is intact. Free space on the disk, delete stored data (deleteIndex, removeCached), or open the index with persist: true.`,
    { cause, need, have },
  );
}

async function estimate(): Promise<StorageEstimate> {
  const storage = (globalThis.navigator as Navigator | undefined)?.storage as
    Partial<StorageManager> | undefined;
  try {
    return (await storage?.estimate?.()) ?? {};
  } catch {
    return {}; // the browser gives no estimate to a page with an opaque origin
  }
}

export const storageError = (name: string, problem: string, cause?: unknown): IndexError =>
  new IndexError(
    'INDEX_STORAGE',
    `index ${quote(name)}: its storage cannot be used: ${problem}. Private windows and sandboxed frames have no storage. Use an ordinary window, over https or from localhost, or an index in memory (new EmbeddingIndex).`,
    { cause },
  );

/**
 * Converts an error that the browser's storage threw to INDEX_QUOTA or INDEX_STORAGE. Returns other errors
 * unchanged.
 * @param doing what failed, for the message
 */
export async function typedError(name: string, doing: string, error: unknown): Promise<unknown> {
  if (!(error instanceof DOMException)) return error;
  return isQuota(error)
    ? quotaError(name, 0, error)
    : storageError(name, `${doing} failed (${String(error)})`, error);
}

export const NO_DATABASE = 'IndexedDB is missing, or this page may not use it';

export const goneError = (name: string): IndexError =>
  new IndexError(
    'INDEX_GONE',
    `index ${quote(name)}: the index was deleted, by another tab, another program, or by the browser (storage that is not persistent can be evicted). Open the index again and add its items again.`,
  );

export const closedError = (name: string): IndexError =>
  new IndexError('INDEX_DISPOSED', `index ${quote(name)}: the index is closed. Open it again.`);

export const overtakenError = (name: string): IndexError =>
  new IndexError(
    'INDEX_STORAGE',
    `index ${quote(name)}: another tab changed the index while this tab was changing it; the lock of this tab may have been stolen. No part of this tab's change was stored. Try again.`,
  );

export const newerError = (name: string, found: string, cause?: unknown): IndexError =>
  new IndexError(
    'INDEX_NEWER',
    `index ${quote(name)}: expected format 1, found ${found}: a newer version of the library wrote the index. Reload the page, or update the library. Nothing was changed.`,
    { cause },
  );

/** Maximum number of ids that an error message lists. */
const LISTED = 10;

/**
 * Makes the error INDEX_DAMAGED for a damaged index.
 * @param items ids of the damaged items
 * @param notes descriptions of other damage
 * @param intact number of intact items
 */
export function damagedError(
  name: string,
  items: readonly string[],
  notes: readonly string[],
  intact: number,
): IndexError {
  const ids =
    items.slice(0, LISTED).map(quote).join(', ') +
    (items.length > LISTED ? ` and ${items.length - LISTED} more` : '');
  const parts = [...(items.length > 0 ? [`${items.length} items are damaged (${ids})`] : []), ...notes];
  return new IndexError(
    'INDEX_DAMAGED',
    `index ${quote(name)}: the stored index is damaged: ${parts.join('; ')}. ${intact} items are intact. Open the index with repair: 'drop' to continue with the intact items, and add the damaged items again.`,
    { items },
  );
}

/** Makes the error for a thumbnail that cannot be read. @param orElse other advice, for the end of the message */
export const thumbnailError = (
  name: string,
  id: string,
  found: 'damaged' | 'missing',
  orElse = '',
): IndexError =>
  new IndexError(
    'INDEX_DAMAGED',
    `index ${quote(name)}: the thumbnail of ${quote(id)} is ${found}. The item itself is intact. Give it a new thumbnail (update)${orElse}.`,
    { items: [id] },
  );

export { quote };
