/** A checkpoint's preprocessing: resize, crop, resampling filter and normalization. */
import type { Resample } from './coefficients.js';
import type { ResizeOptions } from './geometry.js';
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
      /** Exact width. */
      readonly width: number;
    }
  | {
      /** Largest height. The image gets the largest size within the limits; the aspect ratio is kept. */
      readonly maxHeight: number;
      /** Largest width. */
      readonly maxWidth: number;
    }
  | {
      /** Smallest height (timm only). The image gets the smallest size that covers it; the aspect ratio is kept. */
      readonly minHeight: number;
      /** Smallest width. */
      readonly minWidth: number;
    }
  | {
      /** Height before rounding, as in `DPTImageProcessor`. */
      readonly height: number;
      /** Width before rounding. */
      readonly width: number;
      /** Each side is rounded to a multiple of this length. */
      readonly multipleOf: number;
      /** True: both sides are first scaled by one factor, the one of the two that is nearer to 1. */
      readonly keepAspectRatio: boolean;
    };

/** The central crop. If a side is larger than the resized image, the image is padded. */
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
   * Which implementation's rounding of sizes and crop offsets is followed: the image processors of
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
 * Describes everything in a preprocessing that changes pixels, for comparing model identities. Two
 * preprocessings with equal pixels have equal texts, whatever their `source`. The default preprocessing has
 * an empty text.
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

/** Options of a call that replace parts of the checkpoint's preprocessing. */
export interface PreprocessingOptions extends ResizeOptions {
  /** Mean, standard deviation and rescale factor. Absent fields: the checkpoint's values. */
  readonly normalization?: Partial<Normalization> | undefined;
  /** Resampling filter. Default: the checkpoint's. */
  readonly resample?: Resample | undefined;
}
