/** Which pixels the model sees: sizes and offsets, in whole numbers, before anything is resized. */
import { ImageError } from '../errors.js';

/**
 * `crop` is Python's way (Hugging Face's BitImageProcessor): the shorter edge to 256, then the central square
 * of 224. `fit` keeps the whole image: the longer side to 518, both sides to the nearest multiple of the
 * patch size. `square` keeps the whole image and not its shape: both sides to 224, as Python does for a
 * `size` of height and width.
 */
export type Resize = 'crop' | 'fit' | 'square';

export interface ResizeOptions {
  /** Default 'crop'. */
  readonly resize?: Resize | undefined;
  /**
   * For 'crop', `crop_size` in Python: side of the square that is kept, a multiple of the patch size. Default
   * 224.
   */
  readonly cropSize?: number | undefined;
  /**
   * For 'crop', `size.shortest_edge` in Python: at least `cropSize`. Default 256 for 224, and in that ratio
   * for another `cropSize`.
   */
  readonly shortestEdge?: number | undefined;
  /**
   * For 'fit': the longer side, to be rounded to a multiple of the patch size. Default 518, the size that
   * DINOv2 was last trained at.
   */
  readonly longestSide?: number | undefined;
  /**
   * For 'square', `size.height` and `size.width` in Python: both sides, a multiple of the patch size. Default
   * 224.
   */
  readonly size?: number | undefined;
}

/** Which sizes belong to which `resize`. */
const SIZES = {
  crop: ['cropSize', 'shortestEdge'],
  fit: ['longestSide'],
  square: ['size'],
} as const satisfies Record<Resize, readonly (keyof ResizeOptions)[]>;

/**
 * The source is resized to `resizedWidth` × `resizedHeight`; of that, `width` × `height` pixels from (`left`,
 * `top`) are the output.
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
  /**
   * Pillow's choice for images over 100 times as tall as wide that become shorter (Image.resize): it shows,
   * as each pass rounds.
   */
  readonly verticalFirst: boolean;
}

const CROP_SIZE = 224;
const SHORTEST_EDGE = 256;
const LONGEST_SIDE = 518;
const SQUARE = 224;
/**
 * Beyond any use, and small enough for every number of workgroups, texel and float to be counted in 32 bits.
 */
export const MAX_SIDE = 32768;

/**
 * Checks the options alone, before an image is decoded for them.
 *
 * @throws ImageError INPUT_SHAPE: a size is no whole number, does not suit the patches or the other sizes, or
 *   belongs to the other `resize`
 */
export function checkResize(options: ResizeOptions, patchSize: number): void {
  const {
    resize = 'crop',
    cropSize = CROP_SIZE,
    shortestEdge,
    longestSide = LONGEST_SIDE,
    size = SQUARE,
  } = options;
  if (!Object.hasOwn(SIZES, resize)) {
    throw new ImageError(
      'INPUT_SHAPE',
      `resize: expected 'crop', 'fit' or 'square', found ${JSON.stringify(resize)}. Use 'crop' for what Python does.`,
    );
  }
  for (const [owner, names] of Object.entries(SIZES)) {
    const stray = names.find((name) => owner !== resize && options[name] !== undefined);
    if (stray)
      throw new ImageError(
        'INPUT_SHAPE',
        `${stray}: expected with resize: '${owner}' alone, found it with '${resize}'. Leave it out, or give ${SIZES[resize].join(' and ')}.`,
      );
  }
  if (resize === 'fit') {
    checkSide('longestSide', longestSide, patchSize);
  } else if (resize === 'square') {
    checkMultiple('size', size, patchSize);
  } else {
    checkMultiple('cropSize', cropSize, patchSize);
    checkSide('shortestEdge', shortestEdge ?? edgeFor(cropSize), cropSize);
  }
}

