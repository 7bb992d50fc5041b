/** The two kernels that make pixels of an image. No size is baked into them. */
import resizeText from '../../../shaders/resize.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

export const resizeFirst: Kernel = defineKernel('resize', resizeText, 'resize_first', [
  'uniform first',
  'read source',
  'read taps',
  'write between',
]);

export const resizeSecond: Kernel = defineKernel('resize', resizeText, 'resize_second', [
  'uniform second',
  'read between_done',
  'read taps',
  'read levels',
  'write pixels',
]);

/** Columns and rows of lanes in a workgroup of either. */
export const RESIZE_WORKGROUP = [16, 4] as const;
/** Rows of `between` that a lane of the first pass computes. */
export const RESIZE_FIRST_ROWS = 4;
