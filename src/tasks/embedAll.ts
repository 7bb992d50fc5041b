/** Embeds many images: vectors, and optionally patch tokens and thumbnails, for a search index. */
import type { ImageError } from '../errors.js';
import type { Thumbnail } from '../image/thumbnail.js';
import { inBatches, type BatchSteps } from './batches.js';

/** The patch tokens of an image. */
export interface EmbeddedPatches {
  /** Number of patch rows. */
  readonly rows: number;
  /** Number of patch columns. */
  readonly cols: number;
  /** The tokens: (rows, cols, embedDim). */
  readonly tokens: Float32Array<ArrayBuffer>;
}

/** Result for an image that was embedded. */
export interface Embedding {
  /** The image's vector. */
  readonly embedding: Float32Array<ArrayBuffer>;
  /** The patch tokens. Present only if the option `patches` is set. */
  readonly patches?: EmbeddedPatches | undefined;
  /** The thumbnail. Set with the option `thumbnailPx`, for files that the browser decodes. */
  readonly thumbnail?: Thumbnail | undefined;
}

/**
 * Result of `embedAll` for one image: its embedding, or the error that prevented it. `index` counts the
 * images from 0.
 */
export type Embedded =
  | ({
      /** Position of the image in the iterable, from 0. */
      readonly index: number;
      /** Always undefined for an image that was embedded. */
      readonly error?: undefined;
    } & Embedding)
  | ({
      /** Position of the image in the iterable, from 0. */
      readonly index: number;
      /** The error that prevented the embedding. */
      readonly error: ImageError;
    } & { readonly [Name in keyof Embedding]?: undefined });

/**
 * The steps from images to embeddings. `compute` returns the embeddings of a batch in the order of the
 * images.
 */
export type EmbedSteps<Image, Prepared> = Omit<BatchSteps<Image, Prepared, readonly Embedding[]>, 'discard'>;

/** Yields embeddings in the order of the images. For memory and errors, see `inBatches`. */
export async function* embedInBatches<Image, Prepared>(
  images: Iterable<Image> | AsyncIterable<Image>,
  steps: EmbedSteps<Image, Prepared>,
  batchSize: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Embedded, void, undefined> {
  for await (const { items, results } of inBatches(images, steps, { batchSize, full: false, signal })) {
    let used = 0;
    for (const { index, error } of items) {
      signal?.throwIfAborted();
      yield error ? { index, error } : { index, ...results[used++]! };
    }
  }
}
