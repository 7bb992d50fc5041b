/**
 * Kernels for software adapters whose subgroups all have 4 lanes (SwiftShader) or 8 lanes (llvmpipe).
 * `device.ts` imports this file only if the device runs on such an adapter.
 */
import attentionText from '../../../shaders/attention_lanes.wgsl';
import layerNormText from '../../../shaders/layer_norm_direct.wgsl';
import linear4Text from '../../../shaders/linear_lanes4.wgsl';
import linear8Text from '../../../shaders/linear_lanes8.wgsl';
import forwardSize from '../../../shaders/shared/forward_size.wgsl';
import linearStore from '../../../shaders/shared/linear_store.wgsl';
import { defineKernel, type Kernel } from './kernel.js';
import { linearKernels, type LinearForm } from './kernels.js';

/** The kernels for software adapters with one subgroup size. */
export interface LaneKernels {
  /** Number of lanes in every subgroup. */
  readonly lanes: 4 | 8;
  /** The kernel for layer normalisation. */
  readonly layerNorm: Kernel;
  /** The kernel for attention. */
  readonly attention: Kernel;
  /** The kernels for linear layers. */
  readonly linear: Readonly<Record<LinearForm, Kernel>>;
  /** Rows of the output that a workgroup of a linear layer computes. */
  readonly linearRows: number;
  /** Groups of 4 columns that a lane of a linear layer computes. For SwiGLU: groups of gate columns. */
  readonly linearGroups: (form: LinearForm) => 1 | 2;
}

const layerNorm = defineKernel(
  'layer_norm_direct',
  layerNormText,
  'layer_norm_direct',
  ['uniform size', 'read x', 'read weight', 'read bias', 'write out'],
  [forwardSize],
);

const attention = defineKernel(
  'attention_lanes',
  attentionText,
  'attention',
  ['uniform size', 'read qkv', 'write out'],
  [forwardSize],
  { subgroups: true },
);

/** The kernels for software adapters, by subgroup size. */
export const laneKernels: Readonly<Record<4 | 8, LaneKernels>> = {
  4: {
    lanes: 4,
    layerNorm,
    attention,
    linear: linearKernels('linear_lanes4', linear4Text, { subgroups: true }),
    linearRows: 16,
    linearGroups: (form) => (form === 'linear_swiglu' ? 1 : 2),
  },
  8: {
    lanes: 8,
    layerNorm,
    attention,
    linear: linearKernels('linear_lanes8', linear8Text, { helpers: [linearStore], subgroups: true }),
    linearRows: 8,
    linearGroups: () => 1,
  },
};
