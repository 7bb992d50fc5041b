/**
 * The size of the sample from which k-means chooses its initial centres, and `unitRow`, which decodes a row
 * as a unit vector.
 */
import type { VectorTable } from './table.js';

/** Minimum number of rows in the sample from which k-means chooses its initial centres. */
export const SAMPLE = 4096;
/** Minimum number of sampled rows per cluster. */
export const ROWS_PER_CLUSTER = 8;

/** Decodes a row and writes it to `out`, scaled to length 1. A row of zeros stays zero. */
export function unitRow(
  vectors: VectorTable,
  row: number,
  out: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  vectors.decode(row, out);
  let squares = 0;
  for (let i = 0; i < out.length; i++) squares += out[i]! ** 2;
  if (squares > 0) {
    const norm = Math.sqrt(squares);
    for (let i = 0; i < out.length; i++) out[i] = out[i]! / norm;
  }
  return out;
}
