/** Option and result types of `ingest`. */
import { IndexError } from '../../errors.js';
import { checkOptions } from '../../optionNames.js';
import type { DescribeOptions } from './describe.js';
import type { IngestProgress } from './progress.js';
import type { EmbedFilesOptions } from './target.js';

/** Options of `ingest`, including the options of `embed` that change pixels and pooling. */
export interface IngestOptions extends Omit<DescribeOptions, 'patches'> {
  /** Maximum number of images of one size that the model computes together. Default 8. */
  readonly batchSize?: number | undefined;
  /** Longer side of the stored thumbnails in pixels; 0 stores none. Default 256. */
  readonly thumbnailPx?: number | undefined;
  /**
   * Prefix of the ids (`under/folder/name.jpg`). Needed if two folders have the same name. Setting it, even
   * to '', declares that all ids with this prefix belong to the ingested folder, so that a folder that was
   * moved updates its items. Default: no prefix, and no such declaration.
   */
  readonly under?: string | undefined;
  /** Removes items of the ingested folders whose files no longer exist. Default false. */
  readonly removeMissing?: boolean | undefined;
  /** Returns metadata to store beside `file`: an object of JSON values. */
  readonly metadata?: ((id: string, file: File) => Record<string, unknown>) | undefined;
  /** Called as the ingest proceeds, at most ten times a second, and when `phase` changes. */
  readonly onProgress?: ((progress: IngestProgress) => void) | undefined;
}

/** File data that the index stores as `metadata.file`. Size and date show whether a file has changed. */
export interface FileMetadata {
  /** Size in bytes. */
  readonly size: number;
  /** Date of the last change, in milliseconds since 1970. */
  readonly lastModified: number;
  /** Width of the upright image in pixels, if the browser could decode it. */
  readonly width?: number;
  /** Height of the upright image in pixels. */
  readonly height?: number;
  /**
   * Preprocessing and options in the form of `ModelIdentity.preprocessing`. Only stored if the index has no
   * `model` and the preprocessing is not the default.
   */
  readonly look?: string;
}

/** A file that could not be ingested, and why. */
export interface IngestFailure {
  /** Id of the file. */
  readonly id: string;
  /**
   * Ids of all files, `id` first, if several files have a format that this browser does not decode (HEIC,
   * TIFF). Such files share one failure.
   */
  readonly ids?: readonly string[] | undefined;
  /** Why the file could not be ingested. */
  readonly error: Error;
}

/** The result of an ingest. */
export interface IngestReport extends IngestProgress {
  /** Files that could not be ingested. */
  readonly failures: readonly IngestFailure[];
}

/** Options of the ingest itself, which do not change the vectors. */
export const OWN_OPTIONS: ReadonlySet<string> = new Set<keyof IngestOptions>([
  'batchSize',
  'thumbnailPx',
  'under',
  'removeMissing',
  'metadata',
  'onProgress',
  'signal',
]);

export const BATCH_SIZE = 8;
export const THUMBNAIL_PX = 256;

/** The options of an ingest that are passed to the model, with defaults filled in. */
export function embedOptions(
  options: IngestOptions,
): Omit<EmbedFilesOptions, 'patches'> & { readonly batchSize: number } {
  const {
    batchSize = BATCH_SIZE,
    thumbnailPx = THUMBNAIL_PX,
    metadata: _,
    under: __,
    removeMissing: ___,
    onProgress: ____,
    ...pixels
  } = options;
  return { ...pixels, batchSize, thumbnailPx, normalize: false };
}

/** Checks the options of `ingest`. @throws OptionError OPTION_VALUE, OPTION_NAME; IndexError INDEX_OPTIONS */
export function checkIngestOptions(options: IngestOptions): void {
  checkOptions('ingest', options);
  const { batchSize = 1, under = '', thumbnailPx = 0 } = options;
  if (/^\/|\/(\/|$)/.test(under))
    throw new IndexError(
      'INDEX_OPTIONS',
      `under: expected a name, or names separated by slashes, found ${JSON.stringify(under)}.`,
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
