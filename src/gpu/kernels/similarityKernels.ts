/** The kernels of similarity maps in `tasks/similarity`. */
import similarityText from '../../../shaders/patch_similarity.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Adds the weighted directions of chosen patches, 16 patches a workgroup. */
export const similaritySums: Kernel = defineKernel('patch_similarity', similarityText, 'similarity_sums', [
  'uniform size',
  'read x',
  'read chosen',
  'write sums',
]);

/** Adds the sums of all workgroups, and scales the result to length 1. */
export const similarityQuery: Kernel = defineKernel('patch_similarity', similarityText, 'similarity_query', [
  'uniform size',
  'read all_sums',
  'write query',
]);

/** Computes the cosine of each patch of an image with the query. */
export const similarityMap: Kernel = defineKernel('patch_similarity', similarityText, 'similarity_map', [
  'uniform size',
  'read x',
  'read unit',
  'write values',
]);
