/**
 * The preprocessing that the search page uses for all photographs. The header of the collection's index
 * contains it.
 */
import type { FileMetadata } from '../../src/search.js';

/**
 * The preprocessing: the whole photograph is turned upright and scaled so that its longer side has 224
 * pixels, which are 16 patches.
 */
export const LOOK = { resize: 'fit', longestSide: 224, orientation: 'respect', pooling: 'cls' } as const;

/**
 * Returns the data about an item's file from the item's metadata; undefined if the item was not made from a
 * file.
 */
export function fileOf(metadata: unknown): FileMetadata | undefined {
  if (typeof metadata !== 'object' || metadata === null || !('file' in metadata)) return undefined;
  const { file } = metadata;
  return typeof file === 'object' && file !== null && 'size' in file ? (file as FileMetadata) : undefined;
}

/** Returns the file name of a photograph, which is the last part of its path. */
export const nameOf = (id: string): string => id.slice(id.lastIndexOf('/') + 1);

export const count = (photographs: number): string =>
  photographs === 1 ? '1 photograph' : `${photographs.toLocaleString('en')} photographs`;

/** Formats a duration roughly: `40 s`, `3 min`, `2 h 5 min`. */
export function time(seconds: number): string {
  if (seconds < 55) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
