/**
 * Kernels of linear layers with f16 arithmetic, for GPUs that compute with f16 twice as fast as with f32.
 * `weights/f16Arithmetic.ts` imports this file only if such kernels are tried.
 */
import linearF16Text from '../../../shaders/linear_f16.wgsl';
import linearNarrowF16Text from '../../../shaders/linear_narrow_f16.wgsl';
import linearEntries from '../../../shaders/shared/linear_entries.wgsl';
import linearLoadF16 from '../../../shaders/shared/linear_load_f16.wgsl';
import linearNarrowEntries from '../../../shaders/shared/linear_narrow_entries.wgsl';
import linearStore from '../../../shaders/shared/linear_store.wgsl';
import type { Node } from '../../graph/graph.js';
import type { Kernel } from './kernel.js';
import { linearKernels, type LinearForm } from './kernels.js';

/** The kernels of linear layers with f16 arithmetic. They read weights that are stored as f16. */
export interface F16Kernels {
  /** The wide tile, and with `LANES_X` = 16 the widest; like `linear` in kernels.ts. */
  readonly linear: Readonly<Record<LinearForm, Kernel>>;
  /** The narrow tile, like `linearNarrow` in kernels.ts. */
  readonly linearNarrow: Readonly<Record<LinearForm, Kernel>>;
  /**
   * For the self-test: multiplies the errors that f32 arithmetic may cause in a row of a node's output, so
   * that they are the errors that these kernels may cause. Nodes other than linear layers are not changed.
   */
  readonly widen: (
    node: Node,
    inputs: readonly (Float32Array | undefined)[],
    row: number,
    allowed: Float64Array,
  ) => void;
}

/** Number of products that are summed in f16. */
const RUN = 16;

/** Factor from the self-test's rounding error for f32 (2⁻²⁰) to a rounding of f16 (2⁻¹¹). */
const F16_ROUNDING = 2 ** -11 / 2 ** -20;

/** The kernels of linear layers with f16 arithmetic. */
export const f16Kernels: F16Kernels = {
  linear: linearKernels('linear_f16', linearF16Text, {
    helpers: [linearLoadF16, linearStore, linearEntries],
  }),
  linearNarrow: linearKernels('linear_narrow_f16', linearNarrowF16Text, {
    helpers: [linearLoadF16, linearStore, linearNarrowEntries],
  }),
  widen: ({ operation, inputs: [, matrix] }, [x], row, allowed) => {
    if (!operation.kind.startsWith('linear')) return;
    const inFeatures = matrix!.shape[1]!;
    let most = 0; // nonzero values in a run
    for (let k = 0; k < inFeatures; k += RUN) {
      const values = x!.subarray(row * inFeatures + k, row * inFeatures + Math.min(k + RUN, inFeatures));
      most = Math.max(most, values.filter((value) => value !== 0).length);
    }
    // Scaling x rounds once (twice the error if it truncates). If fma is not fused, a run of n products rounds
    // 2n - 1 times, but each product is rounded only once: together n + 2 roundings of the magnitudes' sum.
    for (let i = 0; i < allowed.length; i++) allowed[i]! *= (most + 2) * F16_ROUNDING;
  },
};
