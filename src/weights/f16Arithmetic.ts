/**
 * Chooses f16 arithmetic for the linear layers of a model with f16 weights, if the kernels pass the self-test.
 * Loaded only on adapters on which f16 arithmetic is expected to be faster.
 */
import { DeviceError } from '../errors.js';
import { selfTest } from '../gpu/checks/selfTest.js';
import type { Gpu } from '../gpu/device.js';
import { f16Kernels } from '../gpu/kernels/f16Kernels.js';
import { targetOf, type Target } from '../gpu/lowering.js';
import type { Node } from '../graph/graph.js';
import { F16_ARITHMETIC_LIMIT } from './packing.js';

/** The arithmetic that was chosen for fp16, with the reason; a `Precision` (precision.ts). */
export interface F16Precision {
  readonly dtype: 'fp16';
  readonly storage: 'f16';
  readonly reason: string;
  readonly selfTestMs: number;
  readonly more?: Partial<Target>;
  readonly withLargeWeights?: () => Promise<F16Precision>;
}

/** The properties of a target with f16 arithmetic. */
export const F16_TARGET: Pick<Target, 'f16' | 'operands'> = { f16: f16Kernels, operands: 'f16' };

/**
 * Tests the kernels with f16 arithmetic. Returns the choice if they pass, else the error for which they were
 * rejected.
 * @param why the reason for the element type, such as `as requested`
 * @throws DeviceError if the device is lost or out of memory
 */
export async function tryF16(gpu: Gpu, nodes: readonly Node[], why: string): Promise<F16Precision | DeviceError> {
  const chosen = `fp16, stored as f16, ${why}`;
  try {
    const ms = await selfTest(gpu, nodes, { ...targetOf(gpu, 'f16'), ...F16_TARGET });
    return {
      dtype: 'fp16',
      storage: 'f16',
      more: F16_TARGET,
      selfTestMs: ms,
      reason: `${chosen}, with f16 arithmetic in linear layers: passed the self-test in ${ms.toFixed(0)} ms.`,
      withLargeWeights: async () => {
        const msWithout = await selfTest(gpu, nodes, targetOf(gpu, 'f16'));
        return {
          dtype: 'fp16',
          storage: 'f16',
          selfTestMs: msWithout,
          reason: `${chosen}, with f32 arithmetic, because a weight has a magnitude of ${F16_ARITHMETIC_LIMIT} or more: passed the self-test in ${msWithout.toFixed(0)} ms.`,
        };
      },
    };
  } catch (error) {
    if (!(error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE')))
      throw error;
    return error;
  }
}
