/** Implements `DINOv2.tune`. */
import { OptionError } from '../errors.js';
import { defaultStore } from '../gpu/measure/tuningStore.js';
import type { TuneOptions, TuningReport } from '../options.js';
import type { Sessions } from './sessions.js';
import { show } from '../platform/json.js';

/**
 * Chooses the fastest kernels for later forward passes of a model.
 * @throws OptionError OPTION_VALUE, DeviceError; the signal's reason
 */
export async function tuneModel(
  sessions: Sessions,
  { sizesPx = [224, 518], store = defaultStore(), arithmetic = false, signal }: TuneOptions,
  patchSize: number,
): Promise<TuningReport> {
  const wrong = sizesPx.find((px) => !Number.isInteger(px) || px < patchSize);
  if (wrong !== undefined || sizesPx.length === 0) {
    throw new OptionError(
      'OPTION_VALUE',
      `tune: expected sizesPx to be whole numbers of pixels, at least ${patchSize}, found ${show(wrong ?? 'none')}.`,
    );
  }
  return sessions.run(async () => {
    const startMs = performance.now();
    const setting = { sizesPx, store: store || undefined, arithmetic, signal };
    let session;
    let report;
    do {
      session = sessions.current;
      report = await session.forwards.tune(setting);
    } while (session !== sessions.current); // a recovery has replaced the session, which has other kernels
    sessions.tuned = {
      sizesPx,
      tuning: report.tuning,
      arithmetic: report.arithmetic ?? sessions.tuned?.arithmetic,
    };
    return { ...report, ms: performance.now() - startMs };
  }, signal);
}
