/** The features that the page shows, with everything that was read from them. */
import type { Features, PatchPosition, PatchSimilarity } from '../../src/index.js';
import type { Loaded } from '../shared/modelChoice.js';
import type { InputSize, Picture } from '../shared/picture.js';

/** From what features are computed. */
export interface Origin {
  readonly loaded: Loaded;
  readonly picture: Picture;
  readonly input: InputSize;
  /** The block whose attention can be read, counted from 0; -1 is the last. */
  readonly block: number;
}

/** Features with the tokens of their patches, read for similarities. */
export interface Result extends Origin {
  readonly features: Features;
  readonly similarity: PatchSimilarity;
}

/** Describes a patch for a caption. Rows and columns are counted from 1. */
export const patchName = ({ row, col }: PatchPosition): string => `row ${row + 1}, column ${col + 1}`;

/** Returns the patch in the middle of the picture. */
export const middle = ({ features }: Result): PatchPosition => ({
  row: features.rows >> 1,
  col: features.cols >> 1,
});

/** Returns the nearest position inside of the grid of patches. */
export const within = ({ features }: Result, { row, col }: PatchPosition): PatchPosition => ({
  row: Math.min(features.rows - 1, Math.max(0, row)),
  col: Math.min(features.cols - 1, Math.max(0, col)),
});
