/**
 * The kernels of a forward pass. `lowering.ts` chooses the kernel for each operation. `laneKernels.ts` has the
 * kernels for software adapters. `tunedKernels.ts` has the kernels that only `tune()` selects.
 */
import assembleTokensText from '../../../shaders/assemble_tokens.wgsl';
import attentionText from '../../../shaders/attention.wgsl';
import layerNormText from '../../../shaders/layer_norm.wgsl';
import linearText from '../../../shaders/linear.wgsl';
import linearNarrowText from '../../../shaders/linear_narrow.wgsl';
import patchEmbedText from '../../../shaders/patch_embed.wgsl';
import activation from '../../../shaders/shared/activation.wgsl';
import forwardSize from '../../../shaders/shared/forward_size.wgsl';
import linearEntries from '../../../shaders/shared/linear_entries.wgsl';
import linearLoad from '../../../shaders/shared/linear_load.wgsl';
import linearNarrowEntries from '../../../shaders/shared/linear_narrow_entries.wgsl';
import linearStore from '../../../shaders/shared/linear_store.wgsl';
import { defineKernel, type Kernel } from './kernel.js';
import { weightHelpers } from './weightHelpers.js';

export { weightHelpers };

/** Computes the patch embedding. */
export const patchEmbed: Kernel = defineKernel(
  'patch_embed',
  patchEmbedText,
  'patch_embed',
  ['uniform size', 'read pixels', 'read weight', 'read bias', 'write out'],
  [forwardSize],
);

/** Joins the cls token and patches and adds position embeddings, for a model without registers. */
export const assembleTokens: Kernel = defineKernel(
  'assemble_tokens',
  assembleTokensText,
  'assemble_tokens',
  ['uniform size', 'read patches', 'read cls', 'read positions', 'write out_plain'],
  [forwardSize],
);

/** Joins the cls token, registers and patches, and adds position embeddings to the cls token and patches. */
export const assembleTokensRegisters: Kernel = defineKernel(
  'assemble_tokens',
  assembleTokensText,
  'assemble_tokens_registers',
  ['uniform size', 'read patches', 'read cls', 'read positions', 'read registers', 'write out'],
  [forwardSize],
);

/** Computes the layer normalisation of every row. */
export const layerNorm: Kernel = defineKernel(
  'layer_norm',
  layerNormText,
  'layer_norm',
  ['uniform size', 'read x', 'read weight', 'read bias', 'write out'],
  [forwardSize],
);

/** Computes multi-head attention within each image. */
export const attention: Kernel = defineKernel(
  'attention',
  attentionText,
  'attention',
  ['uniform size', 'read qkv', 'write out'],
  [forwardSize],
);

/**
 * The operation that follows the matrix product of a linear layer. Each form is an entry point of every
 * linear shader.
 */
export type LinearForm = 'linear' | 'linear_gelu' | 'linear_swiglu' | 'linear_scale_residual';

/**
 * Declares the four forms of a linear shader.
 *
 * @param helpers texts of the helper shaders that the shader needs besides `forward_size` and `activation`
 * @__NO_SIDE_EFFECTS__
 */
export function linearKernels(
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

/**
 * The linear layers with the wide tile: 64 rows × 64 columns per workgroup. With `LANES_X` = 16, the widest
 * tile: 64 × 128.
 */
export const linear: Readonly<Record<LinearForm, Kernel>> = linearKernels('linear', linearText, {
  helpers: [linearLoad, linearStore, linearEntries],
});

/** The linear layers with the narrow tile: 32 rows × 64 columns per workgroup. */
export const linearNarrow: Readonly<Record<LinearForm, Kernel>> = linearKernels(
  'linear_narrow',
  linearNarrowText,
  { helpers: [linearLoad, linearStore, linearNarrowEntries] },
);
