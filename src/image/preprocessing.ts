/** A checkpoint's preprocessing: resize, crop, resampling filter and normalization. */
import type { Resample } from './coefficients.js';
import type { ResizeOptions } from './geometry.js';
import { IMAGENET, type Normalization } from './normalization.js';

export type { Resample } from './coefficients.js';

/** The rule that gives the size of the resized image. Lengths are in pixels. */
export type ResizeRule =
  /** The shorter edge has this length, the longer edge at most `longestEdge`. The aspect ratio is kept. */
  | { readonly shortestEdge: number; readonly longestEdge?: number | undefined }
  /** Exactly this height and width. The aspect ratio is not kept. */
  | { readonly height: number; readonly width: number }
  /** The largest size that fits into `maxWidth` × `maxHeight`. The aspect ratio is kept. */
  | { readonly maxHeight: number; readonly maxWidth: number }
  /** The smallest size that covers `minWidth` × `minHeight` (timm only). The aspect ratio is kept. */
  | { readonly minHeight: number; readonly minWidth: number }
  /**
   * The rule of `DPTImageProcessor`: this height and width, each rounded to a multiple of `multipleOf`. With
   * `keepAspectRatio`, both sides are first scaled by the factor that is nearer to 1.
   */
  | {
      readonly height: number;
      readonly width: number;
      readonly multipleOf: number;
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
   * The implementation whose rounding of sizes and crop offsets is reproduced: the image processors of
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
 * Describes every part of a preprocessing that changes pixels, for comparing model identities. Two
 * preprocessings with equal pixels have equal texts, even if their `source` differs. The default
 * preprocessing has an empty text.
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

/** Options of one call that replace parts of the checkpoint's preprocessing. */
export interface PreprocessingOptions extends ResizeOptions {
  /** Mean, standard deviation and rescale factor. Absent fields: the checkpoint's values. */
  readonly normalization?: Partial<Normalization> | undefined;
  /** Resampling filter. Default: the checkpoint's filter. */
  readonly resample?: Resample | undefined;
}
