/** Kernels for optional inputs and outputs of a forward pass: masked patches, rows of attention. */
import attentionRowsText from '../../../shaders/attention_rows.wgsl';
import maskPatchesText from '../../../shaders/mask_patches.wgsl';
import forwardSize from '../../../shaders/shared/forward_size.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Replaces masked patches by the mask token. */
export const maskPatches: Kernel = defineKernel(
  'mask_patches',
  maskPatchesText,
  'mask_patches',
  ['uniform size', 'read patches', 'read mask', 'read mask_token', 'write out'],
  [forwardSize],
);

/** Computes rows of the attention matrix: the softmax weights of some queries. */
export const attentionRows: Kernel = defineKernel('attention_rows', attentionRowsText, 'attention_rows', [
  'uniform size',
  'read qkv',
  'write rows',
]);

/** Computes the mean over all heads of rows of the attention matrix. */
export const attentionRowsMean: Kernel = defineKernel(
  'attention_rows',
  attentionRowsText,
  'attention_rows_mean',
  ['uniform size', 'read head_rows', 'write mean'],
);
