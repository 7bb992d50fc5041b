/** Option and result types of `ingest`. */
import { IndexError } from '../../errors.js';
import { checkOptions } from '../../optionNames.js';
import type { DescribeOptions } from './describe.js';
import type { IngestProgress } from './progress.js';
import type { EmbedFilesOptions } from './target.js';
import { show } from '../../platform/json.js';

/** Options of `ingest`, including the options of `embed` that change pixels and pooling. */
export interface IngestOptions extends Omit<DescribeOptions, 'patches'> {
  /** Maximum number of images of one size that the model computes together. Default 8. */
  readonly batchSize?: number | undefined;
  /** Longer side of the stored thumbnails in pixels; 0 stores none. Default 256. */
  readonly thumbnailPx?: number | undefined;
  /**
   * Prefix of the ids (`under/folder/name.jpg`). Needed if two folders have the same name. If `under` is set,
   * even to '', the ingest assumes that all existing items whose ids begin with the prefix and the folder's
   * name came from this folder, and updates them. Set it for a folder that was moved. Default: no prefix, and
   * no such assumption.
   */
  readonly under?: string | undefined;
  /** True to remove items of the ingested folders whose files no longer exist. Default false. */
  readonly removeMissing?: boolean | undefined;
  /** Returns more metadata for an item: an object of JSON values, which is stored beside `metadata.file`. */
  readonly metadata?: ((id: string, file: File) => Record<string, unknown>) | undefined;
  /** Called as the ingest proceeds, at most ten times a second, and when `phase` changes. */
  readonly onProgress?: ((progress: IngestProgress) => void) | undefined;
}

/**
 * Data about the file of an image, which the index stores as `metadata.file`. Size and date show whether the
 * file has changed since.
 */
export interface FileMetadata {
  /** Size in bytes. */
  readonly size: number;
  /** Date of the last change, in milliseconds since 1970. */
  readonly lastModified: number;
  /** Width of the upright image in pixels, if the browser could decode it. */
  readonly width?: number;
  /** Height of the upright image in pixels, if the browser could decode it. */
  readonly height?: number;
  /**
   * Text that describes preprocessing and pooling, in the form of `ModelIdentity.preprocessing`. Stored only
   * if the index has no `model` and the preprocessing is not the default.
   */
  readonly look?: string;
}

/** A file that could not be ingested, and why. */
export interface IngestFailure {
  /** Id that the file's item would have. */
  readonly id: string;
  /**
   * Ids of all files of one format, `id` first, if the browser does not decode this format (HEIC, TIFF). Such
   * files share one failure. Undefined for any other failure.
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

/** Names of the options that concern only the ingest itself and do not change the vectors. */
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

/** Returns those options of an ingest that are passed to the model. Missing options get defaults. */
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
      `thumbnailPx: expected a whole number from 0, found ${show(thumbnailPx)}.`,
    );
  if (!Number.isInteger(batchSize) || batchSize < 1)
    throw new IndexError(
      'INDEX_OPTIONS',
      `batchSize: expected a whole number from 1, found ${show(batchSize)}.`,
    );
}
