/** The kernels that find the nearest patches of two images (`tasks/nearestPatches.ts`). */
import nearestText from '../../../shaders/nearest_patch.wgsl';
import directionsText from '../../../shaders/patch_directions.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Scales patch tokens to length 1, and marks tokens that contain NaN or infinity. */
export const patchDirections: Kernel = defineKernel('patch_directions', directionsText, 'patch_directions', [
  'uniform size',
  'read tokens',
  'write directions',
  'write not_finite',
]);

/** Finds the highest score in each part of each row of a block of scores. */
export const nearestInRows: Kernel = defineKernel('nearest_patch', nearestText, 'nearest_in_rows', [
  'uniform size',
  'read scores',
  'write partials',
]);

/** Finds the highest score in each part of each column of a block of scores. */
export const nearestInColumns: Kernel = defineKernel('nearest_patch', nearestText, 'nearest_in_columns', [
  'uniform size',
  'read scores',
  'write partials',
]);

/** Compares the parts of each row, or column, with the best match so far. */
export const nearestMerge: Kernel = defineKernel('nearest_patch', nearestText, 'nearest_merge', [
  'uniform merge_size',
  'read all_partials',
  'write nearest',
]);
