/**
 * Kernels of linear layers that only a tuning selects. `session/tune.ts` and `measure/tuner.ts` import this
 * file, so a page that never tunes does not download these kernels.
 */
import linearSmallText from '../../../shaders/linear_small.wgsl';
import linearTallText from '../../../shaders/linear_tall.wgsl';
import linearLoad from '../../../shaders/shared/linear_load.wgsl';
import linearNarrowEntries from '../../../shaders/shared/linear_narrow_entries.wgsl';
import linearStore from '../../../shaders/shared/linear_store.wgsl';
import type { Kernel } from './kernel.js';
import { linearKernels, type LinearForm } from './kernels.js';

/** The kernels of linear layers that only a tuning selects. Their bits are those of `linear` in kernels.ts. */
export interface TunedKernels {
  /** The linear layers with the tall tile: 128 rows × 64 columns per workgroup of 256 lanes. */
  readonly linearTall: Readonly<Record<LinearForm, Kernel>>;
  /** The linear layers with the small tile: 32 rows × 32 columns per workgroup of 64 lanes. */
  readonly linearSmall: Readonly<Record<LinearForm, Kernel>>;
}

/** The kernels of linear layers that only a tuning selects. */
export const tunedKernels: TunedKernels = {
  linearTall: linearKernels('linear_tall', linearTallText, {
    helpers: [linearLoad, linearStore, linearNarrowEntries],
  }),
  linearSmall: linearKernels('linear_small', linearSmallText, { helpers: [linearLoad, linearStore] }),
};

/**
 * Spread these properties into a target to compile all alternative kernels without selecting them for a
 * forward pass. The self-test and the tuner do so.
 */
export const EVERY_TILE: {
  readonly tuned: TunedKernels;
  readonly wantedLanesTall: number;
  readonly wantedLanesWidest: number;
  readonly wantedLanesNarrow: number;
  readonly wantedLanesAttention: number;
} = {
  tuned: tunedKernels,
  wantedLanesTall: Infinity,
  wantedLanesWidest: Infinity,
  wantedLanesNarrow: 0,
  wantedLanesAttention: 0,
};
