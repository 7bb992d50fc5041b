/** Reads which settings the command line has recorded in an index on disk, before the index is opened. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
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
 * Reads the index in a folder. Returns undefined if there is none. Damage is not reported here: opening the
 * index reports it.
 */
export async function readFolderIndex(
  folder: string,
): Promise<{ readonly settings: Settings | undefined } | undefined> {
  const file = await open(join(folder, 'index.log')).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    const log = new Log();
    await log.read(file);
    const found = log.states.get(SETTINGS);
    return log.first && { settings: areSettings(found) ? found : undefined };
  } finally {
    await file.close();
  }
}
