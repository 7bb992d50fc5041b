/**
 * Loads a checkpoint through the cache: stored blocks are read, all other blocks are fetched and then
 * stored.
 */
import { exclusively } from '../cache/cachedModels.js';
import { CacheEntry } from '../cache/entry.js';
import { cacheKey, readManifest, type Manifest } from '../cache/format.js';
import type { SourceState } from '../cache/revalidate.js';
import { CheckpointError, DeviceError, SafetensorsError, SourceError } from '../errors.js';
import { mayStartOver } from '../io/part.js';
import { openStore } from '../storage/store.js';
import type { LoadedModel, LoadContext } from './build.js';
import { loadFrom } from './fresh.js';
import type { CacheRequest, CheckpointSource } from './source.js';

export async function loadCached(
  source: CheckpointSource,
  cache: CacheRequest,
  context: LoadContext,
): Promise<LoadedModel> {
  const { signal, reload } = context;
  const store = await openStore(cache.kind);
  if (typeof store === 'string') return loadFrom(source, context, store);
  const key = await cacheKey(cache.folder);
  return exclusively(key, signal, async () => {
    const folder = await store.existing(key).catch((error: unknown) => `the cache failed: ${String(error)}`);
    if (typeof folder === 'string') return loadFrom(source, context, folder);
    const kept = reload ? undefined : await readManifest(folder); // a reload replaces the stored entry
    const known = kept && sameIntegrity(kept.integrity, cache.integrity) ? kept : undefined;
    const { state, reason } = known && cache.ask ? await ask(cache.ask, known, signal) : NOT_ASKED;
    const changed = state === 'changed';
    const entry = new CacheEntry(store, key, folder, cache, changed ? undefined : known);
    try {
      const model = await loadFrom(source, changed ? { ...context, reload: true } : context, entry);
      if (changed) return model;
      return { ...model, report: { ...model.report, cacheReason: model.report.cacheReason + reason } };
    } catch (error) {
      await entry.stop();
      const keep = isInterruption(error, signal) || isNoFaultOfTheFiles(error, known !== undefined);
      if (!keep) await store.remove(key).catch(() => undefined); // a second error must not hide the first
      throw error;
    }
  });
}

interface Asked {
  readonly state?: SourceState;
  /** Text that is appended to `cacheReason` of the load report. */
  readonly reason: string;
}

const NOT_ASKED: Asked = { reason: '' };

/**
 * Asks the server whether a cache entry is current, and describes the answer in words. A failed request is
 * no error, but part of the description.
 */
async function ask(
  question: NonNullable<CacheRequest['ask']>,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<Asked> {
  try {
    const state = await question(manifest, signal);
    const reason =
      state === 'unknown'
        ? '; the server does not say whether it is the newest version'
        : '; the server has the same version';
    return { state, reason };
  } catch (error) {
    signal.throwIfAborted();
    const text = error instanceof Error ? error.message : String(error);
    return { reason: `; the server could not be asked for a newer version (${text})` };
  }
}

/** Returns whether a cache entry was checked against every hash that this load expects. */
function sameIntegrity(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.entries(b).every(([file, hash]) => a[file] === hash);
}

/**
 * Returns whether a failed load leaves good blocks, from which a later load can resume. True also if the
 * network answered with a login page or redirected to one, because the stored blocks are then still right.
 */
function isInterruption(error: unknown, signal: AbortSignal): boolean {
  if (signal.aborted || error instanceof DeviceError) return true;
  return error instanceof SourceError && /FETCH|TRUNCATED|HTML|URL/.test(error.code) && !mayStartOver(error);
}

/**
 * Whether stored blocks remain useful although the load failed. True in two cases: a weight is too large
 * for the requested `dtype`; or an earlier load has stored the files, and this load failed for a reason
 * such as a wrong `prefix`.
 */
function isNoFaultOfTheFiles(error: unknown, stored: boolean): boolean {
  if (error instanceof SourceError || error instanceof SafetensorsError) return false;
  return stored || (error instanceof CheckpointError && error.code === 'CHECKPOINT_RANGE');
}
