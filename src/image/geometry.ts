/** Plans a resize: validates the options and computes resized size, crop size and crop offsets in pixels. */
import { ImageError, OptionError } from '../errors.js';
import { RESAMPLES } from './coefficients.js';
import { isUsable, type Normalization } from './normalization.js';
import type {
  Preprocessing,
  PreprocessingOptions,
  Resize,
  ResizeOptions,
  ResizeRule,
} from './preprocessing.js';

/** For each value of the option `resize`: the size options that it accepts. */
const SIZES = {
  crop: ['cropSize', 'shortestEdge'],
  fit: ['longestSide'],
  square: ['size'],
} as const satisfies Record<Resize, readonly (keyof ResizeOptions)[]>;

/**
 * A planned resize. The source is resized to `resizedWidth` × `resizedHeight`. The output is the rectangle of
 * `width` × `height` pixels at (`left`, `top`) of the resized image. Output pixels outside the resized image
 * (`left` or `top` may be negative) have the colour `fill`.
 */
export interface Geometry {
  readonly sourceWidth: number;
  readonly sourceHeight: number;
  readonly resizedWidth: number;
  readonly resizedHeight: number;
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly fill: readonly [number, number, number];
  /**
   * True if the vertical pass comes before the horizontal pass. Pillow's Image.resize chooses this order if
   * the image is more than 100 times as tall as wide and becomes shorter. The order changes pixels, because
   * each pass rounds.
   */
  readonly verticalFirst: boolean;
}

const CROP_SIZE = 224;
const SHORTEST_EDGE = 256;
const LONGEST_SIDE = 518;
const SQUARE = 224;
const BLACK = [0, 0, 0] as const;
/** Largest side in pixels. This limit keeps all counts of workgroups, texels and floats within 32 bits. */
export const MAX_SIDE = 32768;

/**
 * A preprocessing with a call's options applied. Its `resize` may also be the rule of the option `resize:
 * 'fit'`, which has the field `longestSide`.
 */
export interface ResolvedPreprocessing extends Omit<Preprocessing, 'resize'> {
  readonly resize: ResizeRule | { readonly longestSide: number } | undefined;
}

/**
 * Checks the options without an image, so that bad options fail before an image is decoded.
 *
 * @throws OptionError OPTION_VALUE, if `resize` or `resample` is unknown, if a size is not a whole number in
 *   its range or does not belong to `resize`, or if a field of `normalization` is not finite; OPTION_NAME, if
 *   `normalization` has an unknown field
 */
export function checkResize(options: PreprocessingOptions, patchSize: number): void {
  const { resize = 'crop', resample, normalization } = options;
  if (!Object.hasOwn(SIZES, resize))
    refuse('resize', `'crop', 'fit' or 'square'`, resize, `Most checkpoints use 'crop'.`);
  for (const [owner, names] of Object.entries(SIZES)) {
    const stray = names.find((name) => owner !== resize && options[name] !== undefined);
    if (stray)
      throw new OptionError(
        'OPTION_VALUE',
        `${stray}: expected resize: '${owner}', found resize: '${resize}'. Leave ${stray} out, or use ${SIZES[resize].join(' and ')} instead.`,
      );
  }
  for (const name of Object.values(SIZES).flat()) {
    const value = options[name];
    const least = name === 'shortestEdge' ? 1 : patchSize;
    if (value !== undefined && !(Number.isInteger(value) && value >= least && value <= MAX_SIDE))
      refuse(name, `a whole number from ${least} to ${MAX_SIDE}`, value, 'Use one of these.');
  }
  if (resample !== undefined && !RESAMPLES.includes(resample))
    refuse('resample', RESAMPLES.map((each) => `'${each}'`).join(', '), resample, 'Use one of these.');
  if (normalization !== undefined) checkNormalization(normalization);
}

function checkNormalization(normalization: Partial<Normalization>): void {
  if (typeof normalization !== 'object' || (normalization as unknown) === null)
    refuse(
      'normalization',
      'an object',
      normalization,
      'Pass an object with any of the fields mean, std and rescaleFactor.',
    );
  const { mean, std, rescaleFactor, ...others } = normalization;
  const [stray] = Object.keys(others);
  if (stray !== undefined)
    throw new OptionError(
      'OPTION_NAME',
      `normalization: unknown field ${JSON.stringify(stray.slice(0, 80))}. The fields are mean, std and rescaleFactor.`,
    );
  for (const [name, value] of Object.entries({ mean, std })) {
    if (value !== undefined && !(Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)))
      refuse(`normalization.${name}`, 'three finite numbers', value, 'Pass values for red, green and blue.');
  }
  if (rescaleFactor !== undefined && !(Number.isFinite(rescaleFactor) && rescaleFactor > 0))
    refuse('normalization.rescaleFactor', 'a number above 0', rescaleFactor, 'Most models use 1 / 255.');
}

