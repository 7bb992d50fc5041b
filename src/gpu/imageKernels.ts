/** The kernels that make pixels of an image, and what the host tells them. */
import resizeText from '../../shaders/resize.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

export const resizeHorizontal: Kernel = defineKernel('resize', resizeText, 'resize_horizontal', ['uniform size', 'texture source', 'read taps', 'write between']);

export const resizeVertical: Kernel = defineKernel('resize', resizeText, 'resize_vertical', [
  'uniform size',
  'read between_done',
  'read taps',
  'read levels',
  'write pixels',
]);

/** Columns and rows of pixels in a workgroup, in both passes. */
export const RESIZE_WORKGROUP = [16, 4] as const;
