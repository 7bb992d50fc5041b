/** Loads a checkpoint from its source. */
import type { CacheWriter } from '../cache/cacheEntry.js';
import { untilAborted } from '../platform/abort.js';
import type { Candidate } from '../weights/precision.js';
import type { DINOv2Config } from '../model/config.js';
import type { LoadReport } from '../options.js';
import { build, counting, decide, fill, type LoadedModel, type Making } from './build.js';
import { settle } from './settle.js';
import type { Checkpoint, CheckpointSource } from './source.js';

/** Makes ready to keep a checkpoint's weights as they are stored, or says in a sentence why they are not kept. */
export type Keep = (
  precision: Candidate,
  checkpoint: Checkpoint,
  config: DINOv2Config,
  prefix: string,
) => Promise<CacheWriter | string>;

/** Loads what is kept nowhere, or not yet. */
export async function loadFresh(source: CheckpointSource, making: Making, keep?: Keep): Promise<LoadedModel> {
  const { onProgress, fetched } = counting(making.report);
  const checkpoint = await source.open({ ...making, onProgress });
  const { stream } = checkpoint;
  try {
    const { config, tensors } = settle(stream.header, checkpoint, making);
    const decision = decide(making, config);
    const precision = await untilAborted(() => decision.known, making.signal);
    const writer = await keep?.(precision, checkpoint, config, tensors.prefix);
    return await build(making, decision, { ...checkpoint, config, tensors }, async (storage, signal) => {
      const loaded = await fill(making, stream, config, storage, signal, {
        prefix: tensors.prefix,
        writer: typeof writer === 'string' ? undefined : writer,
      });
      return {
        ...loaded,
        report: {
          fetchedBytes: source.local ? 0 : fetched(),
          cachedBytes: 0,
          ...outcome(writer ?? 'the source is no checkpoint on a server'),
        },
      };
    });
  } catch (error) {
    await stream.cancel(error).catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}

/** What has become of keeping the weights. */
export function outcome(writer: CacheWriter | string): Pick<LoadReport, 'cache' | 'cacheReason'> {
  if (typeof writer === 'string') return { cache: 'none', cacheReason: writer };
  if (writer.failure !== undefined)
    return { cache: 'none', cacheReason: `writing to the cache failed: ${String(writer.failure)}` };
  return { cache: writer.kind, cacheReason: 'kept for the next time' };
}
