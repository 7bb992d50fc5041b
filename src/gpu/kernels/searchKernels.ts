/** The kernels of the similarity search (`search/`). A row is a stored vector. */
import assignText from '../../../shaders/search_assign.wgsl';
import floorText from '../../../shaders/search_floor.wgsl';
import pairsText from '../../../shaders/search_pairs.wgsl';
import scoresText from '../../../shaders/search_scores.wgsl';
import selectText from '../../../shaders/search_select.wgsl';
import searchRows from '../../../shaders/shared/search_rows.wgsl';
import searchSize from '../../../shaders/shared/search_size.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Computes the dot products of all stored vectors with one query. */
export const searchScores: Kernel = defineKernel(
  'search_scores',
  scoresText,
  'search_scores',
  ['uniform size', 'read rows', 'uniform query', 'write scores'],
  [searchRows],
);

/** Computes the dot products of all stored vectors with four queries. */
export const searchScores4: Kernel = defineKernel(
  'search_scores',
  scoresText,
  'search_scores4',
  ['uniform size', 'read rows', 'read query4', 'write scores'],
  [searchRows],
);

/** Finds the largest score in each block of stored vectors. */
export const searchMaxima: Kernel = defineKernel(
  'search_select',
  selectText,
  'search_maxima',
  ['uniform size', 'read scores', 'read allowed', 'write maxima'],
  [searchSize],
);

/** Computes a lower bound of the scores of a query's best stored vectors. */
export const searchFloor: Kernel = defineKernel(
  'search_floor',
  floorText,
  'search_floor',
  ['uniform size', 'read maxima', 'read limits', 'write floors'],
  [searchSize],
);

/** Collects all stored vectors whose score is at least the lower bound from `searchFloor`. */
export const searchCollect: Kernel = defineKernel(
  'search_select',
  selectText,
  'search_collect',
  ['uniform size', 'read scores', 'read allowed', 'read floors', 'write counts', 'write found'],
  [searchSize],
);

/** Finds pairs of stored vectors whose score may exceed a threshold. */
export const searchPairs: Kernel = defineKernel(
  'search_pairs',
  pairsText,
  'search_pairs',
  ['uniform size', 'read rows_a', 'read rows_b', 'read labels', 'write found'],
  [searchRows],
);

/** Finds the nearest cluster centre of each stored vector. */
export const searchAssign: Kernel = defineKernel(
  'search_assign',
  assignText,
  'search_assign',
  ['uniform size', 'read rows', 'read centers', 'write nearest', 'write highest', 'write second'],
  [searchRows],
);
