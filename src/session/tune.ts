/**
 * Tunes one model: measures which kernels are fastest at its shapes, or uses the stored result of an earlier
 * measurement.
 */
import { DeviceError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { Target } from '../gpu/lowering.js';
import {
  isTunable,
  parseTuning,
  tune,
  tuningKey,
  untuned,
  type Tuning,
  type TuningCase,
} from '../gpu/measure/tuner.js';
import type { TuningStore } from '../gpu/measure/tuningStore.js';
import { Program } from '../gpu/program.js';
import type { Node } from '../graph/graph.js';
import type { DINOv2Config } from '../model/config.js';
import { buildForward, countTokens } from '../model/vit.js';
import type { TuningReport } from '../options.js';
import { untilAborted } from '../platform/abort.js';
import type { ProgramCache } from './programCache.js';
import type { JobQueue } from './queue.js';

/**
 * Chooses the fastest of the kernels that give the same bits, for square images with sides of `sizesPx`
 * pixels. Later forward passes use the chosen kernels.
 *
 * @param store the store from which an earlier result is read, and in which a new result is stored
 * @throws DeviceError; the signal's reason
 */
export async function tuneForwards(
  gpu: Gpu,
  config: DINOv2Config,
  programs: ProgramCache,
  queue: JobQueue,
  sizesPx: readonly number[],
  store: TuningStore | undefined,
  signal?: AbortSignal,
): Promise<Omit<TuningReport, 'ms'>> {
  const base = untuned(programs.target);
  const cases = sizesPx.flatMap((px) => casesOf(config, px, programs.target));
  if (!gpu.alternativesAgree || cases.length === 0)
    return { tuning: undefined, source: 'nothing to choose', samples: [], leftOut: [] };
  const key = tuningKey(gpu, cases, base);
  // If the store fails, the kernels are measured. The store's error is not thrown; the report contains it.
  let storeError: string | undefined;
  const storeFailed = (cause: unknown): void => void (storeError ??= String(cause));
  // The store may be the caller's own and may never answer. It is read outside of the queue, so that no
  // forward pass waits for the store.
  const stored = parseTuning(await untilAborted(async () => store?.get(key), signal).catch(storeFailed));
  signal?.throwIfAborted();
  const result = await queue.run(async () => {
    if (stored && (await passesSelfTest(gpu, config, { ...programs.target, ...stored }, base))) {
      await applyTuning(gpu, config, programs, stored);
      return { tuning: stored, source: 'kept', samples: [], leftOut: [] } as const;
    }
    const { tuning, samples, leftOut } = await tune(gpu, cases, base, signal);
    await applyTuning(gpu, config, programs, tuning);
    return { tuning, source: 'measured', samples, leftOut } as const;
  }, signal);
  if (store && result.source === 'measured')
    await untilAborted(async () => store.set(key, result.tuning), signal).catch(storeFailed);
  return { ...result, storeError };
}

/**
 * Returns the layers of one block for which tuning can choose between several kernels, with the input size
 * of one image of px × px pixels.
 */
function casesOf(config: DINOv2Config, px: number, target: Target): TuningCase[] {
  const side = Math.floor(px / config.patchSize);
  const grid = { batch: 1, rows: side, cols: side };
  const size = { ...grid, numTokens: countTokens(config, grid) };
  const nodes = buildForward(config, grid).graph.nodes.filter(({ label }) => label.startsWith('blocks.0.'));
  return nodes.filter((node) => isTunable(node, target)).map((node) => ({ node, size }));
}

/**
 * Runs the self-test on the kernels of `target` that are not kernels of `tested`. Returns false if a kernel
 * does not compile or gives wrong results.
 */
async function passesSelfTest(
  gpu: Gpu,
  config: DINOv2Config,
  target: Target,
  tested: Target,
): Promise<boolean> {
  const { selfTest } = await import('../gpu/checks/selfTest.js');
  try {
    await selfTest(gpu, nodesOf(config), target, tested);
    return true;
  } catch (error) {
    if (error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE'))
      return false;
    throw error;
  }
}

/** Compiles a tuning's kernels, then makes later programs use them. */
async function applyTuning(
  gpu: Gpu,
  config: DINOv2Config,
  programs: ProgramCache,
  tuning: Tuning,
): Promise<void> {
  const target = { ...programs.target, ...tuning };
  await Program.warmUp(gpu, nodesOf(config), target);
  programs.setTarget(target);
}

/** Returns the nodes of the smallest forward pass. Forward passes of all input sizes use the same kernels. */
function nodesOf(config: DINOv2Config): readonly Node[] {
  return buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph.nodes;
}
