/**
 * Loads a checkpoint into a model: weights on the GPU, kernels compiled and tested.
 */
import { choosePrecision, type PrecisionChoice } from '../weights/precision.js';
import { mayStartOver } from '../io/part.js';
import { OptionError } from '../errors.js';
import { acquireGpu } from '../gpu/device.js';
import { loadPart } from '../platform/part.js';
import type { LoadOptions, LoadProgress } from '../options.js';
import type { LoadContext, ReloadableModel } from './build.js';
import { loadCached } from './cached.js';
import { checkPosEmbed } from './configFile.js';
import { loadFrom } from './fresh.js';
import type { CheckpointSource } from './source.js';

/**
 * Largest number of attempts. A load starts again if a file changes during it, or a download cannot be
 * resumed.
 */
const LOADS = 3;

/**
 * Loads a checkpoint. After a failure or an abort, all GPU resources are freed, at the latest when a
 * running self-test has ended. An abort does not wait for the self-test.
 * @throws SourceError, SafetensorsError, ConfigError, CheckpointError, DeviceError; or the signal's reason
 */
export async function loadModel(source: CheckpointSource, options: LoadOptions): Promise<ReloadableModel> {
  const { dtype = 'fp32', selfTest = true, posEmbed, prefix, onProgress, debug } = options;
  const startMs = performance.now();
  options.signal?.throwIfAborted();
  if (posEmbed !== undefined) checkPosEmbed(posEmbed);
  if (prefix !== undefined && typeof prefix !== 'string')
    throw new OptionError('OPTION_VALUE', `prefix: expected a string, found ${typeof prefix}.`);
  let gpu = await acquireGpu(options.device); // comes first, so that nothing is downloaded if there is no GPU
  const stopping = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stopping.signal]) : stopping.signal;
  let choice: PrecisionChoice | undefined;
  try {
    if (debug !== undefined) {
      const { debugGpu } = await loadPart(import('../gpu/debug/debugGpu.js'));
      gpu = debugGpu(gpu, debug, options.onTrace);
    }
    choice = choosePrecision(gpu, dtype, selfTest);
    for (let load = 1; ; load++) {
      let progress: LoadProgress = {
        loadedBytes: 0,
        totalBytes: undefined,
        loadedTensors: 0,
        totalTensors: 0,
      };
      const report = (news: Partial<LoadProgress>): void => {
        progress = { ...progress, ...news };
        try {
          onProgress?.(progress);
        } catch (error) {
          stopping.abort(error); // an error of the caller's `onProgress`; stored blocks stay valid
          throw error;
        }
      };
      const context: LoadContext = {
        startMs,
        gpu,
        choice,
        posEmbed,
        prefix,
        signal,
        report,
        reload: load > 1,
        whole: load === LOADS,
      };
      try {
        const model = await (source.cache
          ? loadCached(source, source.cache, context)
          : loadFrom(source, context, 'the source is no checkpoint on a server'));
        // A reload uses the cached files as they are. A newer version would be a different model.
        const kept = { ...source, cache: source.cache && { ...source.cache, ask: undefined } };
        const reload: ReloadableModel['reload'] = (changes) => loadModel(kept, { ...options, ...changes });
        return { ...model, reload: source.once ? undefined : reload };
      } catch (error) {
        if (load === LOADS || !mayStartOver(error) || signal.aborted) throw error;
      }
    }
  } catch (error) {
    const released = (choice?.settled() ?? Promise.resolve()).then(() => gpu.release());
    if (!signal.aborted) await released;
    throw error;
  }
}
