/** The kernels of the principal component analysis (PCA) in `tasks/pca`. */
import centerText from '../../../shaders/pca_center.wgsl';
import colorText from '../../../shaders/pca_color.wgsl';
import orthonormalizeText from '../../../shaders/pca_orthonormalize.wgsl';
import powerText from '../../../shaders/pca_power.wgsl';
import pcaSize from '../../../shaders/shared/pca_size.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Sums each channel over the chosen patches of each chunk (a range of consecutive patches). */
export const pcaColumnSums: Kernel = defineKernel(
  'pca_center',
  centerText,
  'pca_column_sums',
  ['uniform size', 'read chosen', 'read x', 'write sums'],
  [pcaSize],
);

/** Subtracts the mean from the chosen patches, and sets all other patches to zero. */
export const pcaCenter: Kernel = defineKernel(
  'pca_center',
  centerText,
  'pca_center',
  ['uniform size', 'read chosen', 'read all_sums', 'write x_centered', 'write mean', 'write squares'],
  [pcaSize],
);

/** First step of a PCA iteration: scores = x · vectorsᵀ. */
export const pcaScores: Kernel = defineKernel(
  'pca_power',
  powerText,
  'pca_scores',
  ['uniform size', 'read x', 'read vectors', 'write scores'],
  [pcaSize],
);

/** Second step of a PCA iteration: xᵀ · scores for each chunk of patches. */
export const pcaPartials: Kernel = defineKernel(
  'pca_power',
  powerText,
  'pca_partials',
  ['uniform size', 'read x', 'read all_scores', 'write partials'],
  [pcaSize],
);

/** Third step of a PCA iteration: the sum of the results of all chunks. */
export const pcaProduct: Kernel = defineKernel(
  'pca_power',
  powerText,
  'pca_product',
  ['read all_partials', 'write product'],
  [pcaSize],
);

/** Fourth step of a PCA iteration: orthonormal vectors that span the same space as the product. */
export const pcaOrthonormalize: Kernel = defineKernel(
  'pca_orthonormalize',
  orthonormalizeText,
  'pca_orthonormalize',
  ['read product', 'write vectors'],
);

/** Computes the PCA colour of every patch. */
export const pcaColor: Kernel = defineKernel('pca_color', colorText, 'pca_color', [
  'uniform image',
  'read x',
  'read basis',
  'write rgba',
]);
