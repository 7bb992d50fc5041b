/**
 * How this page looks at photographs. All of a collection are looked at in one way, which its header names.
 */
import type { FileMetadata } from '../../src/search.js';

/**
 * The whole photograph, upright, its longer side brought to 224 pixels: 16 patches, and as few of the shorter
 * one as it has.
 */
export const LOOK = { resize: 'fit', longestSide: 224, orientation: 'respect', pooling: 'cls' } as const;

/** What an item says of its file, where it came from one. */
export function fileOf(metadata: unknown): FileMetadata | undefined {
  if (typeof metadata !== 'object' || metadata === null || !('file' in metadata)) return undefined;
  const { file } = metadata;
  return typeof file === 'object' && file !== null && 'size' in file ? (file as FileMetadata) : undefined;
}

/** The last part of a path. */
export const nameOf = (id: string): string => id.slice(id.lastIndexOf('/') + 1);

export const count = (photographs: number): string =>
  photographs === 1 ? '1 photograph' : `${photographs.toLocaleString('en')} photographs`;

/** `40 s`, `3 min`, `2 h 5 min`: rough, as an estimate is. */
export function time(seconds: number): string {
  if (seconds < 55) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
