/** The kernels of `tasks/tracking`. */
import propagateLabelsText from '../../../shaders/propagate_labels.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Scales the patch tokens of a frame to length 1. */
export const unitPatches: Kernel = defineKernel('propagate_labels', propagateLabelsText, 'unit_patches', [
  'uniform size',
  'read tokens',
  'write context_out',
]);

/** Finds the most similar patches of each context frame. */
export const nearestContext: Kernel = defineKernel(
  'propagate_labels',
  propagateLabelsText,
  'nearest_context',
  ['uniform size', 'read context', 'write candidates'],
);

/** Computes the labels of a frame from those of the most similar context patches. */
export const propagateLabels: Kernel = defineKernel(
  'propagate_labels',
  propagateLabelsText,
  'propagate_labels',
  ['uniform size', 'read all_candidates', 'read labels', 'write new_labels', 'write strengths'],
);
