/** Kernels that resize an image of any size and normalise its pixels. */
import resizeText from '../../../shaders/resize.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** First pass: resizes along one axis. The result has 8 bits per channel. */
export const resizeFirst: Kernel = defineKernel('resize', resizeText, 'resize_first', [
  'uniform first',
  'read source',
  'read taps',
  'write between',
]);

/** Second pass: resizes along the other axis, crops and normalises. */
export const resizeSecond: Kernel = defineKernel('resize', resizeText, 'resize_second', [
  'uniform second',
  'read between_done',
  'read taps',
  'read levels',
  'write pixels',
]);

/** Numbers of columns and rows of lanes in a workgroup of `resizeFirst` and `resizeSecond`. */
export const RESIZE_WORKGROUP = [16, 4] as const;
/** Number of rows of the intermediate image (`between`) that one lane of the first pass computes. */
export const RESIZE_FIRST_ROWS = 4;
