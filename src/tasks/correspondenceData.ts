/** The result of `correspondences`, in memory. */
import type { Nearest } from './nearestPatches.js';
import { wrong, type PatchPosition } from './patchMap.js';
import type { PatchMatch } from './patchSimilarity.js';

/** Two patches that correspond to each other. */
export interface Correspondence {
  /** The patch of image `a`. */
  readonly a: PatchPosition;
  /** The patch of image `b`. */
  readonly b: PatchPosition;
  /** Cosine similarity of the two patches, -1 to 1. */
  readonly score: number;
}

/** The most similar patches of each image, as data that can be sent from a worker. */
export interface NearestData {
  /** Patch rows and columns of image `a`. */
  readonly gridA: readonly [rows: number, cols: number];
  /** Patch rows and columns of image `b`. */
  readonly gridB: readonly [rows: number, cols: number];
  /** The most similar patch of `b` for each patch of `a`. */
  readonly ofA: Pick<Nearest, 'patches' | 'scores'>;
  /** The most similar patch of `a` for each patch of `b`. */
  readonly ofB: Pick<Nearest, 'patches' | 'scores'>;
  /** The selected pairs. */
  readonly matches: readonly Correspondence[];
}

/**
 * The corresponding patches of two images. The object is plain data in memory: it needs no `dispose()`.
 * @example
 * ```js
 * const found = await correspondences(featuresA, featuresB, { threshold: 0.5, topK: 50 });
 * for (const { a, b, score } of found.matches) console.log(a.row, a.col, b.row, b.col, score);
 * ```
 */
export class Correspondences {
  /** The pairs that the options select, those with the highest score first. */
  readonly matches: readonly Correspondence[];
  readonly #data: NearestData;

  /**
   * Called by `correspondences`.
   * @internal
   */
  constructor(data: NearestData) {
    this.matches = data.matches;
    this.#data = data;
  }

  /**
   * Returns the patch of `b` that is most similar to a patch of `a`. Does not depend on the options of
   * `correspondences`. The result is in memory, so this method can follow a pointer.
   * @throws OptionError OPTION_VALUE, if `a` has no patch at this row and column
   */
  nearest(row: number, col: number): PatchMatch {
    const { gridA, gridB, ofA } = this.#data;
    return matchAt('Correspondences.nearest', row, col, gridA, gridB, ofA);
  }

  /**
   * Returns the patch of `a` that is most similar to a patch of `b`: the opposite direction of `nearest`.
   * @throws OptionError OPTION_VALUE, if `b` has no patch at this row and column
   */
  nearestInA(row: number, col: number): PatchMatch {
    const { gridA, gridB, ofB } = this.#data;
    return matchAt('Correspondences.nearestInA', row, col, gridB, gridA, ofB);
  }
}

/** Returns the row and column of a patch of a grid. */
export const positionOf = (patch: number, [, cols]: NearestData['gridA']): PatchPosition => ({
  row: Math.floor(patch / cols),
  col: patch % cols,
});

function matchAt(
  where: string,
  row: number,
  col: number,
  [rows, cols]: NearestData['gridA'],
  other: NearestData['gridB'],
  { patches, scores }: Pick<Nearest, 'patches' | 'scores'>,
): PatchMatch {
  if (![row, col].every(Number.isInteger) || row < 0 || col < 0 || row >= rows || col >= cols)
    throw wrong(where, `a patch of the ${rows} × ${cols} grid (rows × columns)`, `row ${row}, col ${col}`);
  const patch = row * cols + col;
  return { ...positionOf(patches[patch]!, other), score: scores[patch]! };
}
