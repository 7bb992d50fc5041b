/** Kernels that measure the highest rates of an adapter: arithmetic and copying. */
import ceilingText from '../../../shaders/ceiling.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Computes multiply-adds in registers, to measure the highest rate of arithmetic. */
export const multiplyAdd: Kernel = defineKernel('ceiling', ceilingText, 'multiply_add', [
  'read parameters',
  'write sums',
]);

/** Copies a buffer, to measure the highest rate of copying. */
export const copy: Kernel = defineKernel('ceiling', ceilingText, 'copy', ['read source', 'write copied']);

/** Number of lanes in a workgroup of `multiplyAdd` and of `copy`. */
export const CEILING_WORKGROUP = 64;
/** Multiply-adds of one lane of `multiplyAdd` per round: eight independent sequences of eight steps each. */
export const MULTIPLY_ADDS_A_ROUND = 64;
