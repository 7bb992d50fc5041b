/** The kernel for masked patches, an optional input of a forward pass. */
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
