/** What callers of an ingest hand in, and what they get of it. */
import { IndexError } from '../../errors.js';
import { checkOptions } from '../../optionNames.js';
import type { DescribeOptions } from './describe.js';
import type { IngestProgress } from './progress.js';

export interface IngestOptions extends Omit<DescribeOptions, 'patches'> {
  /** Images in a forward at most, where they have one size. Default 8. */
  readonly batchSize?: number | undefined;
  /** Longer side of the small pictures that the index keeps; 0 for none. Default 256. */
  readonly thumbnailPx?: number | undefined;
  /**
   * What ids begin with, before a slash: two folders of one name need it, since theirs would be the same.
   * Where it is given, '' too, the caller vouches that ids that begin so are those of this folder, so that
   * one that was moved takes the place of what it was.
   */
  readonly under?: string | undefined;
  /** Removes items of the folders that are ingested whose files are no longer there. Default false. */
  readonly removeMissing?: boolean | undefined;
  /** What else to keep of an image, beside `file`: an object of JSON values. */
  readonly metadata?: ((id: string, file: File) => Record<string, unknown>) | undefined;
  readonly onProgress?: ((progress: IngestProgress) => void) | undefined;
}

/** What an index keeps of a file, as `metadata.file`: by it a file that has changed is known. */
export interface FileMetadata {
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly lastModified: number;
  /** Of the image, upright, in pixels, where the browser could decode it. */
  readonly width?: number;
  readonly height?: number;
  /**
   * What became of its pixels: the preprocessing and the options, as `ModelIdentity.preprocessing` has them. Kept
   * by an index without `model`, whose header does not say it, and only where it is not the default.
   */
  readonly look?: string;
}

/** A file that could not be taken, and why. */
export interface IngestFailure {
  readonly id: string;
  /**
   * All ids, `id` first, where several files are of one format that is not decoded here (HEIC, TIFF): such
   * files have one failure together.
   */
  readonly ids?: readonly string[] | undefined;
  readonly error: Error;
}

/** What came of an ingest. */
export interface IngestReport extends IngestProgress {
  readonly failures: readonly IngestFailure[];
}

/** Options that change nothing of what the model sees or gives. */
export const OWN_OPTIONS: ReadonlySet<string> = new Set<keyof IngestOptions>([
  'batchSize',
  'thumbnailPx',
  'under',
  'removeMissing',
  'metadata',
  'onProgress',
  'signal',
]);

/** @throws OptionError OPTION_VALUE, OPTION_NAME; IndexError INDEX_OPTIONS */
export function checkIngestOptions(options: IngestOptions): void {
  checkOptions('ingest', options);
  const { batchSize = 1, under = '', thumbnailPx = 0 } = options;
  if (/^\/|\/(\/|$)/.test(under))
    throw new IndexError(
      'INDEX_OPTIONS',
      `under: expected a name, or several with a slash between, found ${JSON.stringify(under)}.`,
    );
  if (!Number.isInteger(thumbnailPx) || thumbnailPx < 0)
    throw new IndexError(
      'INDEX_OPTIONS',
      `thumbnailPx: expected a whole number from 0, found ${String(thumbnailPx)}.`,
    );
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new IndexError(
      'INDEX_OPTIONS',
      `batchSize: expected a whole number from 1, found ${String(batchSize)}.`,
    );
}
