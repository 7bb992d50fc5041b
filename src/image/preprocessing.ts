/** How an image becomes pixels, as a checkpoint says it: resize, crop, resampling filter and normalisation. */
import type { Resample } from './coefficients.js';
import type { ResizeOptions } from './geometry.js';
import { IMAGENET, type Normalization } from './normalization.js';

export type { Resample } from './coefficients.js';

/** The size that an image is resized to, in pixels. */
export type ResizeRule =
  /** The shorter edge to this length; the aspect ratio is kept, and the longer edge has at most `longestEdge`. */
  | { readonly shortestEdge: number; readonly longestEdge?: number | undefined }
  /** Exactly this size; the aspect ratio is not kept. */
  | { readonly height: number; readonly width: number }
  /** The largest size that fits into this one, with the aspect ratio kept. */
  | { readonly maxHeight: number; readonly maxWidth: number }
  /** timm alone: the smallest size that covers this one, with the aspect ratio kept. */
  | { readonly minHeight: number; readonly minWidth: number }
  /**
   * `DPTImageProcessor`: towards this size, each side rounded to a multiple; with `keepAspectRatio` both sides
   * are scaled by the factor that is nearer to 1.
   */
  | {
      readonly height: number;
      readonly width: number;
      readonly multipleOf: number;
      readonly keepAspectRatio: boolean;
    };

/** The size of the central crop. A side that is larger than the resized image is padded. */
export interface CropRule {
  readonly height: number;
  readonly width: number;
  /** The colour of the padding: red, green and blue from 0 to 255. Default black. */
  readonly fill?: readonly [number, number, number] | undefined;
}

/** What is done to an image before the model sees it. */
export interface Preprocessing {
  /**
   * Where these values come from: the checkpoint's `preprocessor_config.json`; its `config.json` (timm's
   * `pretrained_cfg`); `default`, those of facebook/dinov2, where the checkpoint has neither.
   */
  readonly source: 'preprocessor_config.json' | 'config.json' | 'default';
  /** Undefined: the image keeps its size. */
  readonly resize: ResizeRule | undefined;
  /** Undefined: no crop. */
  readonly crop: CropRule | undefined;
  readonly resample: Resample;
  readonly normalization: Normalization;
  /**
   * Whose rounding of sizes and crop offsets is followed: the image processors of transformers, or timm's
   * `create_transform`.
   */
  readonly convention: 'transformers' | 'timm';
}

/** preprocessor_config.json of facebook/dinov2-small, -base, -large and -giant. */
export const DEFAULT_PREPROCESSING: Preprocessing = {
  source: 'default',
  resize: { shortestEdge: 256 },
  crop: { height: 224, width: 224 },
  resample: 'bicubic',
  normalization: IMAGENET,
  convention: 'transformers',
};

/**
 * A text of everything in a preprocessing that changes pixels, for identities: equal for equal pixels,
 * wherever the values came from. The default's is empty.
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

/** The options of a call that replace parts of a checkpoint's preprocessing. */
export interface PreprocessingOptions extends ResizeOptions {
  /** Mean, standard deviation and rescale factor; what is left out is the checkpoint's. */
  readonly normalization?: Partial<Normalization> | undefined;
  /** The resampling filter. Default: the checkpoint's. */
  readonly resample?: Resample | undefined;
}
