/** Kernels that compute rows of the attention matrix. */
import attentionRowsText from '../../../shaders/attention_rows.wgsl';
import { defineKernel, type Kernel } from './kernel.js';

/** Computes rows of the attention matrix: the softmax weights of some queries. */
export const attentionRows: Kernel = defineKernel('attention_rows', attentionRowsText, 'attention_rows', [
  'uniform size',
  'read qkv',
  'write rows',
]);

/** Computes the mean over all heads of rows of the attention matrix. */
export const attentionRowsMean: Kernel = defineKernel(
  'attention_rows',
  attentionRowsText,
  'attention_rows_mean',
  ['uniform size', 'read head_rows', 'write mean'],
);
