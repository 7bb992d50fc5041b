/**
 * Which part of a picture the model saw, in the picture's own pixels: src/image/geometry.ts the other way
 * round.
 */
import type { Preprocessing, ResizeRule } from '../src/index.js';
import type { InputSize } from './state.js';

export interface Crop {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

type Sizes = Pick<Preprocessing, 'resize' | 'crop'>;

/** Of facebook/dinov2: what stands there before a model is loaded. */
const USUAL: Sizes = { resize: { shortestEdge: 256 }, crop: { height: 224, width: 224 } };

/**
 * What the model sees of a picture; where it is given more than the picture, this reaches beyond its edges. An input
 * of a given longest side keeps all of it.
 */
export function cropOf(width: number, height: number, input: InputSize, sizes: Sizes = USUAL): Crop {
  if (input !== 'crop') return { left: 0, top: 0, width, height };
  const [resizedWidth, resizedHeight] = resizedSize(width, height, sizes.resize);
  const crop = sizes.crop ?? { width: resizedWidth, height: resizedHeight };
  const [scaleX, scaleY] = [width / resizedWidth, height / resizedHeight];
  return {
    left: Math.floor((resizedWidth - crop.width) / 2) * scaleX,
    top: Math.floor((resizedHeight - crop.height) / 2) * scaleY,
    width: crop.width * scaleX,
    height: crop.height * scaleY,
  };
}

/** Patches of an input, before any features are there. */
export function gridOf(
  width: number,
  height: number,
  input: InputSize,
  patchSize: number,
  sizes: Sizes = USUAL,
): { rows: number; cols: number } {
  if (input === 'crop') {
    const [resizedWidth, resizedHeight] = resizedSize(width, height, sizes.resize);
    const crop = sizes.crop ?? { width: resizedWidth, height: resizedHeight };
    return { rows: Math.floor(crop.height / patchSize), cols: Math.floor(crop.width / patchSize) };
  }
  const patches = (side: number): number =>
    Math.max(1, Math.round((side * input) / (Math.max(width, height) * patchSize)));
  return { rows: patches(height), cols: patches(width) };
}

/** What the checkpoint's own input is, in a few words. */
export function inputText({ resize, crop }: Sizes): string {
  if (crop) return `the central ${crop.width} × ${crop.height}`;
  if (resize && 'width' in resize && !('multipleOf' in resize))
    return `all of it, ${resize.width} × ${resize.height}`;
  return 'all of it';
}

function resizedSize(width: number, height: number, rule: ResizeRule | undefined): [number, number] {
  if (!rule) return [width, height];
  const [shorter, longer] = [Math.min(width, height), Math.max(width, height)];
  if ('shortestEdge' in rule) {
    const { longestEdge = Infinity } = rule;
    const edge = Math.min(rule.shortestEdge, (longestEdge * shorter) / longer);
    const other = Math.floor((edge * longer) / shorter);
    return width <= height ? [Math.floor(edge), other] : [other, Math.floor(edge)];
  }
  const scaled = (scale: number): [number, number] => [Math.round(width * scale), Math.round(height * scale)];
  if ('maxHeight' in rule) return scaled(Math.min(rule.maxHeight / height, rule.maxWidth / width));
  if ('minHeight' in rule) return scaled(Math.max(rule.minHeight / height, rule.minWidth / width));
  if (!('multipleOf' in rule)) return [rule.width, rule.height];
  let [across, down] = [rule.width / width, rule.height / height];
  if (rule.keepAspectRatio) across = down = Math.abs(1 - across) < Math.abs(1 - down) ? across : down;
  const toMultiple = (side: number): number => Math.round(side / rule.multipleOf) * rule.multipleOf;
  return [toMultiple(across * width), toMultiple(down * height)];
}
