/** The shaders that draw on a render target. */
import drawPatchesText from '../../../shaders/draw_patches.wgsl';
import { defineKernel, type RenderKernel } from './kernel.js';

/** Draws a picture with one colour for each patch on the whole of a render target. */
export const drawPatches: RenderKernel = {
  ...defineKernel('draw_patches', drawPatchesText, 'draw_patches', ['uniform picture', 'read rgba']),
  vertexEntryPoint: 'draw_patches_vertex',
};
