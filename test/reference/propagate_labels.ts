// Label propagation by nearest patches, in float64.

export interface Propagation {
  readonly rows: number;
  readonly cols: number;
  readonly topK: number;
  readonly radius: number;
  readonly temperature: number;
  readonly minSimilarity: number;
}

export interface ContextFrame {
  /** Unit vectors (patches, dim). */
  readonly patches: Float64Array;
  /** (patches) */
  readonly labels: ArrayLike<number>;
}

export interface Candidate {
  readonly similarity: number;
  readonly patch: number;
}

/** Rows of x, each divided by its length. */
export function unitPatches(x: ArrayLike<number>, dim: number): Float64Array {
  const out = Float64Array.from(x);
  for (let begin = 0; begin < out.length; begin += dim) {
    let squares = 0;
    for (let i = 0; i < dim; i++) squares += out[begin + i]! ** 2;
    for (let i = 0; i < dim; i++) out[begin + i]! /= Math.sqrt(squares) || 1;
  }
  return out;
}

/** The `topK` patches of a context frame that are most similar to a patch, within the radius. */
export function nearestContext(
  own: Float64Array,
  patch: number,
  context: Float64Array,
  { rows, cols, topK, radius }: Propagation,
): Candidate[] {
  const dim = own.length / (rows * cols);
  const [row, col] = [Math.floor(patch / cols), patch % cols];
  const found: Candidate[] = [];
  for (let y = Math.max(0, row - radius); y <= Math.min(rows - 1, row + radius); y++) {
    for (let x = Math.max(0, col - radius); x <= Math.min(cols - 1, col + radius); x++) {
      let similarity = 0;
      for (let i = 0; i < dim; i++) similarity += own[patch * dim + i]! * context[(y * cols + x) * dim + i]!;
      found.push({ similarity, patch: y * cols + x });
    }
  }
  return found.sort((a, b) => b.similarity - a.similarity).slice(0, topK);
}

/** The labels of a frame (patches), from the context frames in order of time. */
export function propagateLabels(
  own: Float64Array,
  context: readonly ContextFrame[],
  settings: Propagation,
): Float64Array {
  const { rows, cols, topK, temperature, minSimilarity } = settings;
  const out = new Float64Array(rows * cols);
  for (let patch = 0; patch < out.length; patch++) {
    const best = context
      .flatMap(({ patches, labels }) =>
        nearestContext(own, patch, patches, settings).map((each) => ({
          similarity: each.similarity,
          label: labels[each.patch]!,
        })),
      )
      .sort((a, b) => b.similarity - a.similarity)
      .slice(0, topK)
      .filter(({ similarity }) => similarity >= minSimilarity);
    let sum = 0;
    let weights = 0;
    for (const { similarity, label } of best) {
      const weight = Math.exp((similarity - best[0]!.similarity) / temperature);
      sum += weight * label;
      weights += weight;
    }
    if (weights > 0) out[patch] = sum / weights;
  }
  return out;
}
