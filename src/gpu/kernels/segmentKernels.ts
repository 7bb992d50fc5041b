/** The kernel of `tasks/segmentation`. */
import segmentPatchesText from '../../../shaders/segment_patches.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Computes the probability of every patch of an image to belong to the object of a segmenter. */
export const segmentPatches: Kernel = defineKernel('segment_patches', segmentPatchesText, 'segment_patches', [
  'uniform image',
  'read x',
  'read segmenter',
  'write probabilities',
]);
