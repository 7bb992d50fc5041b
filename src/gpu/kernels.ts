/**
 * The table of kernels: every entry point of every shader with its bindings. `lowering.ts` says which one an
 * operation gets.
 */
import assembleTokensText from '../../shaders/assemble_tokens.wgsl';
import attentionText from '../../shaders/attention.wgsl';
import attentionDirectText from '../../shaders/attention_direct.wgsl';
import attentionLanesText from '../../shaders/attention_lanes.wgsl';
import layerNormText from '../../shaders/layer_norm.wgsl';
import linearText from '../../shaders/linear.wgsl';
import linearDirectText from '../../shaders/linear_direct.wgsl';
import linearLanes4Text from '../../shaders/linear_lanes4.wgsl';
import linearLanes8Text from '../../shaders/linear_lanes8.wgsl';
import linearNarrowText from '../../shaders/linear_narrow.wgsl';
import linearSmallText from '../../shaders/linear_small.wgsl';
import patchEmbedText from '../../shaders/patch_embed.wgsl';
import activation from '../../shaders/shared/activation.wgsl';
import forwardSize from '../../shaders/shared/forward_size.wgsl';
import linearLoad from '../../shaders/shared/linear_load.wgsl';
import linearStore from '../../shaders/shared/linear_store.wgsl';
import { defineKernel, type Kernel } from './kernel.js';
import { weightHelpers } from './weightHelpers.js';

export { weightHelpers };

export const patchEmbed: Kernel = defineKernel(
  'patch_embed',
  patchEmbedText,
  'patch_embed',
  ['uniform size', 'read pixels', 'read weight', 'read bias', 'write out'],
  [forwardSize],
);

export const assembleTokens: Kernel = defineKernel(
  'assemble_tokens',
  assembleTokensText,
  'assemble_tokens',
  ['uniform size', 'read patches', 'read cls', 'read positions', 'write out_plain'],
  [forwardSize],
);

export const assembleTokensRegisters: Kernel = defineKernel(
  'assemble_tokens',
  assembleTokensText,
  'assemble_tokens_registers',
  ['uniform size', 'read patches', 'read cls', 'read positions', 'read registers', 'write out'],
  [forwardSize],
);

export const layerNorm: Kernel = defineKernel(
  'layer_norm',
  layerNormText,
  'layer_norm',
  ['uniform size', 'read x', 'read weight', 'read bias', 'write out'],
  [forwardSize],
);

export const layerNormDirect: Kernel = defineKernel(
  'layer_norm',
  layerNormText,
  'layer_norm_direct',
  ['uniform size', 'read x', 'read weight', 'read bias', 'write out'],
  [forwardSize],
);

export const attention: Kernel = defineKernel(
  'attention',
  attentionText,
  'attention',
  ['uniform size', 'read qkv', 'write out'],
  [forwardSize],
);

export const attentionDirect: Kernel = defineKernel(
  'attention_direct',
  attentionDirectText,
  'attention',
  ['uniform size', 'read qkv', 'write out'],
  [forwardSize],
);

export const attentionLanes: Kernel = defineKernel(
  'attention_lanes',
  attentionLanesText,
  'attention',
  ['uniform size', 'read qkv', 'write out'],
  [forwardSize],
  { subgroups: true },
);

/** The four forms of a linear layer, in all ways of computing it. */
export type LinearForm = 'linear' | 'linear_gelu' | 'linear_swiglu' | 'linear_scale_residual';

function linearKernels(
  name: string,
  text: string,
  { helpers = [], ...options }: { helpers?: readonly string[]; subgroups?: boolean } = {},
): Readonly<Record<LinearForm, Kernel>> {
  const plain = ['uniform size', 'read x', 'read weight', 'read bias', 'write out'] as const;
  const scaled = [
    'uniform size',
    'read x',
    'read weight',
    'read bias',
    'read gamma',
    'read residual',
    'write out_scaled',
  ] as const;
  const shared = [forwardSize, activation, ...helpers];
  return {
    linear: defineKernel(name, text, 'linear', plain, shared, options),
    linear_gelu: defineKernel(name, text, 'linear_gelu', plain, shared, options),
    linear_swiglu: defineKernel(name, text, 'linear_swiglu', plain, shared, options),
    linear_scale_residual: defineKernel(name, text, 'linear_scale_residual', scaled, shared, options),
  };
}

/** Tiles in workgroup memory: for GPUs. */
export const linear: Readonly<Record<LinearForm, Kernel>> = linearKernels('linear', linearText, {
  helpers: [linearLoad, linearStore],
});

/** The same for few rows. */
export const linearNarrow: Readonly<Record<LinearForm, Kernel>> = linearKernels(
  'linear_narrow',
  linearNarrowText,
  { helpers: [linearLoad, linearStore] },
);

/** The same for fewer still. */
export const linearSmall: Readonly<Record<LinearForm, Kernel>> = linearKernels(
  'linear_small',
  linearSmallText,
  { helpers: [linearLoad, linearStore] },
);

/** Straight from storage: for processors that play a GPU. */
export const linearDirect: Readonly<Record<LinearForm, Kernel>> = linearKernels(
  'linear_direct',
  linearDirectText,
);

/** Straight from storage, where every subgroup has this many lanes: they fetch for one another. */
export const linearLanes: Readonly<Record<4 | 8, Readonly<Record<LinearForm, Kernel>>>> = {
  4: linearKernels('linear_lanes4', linearLanes4Text, { subgroups: true }),
  8: linearKernels('linear_lanes8', linearLanes8Text, { helpers: [linearStore], subgroups: true }),
};
