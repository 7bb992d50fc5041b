/**
 * A checkpoint's preprocessing (resize, crop, resampling filter and normalization), and the options of a call
 * that replace parts of it.
 */
import type { Resample } from './coefficients.js';
import { IMAGENET, type Normalization } from './normalization.js';

export type { Resample } from './coefficients.js';

/** The rule that gives the size of the resized image. Lengths are in pixels. */
export type ResizeRule =
  | {
      /** Length of the shorter edge. The aspect ratio is kept. */
      readonly shortestEdge: number;
      /** Largest length of the longer edge. Default: no limit. */
      readonly longestEdge?: number | undefined;
    }
  | {
      /** Exact height. The aspect ratio is not kept. */
      readonly height: number;
      /** Exact width. The aspect ratio is not kept. */
      readonly width: number;
    }
  | {
      /**
       * Largest height. The image gets the largest size within `maxHeight` and `maxWidth`; the aspect ratio
       * is kept.
       */
      readonly maxHeight: number;
      /** Largest width. */
      readonly maxWidth: number;
    }
  | {
      /**
       * Smallest height (timm only). The image gets the smallest size that is not below `minHeight` and
       * `minWidth`; the aspect ratio is kept.
       */
      readonly minHeight: number;
      /** Smallest width. */
      readonly minWidth: number;
    }
  | {
      /** Height before it is rounded to a multiple of `multipleOf`, as in `DPTImageProcessor`. */
      readonly height: number;
      /** Width before it is rounded to a multiple of `multipleOf`. */
      readonly width: number;
      /** Each side is rounded to a multiple of this length. */
      readonly multipleOf: number;
      /**
       * True: both sides are scaled by the same factor before they are rounded. This factor is the factor for
       * the height or the factor for the width, whichever is nearer to 1. False: each side is scaled by its
       * own factor.
       */
      readonly keepAspectRatio: boolean;
    };

/** The central crop. If a side of the crop is larger than the resized image, the image is padded. */
export interface CropRule {
  /** Height of the crop in pixels. */
  readonly height: number;
  /** Width of the crop in pixels. */
  readonly width: number;
  /** Colour of the padding: red, green and blue from 0 to 255. Default black. */
  readonly fill?: readonly [number, number, number] | undefined;
}

/** The preprocessing that turns an image into the model's input. */
export interface Preprocessing {
  /**
   * Origin of the values: the checkpoint's `preprocessor_config.json`; the checkpoint's `config.json` (timm's
   * `pretrained_cfg`); or `default`, the values of facebook/dinov2 for a checkpoint without either.
   */
  readonly source: 'preprocessor_config.json' | 'config.json' | 'default';
  /** The resize. Undefined: the image keeps its size. */
  readonly resize: ResizeRule | undefined;
  /** The central crop. Undefined: no crop. */
  readonly crop: CropRule | undefined;
  /** Resampling filter of the resize. */
  readonly resample: Resample;
  /** Rescale factor, mean and standard deviation. */
  readonly normalization: Normalization;
  /**
   * The Python code whose rounding of sizes and crop offsets is reproduced: the image processors of
   * transformers, or timm's `create_transform`.
   */
  readonly convention: 'transformers' | 'timm';
}

/** Values in preprocessor_config.json of facebook/dinov2-small, -base, -large and -giant. */
export const DEFAULT_PREPROCESSING: Preprocessing = {
  source: 'default',
  resize: { shortestEdge: 256 },
  crop: { height: 224, width: 224 },
  resample: 'bicubic',
  normalization: IMAGENET,
  convention: 'transformers',
};

/**
 * Returns a text that describes every part of a preprocessing that changes pixels. Model identities are
 * compared by this text. Two preprocessings that give equal pixels have equal texts, even if their `source`
 * differs. The text of the default preprocessing is empty.
 */
export function preprocessingText(preprocessing: Preprocessing): string {
  const text = textOf(preprocessing);
  return text === textOf(DEFAULT_PREPROCESSING) ? '' : text;
}

function textOf({ resize, crop, resample, normalization, convention }: Preprocessing): string {
  const { rescaleFactor, mean, std } = normalization;
  const fill = crop?.fill?.some((value) => value !== 0) ? ` fill ${crop.fill.join()}` : '';
  return [
    `resize ${resize ? resizeText(resize) : 'none'}`,
    `crop ${crop ? `${crop.height}×${crop.width}${fill}` : 'none'}`,
    resample,
    `rescale ${rescaleFactor}`,
    `mean ${mean.join()}`,
    `std ${std.join()}`,
    ...(convention === 'timm' ? ['timm'] : []),
  ].join('; ');
}

function resizeText(rule: ResizeRule): string {
  if ('shortestEdge' in rule)
    return `shortest ${rule.shortestEdge}${rule.longestEdge === undefined ? '' : ` longest ${rule.longestEdge}`}`;
  if ('maxHeight' in rule) return `within ${rule.maxHeight}×${rule.maxWidth}`;
  if ('minHeight' in rule) return `covering ${rule.minHeight}×${rule.minWidth}`;
  const size = `${rule.height}×${rule.width}`;
  if (!('multipleOf' in rule)) return size;
  return `${size} multiple ${rule.multipleOf}${rule.keepAspectRatio ? ' aspect' : ''}`;
}

/**
 * How an image is resized for the model:
 * - `crop`: resizes the shorter edge to `shortestEdge`, then cuts out the central square of `cropSize`;
 * - `fit`: resizes the whole image and keeps its aspect ratio. The longer side becomes `longestSide`; both
 *   sides are rounded to the nearest multiple of the patch size;
 * - `square`: resizes the whole image to `size` × `size`, without keeping the aspect ratio.
 */
export type Resize = 'crop' | 'fit' | 'square';

/** Options of one call that replace the sizes in the checkpoint's preprocessing. */
export interface ResizeOptions {
  /**
   * How the image is resized. Default: the rule in `model.preprocessing`, which is 'crop' for most
   * checkpoints. `cropSize` or `shortestEdge` without `resize` implies 'crop'.
   */
  readonly resize?: Resize | undefined;
  /**
   * For 'crop': side of the central square in pixels (`crop_size` in Python). A smaller resized image is
   * padded with black. If the side is not a multiple of the patch size, the model ignores the remainder at
   * the right and at the bottom. Default: the checkpoint's crop size, or 224 if the checkpoint does not crop.
   */
  readonly cropSize?: number | undefined;
  /**
   * For 'crop': length of the shorter edge in pixels (`size.shortest_edge` in Python). Default: the
   * checkpoint's shortest edge, scaled in proportion if `cropSize` differs from the checkpoint's crop size.
   * If the checkpoint does not crop: 256/224 of the crop size.
   */
  readonly shortestEdge?: number | undefined;
  /**
   * For 'fit': length of the longer side in pixels, rounded to a multiple of the patch size. Default 518, the
   * size in the last phase of DINOv2's training.
   */
  readonly longestSide?: number | undefined;
  /**
   * For 'square': both sides in pixels (`size.height` and `size.width` in Python). If the size is not a
   * multiple of the patch size, the model ignores the remainder at the right and at the bottom. Default: the
   * checkpoint's size if the checkpoint resizes to a square without a crop, else 224.
   */
  readonly size?: number | undefined;
}

/** Options of one call that replace parts of the checkpoint's preprocessing. */
export interface PreprocessingOptions extends ResizeOptions {
  /** Mean, standard deviation and rescale factor. Absent fields: the checkpoint's values. */
  readonly normalization?: Partial<Normalization> | undefined;
  /** Resampling filter. Default: the checkpoint's filter. */
  readonly resample?: Resample | undefined;
}
