/** Computes which part of a picture the model sees, in pixels of the original picture. */
import type { Preprocessing, ResizeRule } from '../../src/index.js';
import type { InputSize } from './picture.js';

export interface Crop {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

type Sizes = Pick<Preprocessing, 'resize' | 'crop'>;

/** The preprocessing of the facebook/dinov2 models, used until a model is loaded. */
const USUAL: Sizes = { resize: { shortestEdge: 256 }, crop: { height: 224, width: 224 } };

/**
 * Returns the part of a picture that the model sees. If the preprocessing pads the picture, this part extends
 * beyond the picture's edges. If the input is given by its longest side, the model sees the whole picture.
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

/** Returns the number of patch rows and columns of an input before its features are computed. */
export function gridOf(
  width: number,
  height: number,
  input: 'crop' | number,
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

/** Describes in a few words the input size that the checkpoint's own preprocessing gives. */
export function inputText({ resize, crop }: Sizes): string {
  if (crop) return `the central ${crop.width} × ${crop.height}`;
  if (resize && 'width' in resize && !('multipleOf' in resize))
    return `the whole picture, ${resize.width} × ${resize.height}`;
  return 'the whole picture';
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