function checkMultiple(name: string, value: number, patchSize: number): void {
  checkSide(name, value, patchSize);
  const below = Math.floor(value / patchSize) * patchSize;
  if (value === below) return;
  throw new ImageError(
    'INPUT_SHAPE',
    `${name}: expected a multiple of ${patchSize}, the side of a patch, found ${value}. Use ${below} or ${below + patchSize}.`,
  );
}

function checkSide(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least && value <= MAX_SIDE) return;
  throw new ImageError(
    'INPUT_SHAPE',
    `${name}: expected a whole number from ${least} to ${MAX_SIDE}, found ${String(value)}. Use one of these.`,
  );
}

/** The margin of 256 : 224, for any crop; truncated as Python would. */
const edgeFor = (cropSize: number): number => Math.floor((cropSize * SHORTEST_EDGE) / CROP_SIZE);

/**
 * Where the output of a source of this size comes from.
 *
 * @throws ImageError INPUT_SHAPE as checkResize; IMAGE_SIZE if a side of the source is no whole number from 1
 */
export function planResize(
  sourceWidth: number,
  sourceHeight: number,
  options: ResizeOptions,
  patchSize: number,
): Geometry {
  checkResize(options, patchSize);
  if (
    !Number.isInteger(sourceWidth) ||
    !Number.isInteger(sourceHeight) ||
    sourceWidth < 1 ||
    sourceHeight < 1
  ) {
    throw new ImageError(
      'IMAGE_SIZE',
      `Image: expected at least 1 × 1 pixels, found ${sourceWidth} × ${sourceHeight}. Wait until it is loaded, or use another one.`,
    );
  }
  const plan = planOf(sourceWidth, sourceHeight, options, patchSize);
  return {
    ...plan,
    sourceWidth,
    sourceHeight,
    verticalFirst: sourceHeight > 100 * sourceWidth && plan.resizedHeight < sourceHeight,
  };
}

type Plan = Omit<Geometry, 'sourceWidth' | 'sourceHeight' | 'verticalFirst'>;

function planOf(sourceWidth: number, sourceHeight: number, options: ResizeOptions, patchSize: number): Plan {
  const { resize = 'crop', longestSide = LONGEST_SIDE, size = SQUARE } = options;
  if (resize === 'crop') return planCrop(sourceWidth, sourceHeight, options);
  return resize === 'fit' ? planFit(sourceWidth, sourceHeight, longestSide, patchSize) : whole(size, size);
}

/** transformers/image_transforms.py: get_resize_output_image_size, then center_crop. */
function planCrop(
  sourceWidth: number,
  sourceHeight: number,
  { cropSize = CROP_SIZE, shortestEdge = edgeFor(cropSize) }: ResizeOptions,
): Plan {
  const longer = Math.max(sourceWidth, sourceHeight);
  const shorter = Math.min(sourceWidth, sourceHeight);
  const longestEdge = Math.floor((shortestEdge * longer) / shorter);
  const resizedWidth = sourceWidth <= sourceHeight ? shortestEdge : longestEdge;
  const resizedHeight = sourceWidth <= sourceHeight ? longestEdge : shortestEdge;
  const left = Math.floor((resizedWidth - cropSize) / 2);
  const top = Math.floor((resizedHeight - cropSize) / 2);
  return { resizedWidth, resizedHeight, left, top, width: cropSize, height: cropSize };
}

function planFit(sourceWidth: number, sourceHeight: number, longestSide: number, patchSize: number): Plan {
  const longer = Math.max(sourceWidth, sourceHeight);
  const toPatches = (side: number): number =>
    Math.max(1, Math.round((side * longestSide) / (longer * patchSize))) * patchSize;
  return whole(toPatches(sourceWidth), toPatches(sourceHeight));
}

const whole = (width: number, height: number): Plan => ({
  resizedWidth: width,
  resizedHeight: height,
  left: 0,
  top: 0,
  width,
  height,
});

/** Python's `round`: halves go to the even neighbour. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}
