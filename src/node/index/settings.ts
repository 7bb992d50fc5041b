/** Reads which settings the command line has recorded in an index on disk, before the index is opened. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { show } from '../../platform/json.js';
import { damagedError, newerError } from '../../search/store/errors.js';
import { isForbidden, withFileLock } from '../fileLock.js';
import { Log } from './log.js';

/** Key of the state in which the command line records its settings. */
export const SETTINGS = 'command line';

/** The options of the command line that all images and queries of an index share. */
interface Settings {
  readonly model: string;
  readonly pooling: string;
  readonly resize: string;
  readonly size: number;
  readonly orientation: string;
}

function areSettings(value: unknown): value is Settings {
  const found = Object(value) as Record<keyof Settings, unknown>;
  const texts = [found.model, found.pooling, found.resize, found.orientation];
  return texts.every((text) => typeof text === 'string') && Number.isSafeInteger(found.size);
}

/**
 * Reads the index in a folder. Returns undefined if there is none. Changes nothing.
 *
 * @throws IndexError INDEX_DAMAGED, INDEX_NEWER, as opening the index does; errors of the file system
 */
export async function readFolderIndex(
  folder: string,
): Promise<{ readonly settings: Settings | undefined } | undefined> {
  let log = await readLog(folder);
  // Another process may be writing: what looks damaged is read again while no other process writes.
  if (log && isDamaged(log))
    log = await withFileLock(join(folder, 'lock'), undefined, () => readLog(folder)).catch(
      (error: unknown) => {
        if (isForbidden(error)) return readLog(folder);
        throw error;
      },
    );
  if (!log) return undefined;
  const { first, damage, items, states } = log;
  if (first && first.format > 1) throw newerError(folder, `format ${show(first.format)}`);
  if (isDamaged(log)) throw damagedError(folder, damage.items, damage.notes, items.size);
  const found = states.get(SETTINGS);
  return first && { settings: areSettings(found) ? found : undefined };
}

const isDamaged = ({ first, damage, end }: Log): boolean =>
  damage.items.length > 0 || damage.notes.length > 0 || (!first && end > 0);

/** Reads the log of an index. Returns undefined if there is none. */
async function readLog(folder: string): Promise<Log | undefined> {
  const file = await open(join(folder, 'index.log')).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const log = new Log();
    await log.read(file);
    return log;
  } finally {
    await file.close();
  }
}
