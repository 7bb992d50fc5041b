/** Loads a checkpoint from its source, through an entry of the cache where there is one. */
import type { CacheEntry } from '../cache/entry.js';
import { untilAborted } from '../platform/abort.js';
import { build, counting, decide, fill, type LoadedModel, type Making } from './build.js';
import { settle } from './settle.js';
import type { CheckpointSource } from './source.js';

/**
 * @param cache what is kept is read from it, and what is fetched is kept in it; or in a sentence why nothing is
 *   kept
 */
export async function loadFrom(
  source: CheckpointSource,
  making: Making,
  cache: CacheEntry | string,
): Promise<LoadedModel> {
  const entry = typeof cache === 'string' ? undefined : cache;
  const { onProgress, fetched } = counting(making.report);
  const checkpoint = await source.open({ ...making, onProgress, entry });
  const { stream, unkept } = checkpoint;
  try {
    const settled = await settle(stream.header, checkpoint, making);
    const { config, tensors } = settled;
    const decision = decide(making, config);
    await untilAborted(() => decision.known, making.signal);
    await entry?.begin(unkept, source.cache?.persist ?? false);
    return await build(making, decision, { ...checkpoint, config, tensors }, async (storage, signal) => {
      const loaded = await fill(making, stream, settled, storage, signal);
      await entry?.finish();
      const fetchedBytes = source.local ? 0 : fetched();
      const report = { fetchedBytes, cachedBytes: 0, cache: 'none', cacheReason: String(cache) } as const;
      return { ...loaded, report: entry?.report ?? report };
    });
  } catch (error) {
    await stream.cancel(error).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}
