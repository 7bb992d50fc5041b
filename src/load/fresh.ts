/** Loads a checkpoint from its source. Reads and writes a cache entry if the caller passes one. */
import type { CacheEntry } from '../cache/entry.js';
import { untilAborted } from '../platform/abort.js';
import { build, counting, decide, fill, type LoadedModel, type LoadContext } from './build.js';
import { settle } from './settle.js';
import type { CheckpointSource } from './source.js';

/**
 * Loads a checkpoint.
 * @param cache the cache entry to read and write; or a text that says why nothing is cached
 */
export async function loadFrom(
  source: CheckpointSource,
  context: LoadContext,
  cache: CacheEntry | string,
): Promise<LoadedModel> {
  const entry = typeof cache === 'string' ? undefined : cache;
  const { onProgress, fetched } = counting(context.report);
  const checkpoint = await source.open({ ...context, onProgress, entry });
  const { stream, uncachedReason } = checkpoint;
  try {
    const settled = await settle(stream.header, checkpoint, context);
    const { config, tensors } = settled;
    const decision = decide(context, config);
    await untilAborted(() => decision.known, context.signal);
    await entry?.begin(uncachedReason, source.cache?.persist ?? false);
    return await build(context, decision, { ...checkpoint, config, tensors }, async (storage, signal) => {
      const loaded = await fill(context, stream, settled, storage, signal);
      await entry?.finish();
      const fetchedBytes = source.local ? 0 : fetched();
      const report = { fetchedBytes, cachedBytes: 0, cache: 'none', cacheReason: String(cache) } as const;
      return { ...loaded, report: entry?.report ?? report };
    });
  } catch (error) {
    await stream.cancel(error).catch(() => undefined); // a second error must not hide the first
    throw error;
  }
}