function refuse(name: string, expected: string, found: unknown, advice: string): never {
  const shown = typeof found === 'number' ? String(found) : JSON.stringify(found);
  throw new OptionError('OPTION_VALUE', `${name}: expected ${expected}, found ${shown}. ${advice}`);
}

/**
 * Merges the checkpoint's preprocessing with a call's options. The options take precedence.
 *
 * @throws OptionError for the reasons of `checkResize`, and if the normalization gives values that are not
 *   finite in float32
 */
export function resolvePreprocessing(
  checkpoint: Preprocessing,
  options: PreprocessingOptions,
  patchSize: number,
): ResolvedPreprocessing {
  checkResize(options, patchSize);
  const { mean, std, rescaleFactor } = options.normalization ?? {};
  const own = checkpoint.normalization;
  const normalization = options.normalization
    ? { rescaleFactor: rescaleFactor ?? own.rescaleFactor, mean: mean ?? own.mean, std: std ?? own.std }
    : own;
  if (normalization !== own && !isUsable(normalization))
    refuse('normalization', 'finite float32 values', normalization, 'Check that no element of std is 0.');
  return {
    ...checkpoint,
    ...rulesOf(checkpoint, options),
    resample: options.resample ?? checkpoint.resample,
    normalization,
  };
}

function rulesOf(
  { resize: rule, crop }: Preprocessing,
  { resize, cropSize, shortestEdge, longestSide = LONGEST_SIDE, size }: ResizeOptions,
): Pick<ResolvedPreprocessing, 'resize' | 'crop'> {
  if (resize === 'fit') return { resize: { longestSide }, crop: undefined };
  if (resize === 'square') {
    const own = rule && !crop && 'height' in rule && rule.height === rule.width ? rule.height : SQUARE;
    return { resize: { height: size ?? own, width: size ?? own }, crop: undefined };
  }
  const isSame = cropSize === undefined && shortestEdge === undefined;
  if (isSame && (resize === undefined || (crop && rule && 'shortestEdge' in rule)))
    return { resize: rule, crop };
  const side = cropSize ?? (crop ? Math.min(crop.height, crop.width) : CROP_SIZE);
  const [edge, of] =
    crop && rule ? [edgeOf(rule), Math.min(crop.height, crop.width)] : [SHORTEST_EDGE, CROP_SIZE];
  return {
    resize: { shortestEdge: shortestEdge ?? Math.max(1, Math.floor((side * edge) / of)) },
    crop: cropSize === undefined && crop ? crop : { height: side, width: side, fill: crop?.fill },
  };
}

function edgeOf(rule: ResizeRule): number {
  if ('shortestEdge' in rule) return rule.shortestEdge;
  if ('maxHeight' in rule) return Math.min(rule.maxHeight, rule.maxWidth);
  return 'minHeight' in rule ? Math.min(rule.minHeight, rule.minWidth) : Math.min(rule.height, rule.width);
}

/**
 * Computes the resized size, crop size and crop offset for a source image of the given size.
 *
 * @throws ImageError IMAGE_SIZE, if a side of the source is not a whole number of at least 1, or if a side of
 *   the output would be 0 or more than 32768
 */
export function planResize(
  sourceWidth: number,
  sourceHeight: number,
  { resize, crop, convention }: ResolvedPreprocessing,
  patchSize: number,
): Geometry {
  if (
    !Number.isInteger(sourceWidth) ||
    !Number.isInteger(sourceHeight) ||
    sourceWidth < 1 ||
    sourceHeight < 1
  ) {
    throw new ImageError(
      'IMAGE_SIZE',
      `Image: expected at least 1 × 1 pixels, found ${sourceWidth} × ${sourceHeight}. Wait until the image is loaded, or use another image.`,
    );
  }
  const isTimm = convention === 'timm';
  const [resizedHeight, resizedWidth] = resize
    ? resizedSize(sourceHeight, sourceWidth, resize, isTimm, patchSize)
    : [sourceHeight, sourceWidth];
  const { height, width, fill = BLACK } = crop ?? { height: resizedHeight, width: resizedWidth };
  if (Math.min(resizedHeight, resizedWidth) < 1 || Math.max(height, width) > MAX_SIDE) {
    throw new ImageError(
      'IMAGE_SIZE',
      `Image: expected sides from 1 to ${MAX_SIDE} pixels after resizing, found ${width} × ${height} for a source of ${sourceWidth} × ${sourceHeight}. Use resize: 'crop' or 'square'.`,
    );
  }
  return {
    sourceWidth,
    sourceHeight,
    resizedWidth,
    resizedHeight,
    left: offsetOf(resizedWidth, width, isTimm),
    top: offsetOf(resizedHeight, height, isTimm),
    width,
    height,
    fill,
    verticalFirst: sourceHeight > 100 * sourceWidth && resizedHeight < sourceHeight,
  };
}

