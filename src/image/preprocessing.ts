/** How an image becomes pixels, as a checkpoint says it: resize, crop, resampling filter and normalisation. */
import type { ResizeOptions } from './geometry.js';
import { IMAGENET, type Normalization } from './normalization.js';

/** Pillow's resampling filters. */
export type Resample = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos';

/** The size that an image is resized to, in pixels. */
export type ResizeRule =
  /** The shorter edge to this length; the aspect ratio is kept, and the longer edge has at most `longestEdge`. */
  | { readonly shortestEdge: number; readonly longestEdge?: number | undefined }
  /** Exactly this size; the aspect ratio is not kept. */
  | { readonly height: number; readonly width: number }
  /** The largest size that fits, with the aspect ratio kept. */
  | { readonly maxHeight: number; readonly maxWidth: number }
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

/** What is done to an image before the model sees it. */
export interface Preprocessing {
  /**
   * Where these values come from: the checkpoint's `preprocessor_config.json`; its `config.json` (timm's
   * `pretrained_cfg`); `default`, those of facebook/dinov2, where the checkpoint has neither.
   */
  readonly source: 'preprocessor_config.json' | 'config.json' | 'default';
  /** Undefined: the image keeps its size. */
  readonly resize: ResizeRule | undefined;
  /** The size of the central crop; a side that is larger than the image is padded. Undefined: no crop. */
  readonly crop: { readonly height: number; readonly width: number } | undefined;
  readonly resample: Resample;
  readonly normalization: Normalization;
  /**
   * Whose rounding of sizes, crop offsets and pixel values is followed: the image processors of transformers,
   * or timm's `create_transform`.
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

/** The options of a call that replace parts of a checkpoint's preprocessing. */
export interface PreprocessingOptions extends ResizeOptions {
  /** Mean, standard deviation and rescale factor. Default: the checkpoint's. */
  readonly normalization?: Partial<Normalization> | undefined;
  /** The resampling filter. Default: the checkpoint's. */
  readonly resample?: Resample | undefined;
}
