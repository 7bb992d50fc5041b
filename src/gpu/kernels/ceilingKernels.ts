/** The two kernels that measure an adapter. */
import ceilingText from '../../../shaders/ceiling.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

export const multiplyAdd: Kernel = defineKernel('ceiling', ceilingText, 'multiply_add', [
  'read parameters',
  'write sums',
]);

export const copy: Kernel = defineKernel('ceiling', ceilingText, 'copy', ['read source', 'write copied']);

/** Lanes of a workgroup of either. */
export const CEILING_WORKGROUP = 64;
/** Multiply-adds of a lane of `multiplyAdd` in each of its rounds: eight chains of eight steps. */
export const MULTIPLY_ADDS_A_ROUND = 64;
