/** Lists, removes and checks the models in the weight cache, and locks cache entries. */
import { host } from '../platform/host.js';
import { withLock } from '../storage/lock.js';
import { openStore, type CacheStore } from '../storage/store.js';
import { namesOf, readManifest, weightsBytes, type Manifest } from './format.js';
import { checkOptions } from '../optionNames.js';
import { askSource, type AskOptions, type SourceState } from './revalidate.js';

/** A cached checkpoint. It serves loads with any `dtype`, because the files are stored unchanged. */
export interface CachedModel {
  /** The argument of `fromPretrained`. */
  readonly id: string;
  /** The URL of the model's folder, with the revision. */
  readonly url: string;
  /** Size in bytes of the model's weights files when complete. */
  readonly bytes: number;
  /** False if the download was interrupted. The next load resumes it. */
  readonly complete: boolean;
  /** The storage that holds the entry: of the browser, or in Node a `folder`. */
  readonly store: 'opfs' | 'cache-api' | 'folder';
}

/**
 * Runs `task` while no other page works on the cache entry, so that two pages that load one model download
 * it once. If the page cannot use locks, `task` runs without one: blocks that a different page writes at the
 * same time have different checksums, so they are not mistaken for this load's blocks.
 */
export const exclusively = <T>(
  key: string,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
): Promise<T> => withLock(`dinov2-webgpu ${key}`, signal, task, task);

async function stores(): Promise<CacheStore[]> {
  const kinds = host.openStore ? (['auto'] as const) : (['opfs', 'cache-api'] as const);
  const opened = await Promise.all(kinds.map((kind) => openStore(kind)));
  return opened.filter((store) => typeof store !== 'string');
}

/**
 * Returns the manifest of a cache entry; undefined if the entry has been removed since it was listed.
 * Writes nothing.
 */
const manifestOf = async (store: CacheStore, key: string): Promise<Manifest | undefined> =>
  readManifest(await store.existing(key));

/**
 * Lists the models that are cached for this origin. The list is empty if this page may not use the
 * browser's storage. Writes nothing.
 * @example
 * ```js
 * for (const { id, bytes } of await listCached()) console.log(id, bytes);
 * ```
 */
export async function listCached(): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const store of await stores()) {
    for (const key of await store.keys()) {
      const folder = await store.existing(key);
      const manifest = await readManifest(folder);
      if (!manifest) continue;
      const there = new Set(await folder!.names());
      found.push({
        id: manifest.id,
        url: manifest.folder,
        bytes: weightsBytes(manifest),
        complete: namesOf(manifest).every((name) => there.has(name)),
        store: store.kind,
      });
    }
  }
  return found;
}

/**
 * Returns whether a cache entry was loaded with this id, or from the folder with this URL. Several ids can
 * share one folder.
 */
const belongs = (manifest: Manifest | undefined, id: string): boolean =>
  manifest?.id === id || manifest?.folder === id;

/**
 * Deletes the cached files of one model, or of all models. Waits until running loads of these models have
 * ended.
 * @param id the `id` or `url` of a model, as in the result of `listCached`. Default: all models
 * @returns the number of deleted models
 * @example
 * ```js
 * await removeCached('facebook/dinov2-small');
 * ```
 */
export async function removeCached(id?: string): Promise<number> {
  let removed = 0;
  for (const store of await stores()) {
    const isMeant = async (key: string): Promise<boolean> =>
      id === undefined || belongs(await manifestOf(store, key), id);
    for (const key of await store.keys()) {
      if (!(await isMeant(key))) continue;
      removed += await exclusively(key, undefined, async () => {
        if (!(await isMeant(key))) return 0; // the entry may have changed while this call waited for the lock
        await store.remove(key);
        return 1;
      });
    }
  }
  return removed;
}

/**
 * Asks the server of a cached model whether it has a newer version. Requests one byte of each weights file,
 * and all of config.json and preprocessor_config.json. Nothing is loaded or removed. If the result is
 * `changed`, call `removeCached(id)` and load again, or load with `revalidate`.
 * @param id the argument of `fromPretrained`, or the folder's URL; all cache entries with this id or URL are
 *   checked
 * @returns `unknown` if nothing is cached, or if the server sends neither ETag nor Last-Modified
 * @throws SourceError if the request fails; OptionError OPTION_VALUE, OPTION_NAME; the signal's reason
 * @example
 * ```js
 * if ((await checkForUpdate(id)) === 'changed') await removeCached(id);
 * ```
 */
export async function checkForUpdate(id: string | URL, options: AskOptions = {}): Promise<SourceState> {
  checkOptions('checkForUpdate', options);
  const states: SourceState[] = [];
  for (const store of await stores()) {
    for (const key of await store.keys()) {
      const manifest = await manifestOf(store, key);
      if (manifest && belongs(manifest, String(id))) states.push(await askSource(manifest, options));
    }
  }
  if (states.includes('changed')) return 'changed';
  return states.length === 0 || states.includes('unknown') ? 'unknown' : 'current';
}
