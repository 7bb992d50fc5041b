/**
 * What the model sees in place of an 8-bit value: Python's rescale and normalize, to the last bit of a
 * float32.
 */

export interface Normalization {
  /** `rescale_factor`. */
  readonly rescaleFactor: number;
  /** `image_mean` and `image_std`: red, green, blue. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** preprocessor_config.json of facebook/dinov2: ImageNet's mean and standard deviation. */
export const IMAGENET: Normalization = {
  rescaleFactor: 0.00392156862745098,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

/**
 * The float32 of every 8-bit value: (3, 256). transformers/image_transforms.py multiplies in float64 and
 * rounds to float32 (`rescale`), then subtracts and divides in float32 (`normalize`); rounding float64's
 * difference and quotient of float32 gives the same bits.
 */
export function levelsOf({ rescaleFactor, mean, std }: Normalization): Float32Array<ArrayBuffer> {
  const levels = new Float32Array(3 * 256);
  for (let channel = 0; channel < 3; channel++) {
    const centre = Math.fround(mean[channel]!);
    const spread = Math.fround(std[channel]!);
    for (let value = 0; value < 256; value++) {
      levels[channel * 256 + value] = Math.fround(Math.fround(value * rescaleFactor) - centre) / spread;
    }
  }
  return levels;
}

/**
 * Whether every level is finite: false for a standard deviation that is 0 in float32, and where a quotient is
 * too large for a float32.
 */
export const isUsable = (normalization: Normalization): boolean =>
  levelsOf(normalization).every(Number.isFinite);
