/**
 * The preprocessing that this page uses for all photographs. The collection's header records the
 * preprocessing.
 */
import type { FileMetadata } from '../../src/search.js';

/**
 * Preprocessing: the whole upright photograph, scaled so that its longer side has 224 pixels, which are 16
 * patches.
 */
export const LOOK = { resize: 'fit', longestSide: 224, orientation: 'respect', pooling: 'cls' } as const;

/** The file metadata of an item, if it came from a file. */
export function fileOf(metadata: unknown): FileMetadata | undefined {
  if (typeof metadata !== 'object' || metadata === null || !('file' in metadata)) return undefined;
  const { file } = metadata;
  return typeof file === 'object' && file !== null && 'size' in file ? (file as FileMetadata) : undefined;
}

/** The last part of a path. */
export const nameOf = (id: string): string => id.slice(id.lastIndexOf('/') + 1);

export const count = (photographs: number): string =>
  photographs === 1 ? '1 photograph' : `${photographs.toLocaleString('en')} photographs`;

/** Formats a duration roughly: `40 s`, `3 min`, `2 h 5 min`. */
export function time(seconds: number): string {
  if (seconds < 55) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
