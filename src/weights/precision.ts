/**
 * Chooses the element type of a model's matrices on a GPU adapter: the requested type, if its kernels pass
 * the self-test.
 */
import { DeviceError, OptionError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import { targetOf, type Target } from '../gpu/lowering.js';
import { Program } from '../gpu/program.js';
import type { Node } from '../graph/graph.js';
import { loadPart } from '../platform/part.js';

/**
 * Element type of a model's matrices. With every type, norms, the softmax and everything between layers are
 * f32, and so are the sums of products. Exception: on some GPUs, linear layers of `fp16` models add products
 * in f16 in runs of 16, and add the runs in f32 (`DINOv2.dtypeReason` says so).
 */
export type Dtype = 'fp32' | 'fp16' | 'int8';

/** An element type that may be chosen, with the storage layout of its weights. */
export interface Candidate {
  readonly dtype: Dtype;
  readonly storage: WeightStorage;
}

/** The chosen element type, with the reason for the choice. */
export interface Precision extends Candidate {
  readonly reason: string;
  /** Duration of the self-test in milliseconds. Undefined if the self-test was switched off. */
  readonly selfTestMs?: number;
  /** The errors of the storage layouts that were tried before, in order. */
  readonly failures?: readonly DeviceError[];
  /** More properties of the target: f16 arithmetic. */
  readonly more?: Partial<Target>;
  /** Decides again if a weight is too large for f16 arithmetic (`PanelPacker.large`). */
  readonly withLargeWeights?: () => Promise<Precision>;
}

/** The element type of a model, available as soon as it is known, and the result of the self-test. */
export interface PrecisionDecision {
  /**
   * The storage layout of the weights. If all candidates (element types that may be chosen) share one
   * layout, as f16 and f16-packed do, the promise resolves at once, and the self-test may still choose
   * different kernels for the same bytes. Otherwise it resolves together with `tested`.
   */
  readonly known: Promise<Candidate>;
  /**
   * Resolves when the kernels are compiled and have passed the self-test. If the self-test is switched off,
   * resolves when they are compiled.
   */
  readonly tested: Promise<Precision>;
}

/** Chooses the element type for one load. */
export interface PrecisionChoice {
  /**
   * Decides for a model: compiles the kernels of these nodes and runs the self-test. If the self-test is
   * switched off, chooses the first candidate (the most preferred element type) without a test.
   * @throws (both promises) DeviceError KERNEL_WRONG or KERNEL_COMPILE if for every element type that may
   *   be chosen the kernels fail the self-test or do not compile
   */
  decide(nodes: readonly Node[]): PrecisionDecision;
  /** Resolves when every call of `decide` has ended. Until then the device is in use. */
  settled(): Promise<void>;
}

/**
 * GPUs on which linear layers compute with f16, if the self-test agrees: those for which compilers need the
 * fewest instructions with f16 (bench/RESULTS.md).
 */
const FAST_F16 = /^(gcn-5|rdna-[12])$/;

/**
 * Returns the element types to try, in order of preference. The first whose kernels pass the self-test is
 * used.
 */
function candidates(wanted: Dtype | 'auto', gpu: Gpu): Candidate[] {
  const packed: Candidate = { dtype: 'fp16', storage: 'f16-packed' };
  const half: Candidate[] = gpu.device.features.has('shader-f16')
    ? [{ dtype: 'fp16', storage: 'f16' }, packed]
    : [packed];
  switch (wanted) {
    case 'fp32':
      return [{ dtype: 'fp32', storage: 'f32' }];
    case 'fp16':
      return half;
    case 'int8':
      return [{ dtype: 'int8', storage: 'int8' }];
    case 'auto':
      return [...half, { dtype: 'fp32', storage: 'f32' }];
    default:
      throw new OptionError(
        'OPTION_VALUE',
        `dtype: expected 'auto', 'fp32', 'fp16' or 'int8', found ${JSON.stringify(wanted)}.`,
      );
  }
}

/**
 * Prepares the choice of the element type.
 * @param test whether to run the self-test
 * @throws OptionError OPTION_VALUE if `wanted` is no element type
 */
export function choosePrecision(gpu: Gpu, wanted: Dtype | 'auto', test: boolean): PrecisionChoice {
  const all = candidates(wanted, gpu);
  const [likely, ...others] = all;
  const alike = others.every(({ dtype }) => dtype === likely!.dtype);
  const decisions: Promise<Precision>[] = [];
  const loading = test ? import('../gpu/checks/selfTest.js') : undefined; // loading starts now, so that the code has arrived when the model is known
  loading?.catch(() => undefined); // the error is reported where `loading` is awaited
  return {
    decide(nodes) {
      const tested = firstThatPasses(gpu, nodes, all, wanted, loading);
      decisions.push(tested);
      const known = alike ? Promise.resolve(likely!) : tested;
      for (const each of [tested, known]) each.catch(() => undefined); // the errors are reported where these promises are awaited
      return { known, tested };
    },
    settled: async () => void (await Promise.allSettled(decisions)),
  };
}

async function firstThatPasses(
  gpu: Gpu,
  nodes: readonly Node[],
  all: readonly Candidate[],
  wanted: Dtype | 'auto',
  loading: Promise<typeof import('../gpu/checks/selfTest.js')> | undefined,
): Promise<Precision> {
  const why = wanted === 'auto' ? "chosen by 'auto'" : 'as requested';
  const failures: DeviceError[] = [];
  if (loading && all[0]!.storage === 'f16' && FAST_F16.test(gpu.info.architecture)) {
    const { tryF16 } = await loadPart(import('./f16Arithmetic.js'));
    const tried = await tryF16(gpu, nodes, why);
    if ('reason' in tried) return tried;
    failures.push(tried);
  }
  for (const { dtype, storage } of all) {
    const chosen = `${dtype}, stored as ${storage}, ${why}`;
    const target = targetOf(gpu, storage);
    if (!loading) {
      await Program.warmUp(gpu, nodes, target);
      return { dtype, storage, reason: `${chosen}; the self-test was switched off.` };
    }
    const { selfTest } = await loading;
    try {
      const selfTestMs = await selfTest(gpu, nodes, target);
      const passedOver = failures.map(({ message }) => ` A preferred form was rejected: ${message}`);
      return {
        dtype,
        storage,
        reason: `${chosen}: passed the self-test in ${selfTestMs.toFixed(0)} ms.${passedOver.join('')}`,
        selfTestMs,
        failures,
      };
    } catch (error) {
      if (!(
        error instanceof DeviceError &&
        (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE')
      ))
        throw error;
      failures.push(error);
    }
  }
  const { tryOtherKernels } = await loadPart(import('./otherKernels.js'));
  const other = await tryOtherKernels(gpu, nodes, all, why, failures);
  if (other) return other;
  const last = failures.at(-1)!;
  const advice = wanted === 'fp16' || wanted === 'int8' ? " Or load the model with dtype: 'auto'." : '';
  throw new DeviceError(last.code, last.message + advice, { cause: last });
}
