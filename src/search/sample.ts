/** How many items stand for all of them where a start is looked for, and one row as a direction. */
import type { VectorTable } from './table.js';

export const SAMPLE = 4096;
export const ROUNDS_PER_SAMPLE = 8;

/** A row scaled to length 1 (a row of zeros stays one), into `out`. */
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
