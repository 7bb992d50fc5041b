/** The kernels that colour a map with one value for each patch, in `tasks/gpuPatchMap`. */
import mapColorsText from '../../../shaders/map_colors.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Finds the smallest and the largest value of a map. */
export const mapRange: Kernel = defineKernel('map_colors', mapColorsText, 'map_range', [
  'uniform size',
  'read values',
  'write range',
]);

/** Computes the colour of each value of a map. */
export const mapColors: Kernel = defineKernel('map_colors', mapColorsText, 'map_colors', [
  'uniform size',
  'read values',
  'read ends',
  'read stops',
  'write rgba',
]);
