/** What of models is kept in the browser: who may use it when, what there is, and how to be rid of it. */
import { openStore, type CacheStore } from '../storage/store.js';
import { readPlan, type CachePlan } from './cacheEntry.js';
import { checkOptions } from '../optionNames.js';
import { askSource, type AskOptions, type SourceState } from './revalidate.js';

/** Packed weights in the browser's storage. */
export interface CachedModel {
  /** As `fromPretrained` was told. */
  readonly id: string;
  /** The folder that it came from, with the revision. */
  readonly url: string;
  readonly dtype: string;
  /** Of the packed weights, when all are there. */
  readonly bytes: number;
  /** False for a download that was interrupted: the next load goes on with it. */
  readonly complete: boolean;
  readonly store: 'opfs' | 'cache-api';
}

/**
 * Runs `task` while nobody else, in this page or another, works on the entry: two pages that load one model
 * download it once. Ends with the page, however that ends.
 */
export async function exclusively<T>(
  key: string,
  signal: AbortSignal | undefined,
  task: () => Promise<T>,
): Promise<T> {
  const locks = (globalThis.navigator as Navigator | undefined)?.locks as LockManager | undefined;
  if (!locks) return task();
  let begun = false;
  const begin = (): Promise<T> => {
    begun = true;
    return task();
  };
  try {
    return (await locks.request(`dinov2-webgpu ${key}`, signal ? { signal } : {}, begin)) as T;
  } catch (error) {
    if (begun || signal?.aborted === true) throw error;
    return task(); // a page that may not have locks (sandboxed, or on its way out) loads all the same; who writes beside it breaks the chain of seals
  }
}

async function stores(): Promise<CacheStore[]> {
  const opened = await Promise.all([openStore('opfs'), openStore('cache-api')]);
  return opened.filter((store) => typeof store !== 'string');
}

/** What an entry says of itself; undefined if it has been removed since it was listed. Writes nothing. */
async function planOf(store: CacheStore, key: string): ReturnType<typeof readPlan> {
  const folder = await store.existing(key);
  return folder && readPlan(folder);
}

/** The models whose weights are kept for this origin; empty where nothing can be kept. */
export async function listCached(): Promise<CachedModel[]> {
  const found: CachedModel[] = [];
  for (const store of await stores()) {
    for (const key of await store.keys()) {
      const known = await planOf(store, key);
      if (known)
        found.push({
          id: known.plan.id,
          url: known.plan.folder,
          dtype: known.plan.dtype,
          bytes: known.plan.packedBytes,
          complete: known.complete,
          store: store.kind,
        });
    }
  }
  return found;
}

/**
 * By what `fromPretrained` was told, or by the folder that it stands for: several may have loaded the one
 * entry.
 */
const belongs = (plan: CachePlan | undefined, id: string): boolean => plan?.id === id || plan?.folder === id;

/**
 * Frees what is kept of the model with this id (or `url`, as `listCached` gives it), in every element type;
 * of all models, and whatever else is there, without an id. Waits for loads of it that are under way.
 * Resolves to how many.
 */
export async function removeCached(id?: string): Promise<number> {
  let removed = 0;
  for (const store of await stores()) {
    for (const key of await store.keys()) {
      removed += await exclusively(key, undefined, async () => {
        if (id !== undefined && !belongs((await planOf(store, key))?.plan, id)) return 0;
        await store.remove(key);
        return 1;
      });
    }
  }
  return removed;
}

/**
 * Asks the server of a kept model whether it has another version by now: for one byte of each file, and for
 * config.json and preprocessor_config.json. Nothing is loaded or removed; where it is `changed`, `removeCached(id)` makes the next load
 * fetch it (or load with `revalidate`, which does both).
 * @param id as `fromPretrained` was told, or the folder's URL; all that is kept under it is asked for
 * @returns `unknown` where nothing is kept, or where the server says nothing that tells versions apart
 * @throws SourceError if the server cannot be asked; OptionError OPTION_VALUE, OPTION_NAME; the signal's
 *   reason
 */
export async function checkForUpdate(id: string | URL, options: AskOptions = {}): Promise<SourceState> {
  checkOptions('checkForUpdate', options);
  const states: SourceState[] = [];
  for (const store of await stores()) {
    for (const key of await store.keys()) {
      const plan = (await planOf(store, key))?.plan;
      if (plan && belongs(plan, String(id))) states.push(await askSource(plan, options));
    }
  }
  if (states.includes('changed')) return 'changed';
  return states.length === 0 || states.includes('unknown') ? 'unknown' : 'current';
}
