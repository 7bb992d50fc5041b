/**
 * Which part of a picture the model saw, in the picture's own pixels: src/image/geometry.ts the other way
 * round.
 */
import type { InputSize } from './state.js';

export interface Crop {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

const CROP_SIZE = 224;
const SHORTEST_EDGE = 256;

/**
 * 'crop' keeps the central 224 × 224 of a picture whose shorter side was brought to 256; every other input
 * keeps all of it.
 */
export function cropOf(width: number, height: number, input: InputSize): Crop {
  if (input !== 'crop') return { left: 0, top: 0, width, height };
  const shorter = Math.min(width, height);
  const longestEdge = Math.floor((SHORTEST_EDGE * Math.max(width, height)) / shorter);
  const [resizedWidth, resizedHeight] =
    width <= height ? [SHORTEST_EDGE, longestEdge] : [longestEdge, SHORTEST_EDGE];
  const [scaleX, scaleY] = [width / resizedWidth, height / resizedHeight];
  return {
    left: Math.floor((resizedWidth - CROP_SIZE) / 2) * scaleX,
    top: Math.floor((resizedHeight - CROP_SIZE) / 2) * scaleY,
    width: CROP_SIZE * scaleX,
    height: CROP_SIZE * scaleY,
  };
}

/** Patches of an input, before any features are there. */
export function gridOf(
  width: number,
  height: number,
  input: InputSize,
  patchSize: number,
): { rows: number; cols: number } {
  if (input === 'crop')
    return { rows: Math.floor(CROP_SIZE / patchSize), cols: Math.floor(CROP_SIZE / patchSize) };
  const patches = (side: number): number =>
    Math.max(1, Math.round((side * input) / (Math.max(width, height) * patchSize)));
  return { rows: patches(height), cols: patches(width) };
}
