/** Many images → their vectors, with what an index keeps beside them. */
import type { ImageError } from '../errors.js';
import type { Thumbnail } from '../image/thumbnail.js';
import { inBatches, type BatchSteps } from './batches.js';

/** The patch tokens of an image: (rows, cols, embedDim). */
export interface EmbeddedPatches {
  readonly rows: number;
  readonly cols: number;
  readonly tokens: Float32Array<ArrayBuffer>;
}

/** What came of an image that can be used. */
export interface Embedding {
  readonly embedding: Float32Array<ArrayBuffer>;
  /** Where `patches` was asked for. */
  readonly patches?: EmbeddedPatches | undefined;
  /** Where `thumbnailPx` was given, of files that the browser decodes. */
  readonly thumbnail?: Thumbnail | undefined;
}

/** What came of one image: its vector, or why there is none. `index` counts the images from 0. */
export type Embedded =
  | ({ readonly index: number; readonly error?: undefined } & Embedding)
  | ({ readonly index: number; readonly error: ImageError } & {
      readonly [Name in keyof Embedding]?: undefined;
    });

/** How an image becomes a vector. `make` gives those of a batch, in its order. */
export type EmbedSteps<Image, Prepared> = Omit<BatchSteps<Image, Prepared, readonly Embedding[]>, 'discard'>;

/** Results in the order of the images. What is held, and what ends it: as `inBatches` says. */
export async function* embedInBatches<Image, Prepared>(
  images: Iterable<Image> | AsyncIterable<Image>,
  steps: EmbedSteps<Image, Prepared>,
  batchSize: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Embedded, void, undefined> {
  for await (const { taken, made } of inBatches(images, steps, { batchSize, full: false, signal })) {
    let used = 0;
    for (const { index, error } of taken) {
      signal?.throwIfAborted();
      yield error ? { index, error } : { index, ...made[used++]! };
    }
  }
}
