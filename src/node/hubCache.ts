/** Reads the cache of Python's `huggingface_hub`. Nothing is written to it. */
import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

type Environment = Readonly<Record<string, string | undefined>>;

/** The folder of Python's hub cache, by the same variables as in Python. */
export function hubCacheFolder(environment: Environment = process.env, home: string = homedir()): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment;
  const given = HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE;
  const huggingFace = HF_HOME || join(XDG_CACHE_HOME || join(home, '.cache'), 'huggingface');
  return expanded(given || join(huggingFace, 'hub'), home);
}

const expanded = (path: string, home: string): string => path.replace(/^~(?=[\\/]|$)/, () => home);

/** A revision of a repository in the cache. */
export interface Snapshot {
  /** The commit. */
  readonly commit: string;
  /**
   * Where the file is: its path; null if Python has recorded that the repository has no such file; undefined
   * if the cache does not know.
   */
  find(file: string): Promise<string | null | undefined>;
}

/**
 * Finds a revision of a repository in the cache. Returns undefined if the cache does not have it.
 *
 * @param id owner and name
 * @param revision branch, tag or commit
 */
export async function findSnapshot(
  cache: string,
  id: string,
  revision: string,
): Promise<Snapshot | undefined> {
  if (/(^|\/)\.\.?(\/|$)/.test(revision)) return undefined; // must not lead out of the repository's folder
  const repository = join(cache, `models--${id.replace('/', '--')}`);
  const reference = await readFile(join(repository, 'refs', revision), 'utf8').catch(() => revision);
  const commit = reference.trim();
  if (!/^[0-9a-f]{40}$/.test(commit)) return undefined;
  const folder = join(repository, 'snapshots', commit);
  if (!(await isFolder(folder))) return undefined;
  return {
    commit,
    async find(file) {
      if (await isFile(join(folder, file))) return join(folder, file);
      return (await isFile(join(repository, '.no_exist', commit, file))) ? null : undefined;
    },
  };
}

const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * Returns the weights files of a snapshot if it has all of them: model.safetensors, or the index and its
 * shards. Otherwise returns undefined.
 */
export async function weightsIn(snapshot: Snapshot): Promise<readonly string[] | undefined> {
  if (await snapshot.find('model.safetensors')) return ['model.safetensors'];
  const index = await snapshot.find('model.safetensors.index.json');
  if (!index) return undefined;
  const shards = await shardsOf(index);
  const found = await Promise.all(shards.map((name) => snapshot.find(name)));
  return shards.length > 0 && found.every(Boolean) ? shards : undefined;
}

/** Returns the names of the files in an index; none if it cannot be read, which the load then reports. */
async function shardsOf(index: string): Promise<string[]> {
  try {
    const { weight_map: map } = JSON.parse(await readFile(index, 'utf8')) as { weight_map?: object };
    const names = [...new Set(Object.values(map ?? {}) as unknown[])].map(String);
    return names.filter((name) => /^[\w.-]+$/.test(name));
  } catch {
    return [];
  }
}
