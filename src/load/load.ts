/**
 * From a checkpoint to everything that a model consists of: weights on the GPU, kernels compiled and tried.
 */
import { choosePrecision, type Choice } from '../weights/precision.js';
import { mayStartOver } from '../io/part.js';
import { OptionError } from '../errors.js';
import { acquireGpu } from '../gpu/device.js';
import type { LoadOptions, LoadProgress } from '../options.js';
import type { LoadedModel, Making } from './build.js';
import { loadCached } from './cached.js';
import { checkPosEmbed } from './configFile.js';
import { loadFrom } from './fresh.js';
import type { CheckpointSource } from './source.js';

/** Loads from the start, in all, where the file changes on the way or cannot be gone on with. */
const LOADS = 3;

/**
 * Loads a checkpoint. On any failure, an abort included, nothing is left behind on the GPU, once a self-test that
 * is under way has ended; an abort does not wait for that.
 * @throws SourceError, SafetensorsError, ConfigError, CheckpointError, DeviceError; or the signal's reason
 */
export async function loadModel(source: CheckpointSource, options: LoadOptions): Promise<LoadedModel> {
  const { dtype = 'fp32', selfTest = true, posEmbed, prefix, onProgress } = options;
  options.signal?.throwIfAborted();
  if (posEmbed !== undefined) checkPosEmbed(posEmbed);
  if (prefix !== undefined && typeof prefix !== 'string')
    throw new OptionError('OPTION_VALUE', `prefix: expected a string, found ${typeof prefix}.`);
  const gpu = await acquireGpu(options.device); // first: where there is no GPU, nothing is downloaded
  const stopping = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stopping.signal]) : stopping.signal;
  let choice: Choice | undefined;
  try {
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
          stopping.abort(error); // the caller's: what has come so far is as good as after an abort
          throw error;
        }
      };
      const making: Making = {
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
        return await (source.cache
          ? loadCached(source, source.cache, making)
          : loadFrom(source, making, 'the source is no checkpoint on a server'));
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
