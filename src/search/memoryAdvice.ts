/** Says what a search needs on the GPU, for the reason why an index searches on the CPU. */
import type { DeviceError } from '../errors.js';
import { megabytes } from '../weights/storageAdvice.js';
import { wordsOf } from './gpuRows.js';
import type { VectorStorage } from './journal.js';

/** Bytes of the scores, block maxima, filter and candidates of one query, per row. */
const SEARCH_BYTES = 16.125;
/** The vectors on the GPU are a multiple of this number of rows. */
const ROWS_TOGETHER = 128;

/** Bytes that a search of one query needs on the GPU at least. */
export function searchBytes(count: number, dim: number, storage: VectorStorage): number {
  const words = wordsOf(dim, storage) + (storage === 'int8' ? 1 : 0);
  return Math.ceil(count / ROWS_TOGETHER) * ROWS_TOGETHER * (4 * words + SEARCH_BYTES);
}

/**
 * Returns the message of a memory error, with advice for a search. The message's own advice is for models, and is
 * left out.
 */
export function withSearchAdvice(
  { message }: DeviceError,
  { count, dim, storage }: { readonly count: number; readonly dim: number; readonly storage: VectorStorage },
): string {
  const found = message.replace(/ Use a smaller [^.]*\./, '');
  const need = (rows: number, as: VectorStorage): string => megabytes(searchBytes(rows, dim, as));
  const half = Math.ceil(count / 2);
  const others = [`${half} rows ${need(half, storage)}`];
  if (storage === 'f32') others.push(`storage: 'f16' ${need(count, 'f16')}`);
  if (storage !== 'int8') others.push(`storage: 'int8' ${need(count, 'int8')}`);
  return `${found} Searches now run on the CPU, and give the same hits. On the GPU, ${count} rows of ${dim} numbers stored as ${storage} need at least ${need(count, storage)}. To compare: ${others.join('; ')}.`;
}
