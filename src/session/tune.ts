/**
 * Tunes one model: measures which kernels are fastest at its shapes, or uses the stored result of an earlier
 * measurement.
 */
import { DeviceError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import { tunedKernels } from '../gpu/kernels/tunedKernels.js';
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
import { Program } from '../gpu/program.js';
import type { Node } from '../graph/graph.js';
import type { DINOv2Config } from '../model/config.js';
import { buildForward, countTokens } from '../model/vit.js';
import type { TuningReport } from '../options.js';
import { untilAborted } from '../platform/abort.js';
import { loadPart } from '../platform/part.js';
import type { Weights } from '../weights/weightMemory.js';
import type { ProgramCache } from './programCache.js';
import type { JobQueue } from './queue.js';
import type { ArithmeticChoice } from './tuneArithmetic.js';
import { tuneStoreErrors } from './tuneErrors.js';
import type { TuneSetting } from './tuneSetting.js';

/** The target on which a tuning is based, and what to report of its arithmetic. */
interface Base {
  readonly target: Target;
  readonly arithmetic?: ArithmeticChoice | undefined;
}

/**
 * Chooses the fastest of the kernels that give the same bits, for square images with sides of `sizesPx`
 * pixels. Later forward passes use the chosen kernels. With `arithmetic`, also chooses between f32 and f16
 * arithmetic in linear layers, whose bits differ.
 *
 * @throws DeviceError; the signal's reason
 */
export async function tuneForwards(
  gpu: Gpu,
  config: DINOv2Config,
  programs: ProgramCache,
  queue: JobQueue,
  weights: Weights,
  { sizesPx, store, arithmetic, signal }: TuneSetting,
): Promise<Omit<TuningReport, 'ms'>> {
  const part = arithmetic ? await loadPart(import('./tuneArithmetic.js')) : undefined;
  const target = untuned(programs.target);
  const targets = part?.targetsOf(target, weights);
  const both = typeof targets === 'object' ? targets : undefined;
  const single: Base = {
    target,
    arithmetic: part && { used: part.arithmeticOf(target), reason: String(targets) },
  };
  const cases = sizesPx.flatMap((px) => casesOf(config, px, programs.target));
  const nodes = nodesOf(config);
  // Without a self-test at the load, it is not known yet whether the kernels of an operation give the same bits.
  if (both && cases.length > 0 && gpu.alternativesAgree)
    await queue.run(() => part!.faultOf(gpu, nodes, both.f32), signal);
  // With kernels left out, the measured kernels would not be those of the numbers that a tuning consists of.
  if (!gpu.alternativesAgree || cases.length === 0 || target.keep) {
    // The model was loaded before this was known.
    if (!gpu.alternativesAgree && target.wantedLanes !== 0)
      await queue.run(async () => programs.setTarget({ ...target, wantedLanes: 0 }), signal);
    const reason = 'This adapter has only one kernel for each operation.';
    const report = { tuning: undefined, source: 'nothing to choose', samples: [], leftOut: [] } as const;
    return { ...report, arithmetic: single.arithmetic && { ...single.arithmetic, reason } };
  }
  const key = (both ? [both.f32, both.f16] : [target]).map((each) => tuningKey(gpu, cases, each)).join();
  // If the store fails, the kernels are measured. The store's error is not thrown; the report contains it.
  let storeError: string | undefined;
  const storeFailed = (cause: unknown): void => {
    if (signal?.aborted) return;
    tuneStoreErrors.set(gpu, (storeError ??= String(cause)));
  };
  // The store may be the caller's own and may never answer. It is read outside of the queue, so that no
  // forward pass waits for the store.
  const stored = parseTuning(await untilAborted(async () => store?.get(key), signal).catch(storeFailed));
  signal?.throwIfAborted();
  const cosine = (): Promise<number> => part!.smallestCosineOf(gpu, config, weights, both!, signal);
  /** The base of a stored tuning. Undefined if the tuning cannot be used. */
  const baseOf = async (kept: Tuning): Promise<Base | undefined> => {
    if (!both) return (kept.arithmetic ?? 'f32') === (single.arithmetic?.used ?? 'f32') ? single : undefined;
    if (!kept.arithmetic) return undefined;
    const wanted = both[kept.arithmetic];
    if ((await part!.faultOf(gpu, nodes, wanted)) !== undefined) return undefined;
    if (kept.arithmetic === 'f32')
      return {
        target: wanted,
        arithmetic: { used: 'f32', reason: 'f32 arithmetic: an earlier measurement chose it.' },
      };
    const judged = part!.judged(await cosine());
    return judged.used === 'f16' ? { target: wanted, arithmetic: judged } : undefined;
  };
  const result = await queue.run(async () => {
    const kept = stored && (await baseOf(stored));
    if (stored && kept && (await passesSelfTest(gpu, nodes, withTuning(kept.target, stored), kept.target))) {
      await applyTuning(gpu, nodes, programs, kept.target, stored);
      return {
        tuning: stored,
        source: 'kept',
        samples: [],
        leftOut: [],
        arithmetic: kept.arithmetic,
      } as const;
    }
    const measured = both
      ? await part!.tuneBoth(gpu, nodes, cases, both, target, cosine, signal)
      : { ...(await tune(gpu, cases, target, signal)), base: single };
    const { tuning, samples, leftOut, base } = measured;
    await applyTuning(gpu, nodes, programs, base.target, tuning);
    return { tuning, source: 'measured', samples, leftOut, arithmetic: base.arithmetic } as const;
  }, signal);
  if (store && result.source === 'measured')
    await untilAborted(async () => store.set(key, result.tuning), signal).catch(storeFailed);
  if (store && storeError === undefined) tuneStoreErrors.delete(gpu);
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
  nodes: readonly Node[],
  target: Target,
  tested: Target,
): Promise<boolean> {
  const { selfTest } = await import('../gpu/checks/selfTest.js');
  try {
    await selfTest(gpu, nodes, target, tested);
    return true;
  } catch (error) {
    if (error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE'))
      return false;
    throw error;
  }
}

/** A target with the kernels that a tuning selects. */
const withTuning = (target: Target, tuning: Tuning): Target => ({
  ...target,
  ...tuning,
  tuned: tunedKernels,
});

/** Compiles a tuning's kernels, then makes later programs use them. */
async function applyTuning(
  gpu: Gpu,
  nodes: readonly Node[],
  programs: ProgramCache,
  base: Target,
  tuning: Tuning,
): Promise<void> {
  const target = withTuning(base, tuning);
  await Program.warmUp(gpu, nodes, target);
  programs.setTarget(target);
}

/** Returns the nodes of the smallest forward pass. Forward passes of all input sizes use the same kernels. */
function nodesOf(config: DINOv2Config): readonly Node[] {
  return buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph.nodes;
}
