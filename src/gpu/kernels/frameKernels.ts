/** The kernel that reads video frames. */
import packFrameText from '../../../shaders/pack_frame.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Packs rows of a video frame into 4 bytes per pixel. */
export const packFrame: Kernel = defineKernel('pack_frame', packFrameText, 'pack_frame', [
  'uniform size',
  'external frame',
  'write pixels',
]);

/** Numbers of columns and rows of lanes in a workgroup. */
export const PACK_FRAME_WORKGROUP = [16, 4] as const;
