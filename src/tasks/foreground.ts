/**
 * Finds the patches of an image's subject. A threshold on the first principal component splits the patches
 * into two sides, and a rule chooses the side of the subject.
 */

/** Sorts values and clamps them to the 1st and the 99th percentile. */
function clipped(values: Float64Array): Float64Array {
  const sorted = values.slice().sort();
  const low = quantile(sorted, 0.01);
  const high = quantile(sorted, 0.99);
  return sorted.map((value) => Math.min(Math.max(value, low), high));
}

/**
 * Computes Otsu's threshold (IEEE Trans. SMC 9 (1979)): the threshold that maximizes the variance between the
 * two classes. Every value is tried as the threshold, so the result does not depend on histogram bins. Values
 * are first clamped to the 1st and 99th percentile, so that a few outliers do not form a class: large models
 * have patches with extreme features.
 * @returns undefined, if all values are equal
 */
export function otsuThreshold(values: Float64Array): number | undefined {
  const sorted = clipped(values);
  const n = sorted.length;
  const total = sorted.reduce((sum, value) => sum + value, 0);
  let below = 0;
  let best = 0;
  let threshold: number | undefined;
  for (let i = 0; i + 1 < n; i++) {
    const value = sorted[i]!;
    const next = sorted[i + 1]!;
    below += value;
    if (!(next > value)) continue;
    const distance = below / (i + 1) - (total - below) / (n - i - 1);
    const between = (i + 1) * (n - i - 1) * distance * distance;
    if (between > best) {
      best = between;
      threshold = (value + next) / 2;
    }
  }
  return threshold;
}

function variance(values: Float64Array): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
}

/** Returns the quantile `q` (0 … 1) of sorted values, with linear interpolation as in numpy's default. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1);
  const i = Math.floor(at);
  const low = sorted[i]!;
  const high = sorted[Math.min(i + 1, sorted.length - 1)]!;
  return low + (high - low) * (at - i);
}

/** A split of patches by score. A patch is foreground if `sign · (score - threshold)` > 0. */
export interface Split {
  readonly sign: 1 | -1;
  readonly threshold: number;
}

/**
 * Smallest accepted share of the patches on either side of a split. A split with a smaller side does not
 * separate a subject from a background.
 */
const SMALLEST_SHARE = 0.02;
/**
 * Smallest accepted share of the scores' variance that is left after outliers are clamped. If less is left,
 * the split shows the outliers, not a subject.
 */
const SMALLEST_CLIPPED_VARIANCE = 0.5;

/**
 * Splits patches by score. The foreground is the side with fewer border patches, because the subject of a
 * photograph is usually inside. If both sides have equally many border patches, the foreground is the smaller
 * side.
 * @param border 1 for a patch at the border of its image, else 0
 * @param inverted true to select the other side, for a subject that fills the border
 * @returns undefined, if the scores do not separate into two sides
 */
export function splitForeground(
  scores: Float64Array,
  border: Uint8Array,
  inverted = false,
): Split | undefined {
  const threshold = otsuThreshold(scores);
  if (threshold === undefined || variance(clipped(scores)) < SMALLEST_CLIPPED_VARIANCE * variance(scores))
    return undefined;
  let above = 0;
  let borderAbove = 0;
  let borderAll = 0;
  scores.forEach((score, i) => {
    borderAll += border[i]!;
    if (score <= threshold) return;
    above += 1;
    borderAbove += border[i]!;
  });
  const share = above / scores.length;
  if (share < SMALLEST_SHARE || share > 1 - SMALLEST_SHARE) return undefined;
  const borderBelow = borderAll - borderAbove;
  const subjectAbove = borderAbove === borderBelow ? share <= 0.5 : borderAbove < borderBelow;
  return { sign: subjectAbove !== inverted ? 1 : -1, threshold };
}

/** Returns 1 for the border patches of a grid and 0 for the other patches, row by row. */
export function borderOf(rows: number, cols: number): Uint8Array {
  const border = new Uint8Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      if (row === 0 || col === 0 || row === rows - 1 || col === cols - 1) border[row * cols + col] = 1;
    }
  }
  return border;
}
