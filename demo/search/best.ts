/** Which of several copies of a photograph is the best one. */
import type { FileMetadata } from '../../src/search.js';

export interface Copy {
  readonly id: string;
  readonly file: FileMetadata | undefined;
}

const pixels = ({ file }: Copy): number => (file?.width ?? 0) * (file?.height ?? 0);
const bytes = ({ file }: Copy): number => file?.size ?? 0;
const date = ({ file }: Copy): number => file?.lastModified ?? Infinity;

/**
 * Returns the id of the best copy: the one with the most pixels; of these, the largest file; of these, the
 * oldest file; of these, the first.
 */
export function bestOf(copies: readonly Copy[]): string {
  const sorted = [...copies].sort(
    (a, b) =>
      pixels(b) - pixels(a) || bytes(b) - bytes(a) || (date(a) < date(b) ? -1 : Number(date(a) > date(b))),
  );
  return sorted[0]!.id;
}
