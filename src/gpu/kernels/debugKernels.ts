/** The kernel of the option `debug: 'check'`. */
import countNotFiniteText from '../../../shaders/count_not_finite.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Counts the values of a tensor that are NaN or infinite, and finds the first of them. */
export const countNotFinite: Kernel = defineKernel(
  'count_not_finite',
  countNotFiniteText,
  'count_not_finite',
  ['uniform tensor', 'read values', 'write found'],
);

/** Number of values that a workgroup of `countNotFinite` examines. */
export const COUNT_LANES = 256;
