/** Converts 8-bit values to the model's input: Python's rescale and normalize, bit for bit in float32. */

/** Maps an 8-bit value to the model's input: `(value * rescaleFactor - mean) / std`, per channel. */
export interface Normalization {
  /** `rescale_factor` in Python. */
  readonly rescaleFactor: number;
  /** `image_mean` in Python: red, green, blue. */
  readonly mean: readonly [number, number, number];
  /** `image_std` in Python: red, green, blue. */
  readonly std: readonly [number, number, number];
}

/** Values in preprocessor_config.json of facebook/dinov2: ImageNet's mean and standard deviation. */
export const IMAGENET: Normalization = {
  rescaleFactor: 0.00392156862745098,
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

/**
 * Returns the model's input for every 8-bit value: (3, 256) in float32. transformers/image_transforms.py
 * multiplies in float64 and rounds to float32 (`rescale`), then subtracts and divides in float32
 * (`normalize`). Subtracting and dividing float32 values in float64, then rounding to float32, gives the same
 * bits.
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
 * Returns true if every level is finite. Returns false if `std` is 0 in float32, or if a quotient overflows
 * float32.
 */
export const isUsable = (normalization: Normalization): boolean =>
  levelsOf(normalization).every(Number.isFinite);