/**
 * Reduces the planned output to whole patches. The patch embedding ignores a remainder at the right and at
 * the bottom.
 *
 * @throws ImageError IMAGE_SIZE, if the output is smaller than one patch
 */
export function wholePatches(geometry: Geometry, patchSize: number): Geometry {
  const { width, height } = geometry;
  if (width % patchSize === 0 && height % patchSize === 0) return geometry;
  if (Math.min(width, height) < patchSize)
    throw new ImageError(
      'IMAGE_SIZE',
      `Image: expected at least one patch of ${patchSize} × ${patchSize} pixels after resizing, found ${width} × ${height}. Use a larger image, or resize: 'square'.`,
    );
  return { ...geometry, width: width - (width % patchSize), height: height - (height % patchSize) };
}

/**
 * Returns the offset of the central crop, which is negative if the crop is larger than the image.
 * `center_crop` of transformers rounds the offset down. `center_crop` of torchvision, which timm uses, rounds
 * the offset of a crop to the nearest integer (halves to the even one). If torchvision pads by an odd number
 * of pixels, it adds the smaller half at the left or at the top.
 */
function offsetOf(resized: number, crop: number, isTimm: boolean): number {
  const half = (resized - crop) / 2;
  if (!isTimm) return Math.floor(half);
  return half < 0 ? Math.ceil(half) + 0 : roundHalfEven(half);
}

/** Returns the resized [height, width]. Follows the Python code step by step, as each step may round. */
function resizedSize(
  height: number,
  width: number,
  rule: Exclude<ResolvedPreprocessing['resize'], undefined>,
  isTimm: boolean,
  patchSize: number,
): readonly [number, number] {
  if ('longestSide' in rule) {
    const longer = Math.max(height, width) * patchSize;
    const toPatches = (side: number): number =>
      Math.max(1, Math.round((side * rule.longestSide) / longer)) * patchSize;
    return [toPatches(height), toPatches(width)];
  }
  if ('shortestEdge' in rule) {
    const { shortestEdge, longestEdge } = rule;
    return longestEdge === undefined
      ? toShortestEdge(height, width, shortestEdge)
      : toBothEdges(height, width, shortestEdge, longestEdge);
  }
  if ('minHeight' in rule) {
    const ratio = Math.min(height / rule.minHeight, width / rule.minWidth);
    return [roundHalfEven(height / ratio), roundHalfEven(width / ratio)];
  }
  if ('maxHeight' in rule) {
    const { maxHeight, maxWidth } = rule;
    if (isTimm) {
      const ratio = Math.max(height / maxHeight, width / maxWidth);
      return [roundHalfEven(height / ratio), roundHalfEven(width / ratio)];
    }
    const scale = Math.min(maxHeight / height, maxWidth / width);
    return [Math.floor(height * scale), Math.floor(width * scale)];
  }
  if (!('multipleOf' in rule)) return [rule.height, rule.width];
  let [down, across] = [rule.height / height, rule.width / width];
  if (rule.keepAspectRatio) {
    if (Math.abs(1 - across) < Math.abs(1 - down)) down = across;
    else across = down;
  }
  const toMultiple = (value: number): number => roundHalfEven(value / rule.multipleOf) * rule.multipleOf;
  return [toMultiple(down * height), toMultiple(across * width)];
}

/**
 * Returns the resized [height, width] whose shorter edge has the length `edge`. Source of the arithmetic:
 * transformers' get_resize_output_image_size, torchvision's _compute_resized_output_size.
 */
function toShortestEdge(height: number, width: number, edge: number): readonly [number, number] {
  return width <= height
    ? [Math.floor((edge * height) / width), edge]
    : [edge, Math.floor((edge * width) / height)];
}

/**
 * Returns the resized [height, width] for a rule that gives the length of the shorter edge and the largest
 * length of the longer edge. Source of the arithmetic: transformers' get_size_with_aspect_ratio.
 */
function toBothEdges(
  height: number,
  width: number,
  shortestEdge: number,
  longestEdge: number,
): readonly [number, number] {
  const [shorter, longer] = [Math.min(height, width), Math.max(height, width)];
  const isTooLong = (longer / shorter) * shortestEdge > longestEdge;
  const raw = isTooLong ? (longestEdge * shorter) / longer : shortestEdge;
  const edge = isTooLong ? roundHalfEven(raw) : shortestEdge;
  if (shorter === edge) return [height, width];
  return width < height
    ? [Math.floor((raw * height) / width), edge]
    : [edge, Math.floor((raw * width) / height)];
}

/** Rounds as Python's `round` does: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}
