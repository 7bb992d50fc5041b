/** Loads a checkpoint from the browser's storage, as far as it is there, and keeps there what is fetched. */
import { exclusively } from '../cache/cachedModels.js';
import { CacheEntry, cacheKey, readManifest, type Manifest } from '../cache/entry.js';
import type { SourceState } from '../cache/revalidate.js';
import { DeviceError, SourceError } from '../errors.js';
import { mayStartOver } from '../io/part.js';
import { openStore } from '../storage/store.js';
import type { LoadedModel, Making } from './build.js';
import { loadFrom } from './fresh.js';
import type { CacheRequest, CheckpointSource } from './source.js';

export async function loadCached(
  source: CheckpointSource,
  cache: CacheRequest,
  making: Making,
): Promise<LoadedModel> {
  const { signal, reload } = making;
  const store = await openStore(cache.kind);
  if (typeof store === 'string') return loadFrom(source, making, store);
  const key = await cacheKey(cache.folder);
  return exclusively(key, signal, async () => {
    const folder = await store.existing(key).catch((error: unknown) => `the cache failed: ${String(error)}`);
    if (typeof folder === 'string') return loadFrom(source, making, folder);
    const kept = reload ? undefined : await readManifest(folder); // what could not be loaded before is replaced
    const known = kept && sameIntegrity(kept.integrity, cache.integrity) ? kept : undefined;
    const { state, reason } = known && cache.ask ? await ask(cache.ask, known, signal) : NOT_ASKED;
    const changed = state === 'changed';
    const entry = new CacheEntry(store, key, folder, cache, changed ? undefined : known);
    try {
      const model = await loadFrom(source, changed ? { ...making, reload: true } : making, entry);
      if (changed) return model;
      return { ...model, report: { ...model.report, cacheReason: model.report.cacheReason + reason } };
    } catch (error) {
      await entry.stop();
      if (!isInterruption(error, signal)) await store.remove(key).catch(() => undefined); // the first error is the one to tell
      throw error;
    }
  });
}

interface Asked {
  readonly state?: SourceState;
  /** What is said of it in `cacheReason`. */
  readonly reason: string;
}

const NOT_ASKED: Asked = { reason: '' };

/** What a source says of an entry, and words for it: no answer is one too. */
async function ask(
  question: NonNullable<CacheRequest['ask']>,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<Asked> {
  try {
    const state = await question(manifest);
    const reason =
      state === 'unknown'
        ? '; its server does not tell whether it is the newest'
        : '; its server has no other';
    return { state, reason };
  } catch (error) {
    signal.throwIfAborted();
    const text = error instanceof Error ? error.message : String(error);
    return { reason: `; whether it is the newest could not be asked (${text})` };
  }
}

/** What was checked and is not asked for any more does no harm. */
function sameIntegrity(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.entries(b).every(([file, hash]) => a[file] === hash);
}

/**
 * Whether what has come so far is good, and worth going on with: also where a network that wants a login sent
 * its page, or led elsewhere.
 */
function isInterruption(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof DeviceError) return true;
  return error instanceof SourceError && /FETCH|TRUNCATED|HTML|URL/.test(error.code) && !mayStartOver(error);
}
