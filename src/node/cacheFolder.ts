/** The folder in which this library keeps downloads, and the store of the weight cache in it. */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import type { CacheFolder, CacheStore } from '../storage/store.js';

/** The environment variables that this module reads. */
type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Returns the folder of this library's downloads: dinov2-webgpu/ in `XDG_CACHE_HOME`, or else in ~/.cache, on
 * macOS in ~/Library/Caches, on Windows in `LOCALAPPDATA`.
 */
export function cacheFolder(
  environment: Environment = process.env,
  platform: string = process.platform,
  home: string = homedir(),
): string {
  const { XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = environment;
  const base =
    xdg && isAbsolute(xdg) // the XDG specification says that a relative path is ignored
      ? xdg
      : platform === 'darwin'
        ? join(home, 'Library', 'Caches')
        : platform === 'win32'
          ? (local ?? join(home, 'AppData', 'Local'))
          : join(home, '.cache');
  return join(base, 'dinov2-webgpu');
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';
/** Ending of files that are being written. */
const PART = '.part';

/**
 * Writes a file: the data first go to a file of another name, which is renamed when it is complete and on
 * the disk. So a process that is killed leaves no partial file under the name.
 */
export async function writeWhole(path: string, data: Uint8Array | string): Promise<void> {
  const part = `${path}.${crypto.randomUUID().slice(0, 8)}${PART}`;
  try {
    const file = await open(part, 'wx');
    try {
      await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => undefined);
    throw error;
  }
}

function folderAt(path: string): CacheFolder {
  return {
    async read(name) {
      try {
        return new Blob([await readFile(join(path, name))]);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    async write(name, data) {
      await writeWhole(join(path, name), new Uint8Array(await data.arrayBuffer()));
    },
    remove: (name) => rm(join(path, name), { force: true }),
    names: () => namesIn(path),
  };
}

async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/**
 * Opens the store of the weight cache. Writes nothing before a checkpoint is cached.
 * @param root the folder that holds all entries
 */
export function folderStore(root: string = join(cacheFolder(), 'models')): CacheStore {
  return {
    kind: 'folder',
    keys: () => namesIn(root),
    async folder(key) {
      await mkdir(join(root, key), { recursive: true });
      return folderAt(join(root, key));
    },
    async existing(key) {
      return (await namesIn(root)).includes(key) ? folderAt(join(root, key)) : undefined;
    },
    remove: (key) => rm(join(root, key), { recursive: true, force: true }),
  };
}
