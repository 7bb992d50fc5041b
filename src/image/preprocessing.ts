/** How an image becomes pixels, as a checkpoint says it: resize, crop, resampling filter and normalisation. */
import { ConfigError } from '../errors.js';
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

/** @throws ConfigError */
export function parsePreprocessorConfig(json: unknown): Preprocessing {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new ConfigError('CONFIG_FIELD', 'preprocessor_config.json: expected an object.');
  const { image_mean: mean, image_std: std, image_processor_type: type } = json as Record<string, unknown>;
  if (type !== undefined && !/^(BitImageProcessor|ViTImageProcessor)(Fast)?$/.test(String(type)))
    throw new ConfigError(
      'CONFIG_UNSUPPORTED',
      `preprocessor_config.json: ${String(type)} is not understood.`,
    );
  return {
    ...DEFAULT_PREPROCESSING,
    source: 'preprocessor_config.json',
    normalization: {
      ...IMAGENET,
      ...(mean !== undefined && { mean: mean as [number, number, number] }),
      ...(std !== undefined && { std: std as [number, number, number] }),
    },
  };
}

export function timmPreprocessing(configJson: unknown): Preprocessing | undefined {
  const { pretrained_cfg: found } = configJson as { readonly pretrained_cfg?: Record<string, unknown> };
  if (!found) return undefined;
  return {
    ...DEFAULT_PREPROCESSING,
    source: 'config.json',
    convention: 'timm',
    normalization: {
      ...IMAGENET,
      mean: found['mean'] as [number, number, number],
      std: found['std'] as [number, number, number],
    },
  };
}

/** Canonical text of what changes pixels; '' for the default. */
export function preprocessingText({ source: _source, ...pixels }: Preprocessing): string {
  const { source: _usual, ...usual } = DEFAULT_PREPROCESSING;
  const text = JSON.stringify(pixels);
  return text === JSON.stringify(usual) ? '' : text;
}
