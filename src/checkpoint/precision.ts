/** Which element type a model's matrices get on this adapter: what was asked for, where the self-test finds that its kernels compute the right thing. */
import { ConfigError, DeviceError } from '../errors.js';
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernel.js';
import { targetOf } from '../gpu/lowering.js';
import { selfTest } from '../gpu/selfTest.js';
import { packMatrix } from './packing.js';

/** Element type of a model's matrices. Sums, norms, the softmax and everything between layers are f32 in all of them. */
export type Dtype = 'fp32' | 'fp16' | 'int8';

/** An element type, and how it is stored. */
export interface Candidate {
  readonly dtype: Dtype;
  readonly storage: WeightStorage;
}

/** A decision, and why. */
export interface Precision extends Candidate {
  readonly reason: string;
}

/** A way to store weights that is being tried. Weights may be loaded meanwhile: that it fails is rare, and then they are loaded anew. */
export interface Choice {
  readonly candidate: Candidate;
  /** Whether the kernels compute the right thing with it. Rejects with DeviceError: KERNEL_WRONG or KERNEL_COMPILE if they do not. */
  readonly tested: Promise<Precision>;
  /** When the test is over: the next best way, whose test begins, if this one failed; undefined if it did not, or was the last. */
  readonly next: () => Promise<Choice | undefined>;
}

/** The best one first. */
function candidates(wanted: Dtype | 'auto', gpu: Gpu): Candidate[] {
  const packed: Candidate = { dtype: 'fp16', storage: 'f16-packed' };
  const half: Candidate[] = gpu.device.features.has('shader-f16') ? [{ dtype: 'fp16', storage: 'f16' }, packed] : [packed];
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
      throw new ConfigError('CONFIG_FIELD', `dtype: expected 'auto', 'fp32', 'fp16' or 'int8', found ${JSON.stringify(wanted)}.`);
  }
}

/**
 * The best way to store weights as `wanted`, whose test begins. `test: false` takes it unseen.
 * @throws ConfigError if there is no such dtype
 */
export function choosePrecision(gpu: Gpu, wanted: Dtype | 'auto', test: boolean): Choice {
  const all = candidates(wanted, gpu);
  const why = wanted === 'auto' ? "chosen by 'auto'" : 'as asked for';
  const attempt = (place: number, failures: readonly DeviceError[]): Choice => {
    const candidate = all[place]!;
    const isLast = place === all.length - 1;
    const chosen = `${candidate.dtype}, stored as ${candidate.storage}, ${why}`;
    const tryOut = async (): Promise<Precision> => {
      if (!test) return { ...candidate, reason: `${chosen}; the self-test was switched off.` };
      try {
        const ms = await selfTest(gpu, targetOf(gpu, candidate.storage), packMatrix);
        const passedOver = failures.map(({ message }) => ` Another way was passed over: ${message}`);
        return { ...candidate, reason: `${chosen}: passed the self-test in ${ms.toFixed(0)} ms.${passedOver.join('')}` };
      } catch (error) {
        if (!isFault(error) || !isLast || wanted === 'fp32' || wanted === 'auto') throw error;
        throw new DeviceError(error.code, `${error.message} Or load the model with dtype: 'auto'.`, { cause: error });
      }
    };
    const tested = tryOut();
    const fault = tested.then(() => undefined, (error: unknown) => error);
    return {
      candidate,
      tested,
      next: async () => {
        const error = await fault;
        return isFault(error) && !isLast ? attempt(place + 1, [...failures, error]) : undefined;
      },
    };
  };
  return attempt(0, []);
}

/** Whether the kernels are at fault, and others may not be. */
export const isFault = (error: unknown): error is DeviceError => error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE');
