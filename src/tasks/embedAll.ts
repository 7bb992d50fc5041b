/**
 * Many images, one after the other: the next ones are decoded while the model is at work on the present ones.
 */
import { untilAborted } from '../checkpoint/chunks.js';
import { ImageError } from '../errors.js';
import { iteratorOf } from './iterate.js';

/** What came of one image: its vector, or why there is none. `index` counts the images from 0. */
export type Embedded =
  | { readonly index: number; readonly embedding: Float32Array<ArrayBuffer>; readonly error?: undefined }
  | { readonly index: number; readonly error: ImageError; readonly embedding?: undefined };

/** How an image becomes a vector. */
export interface EmbedSteps<Image, Prepared> {
  prepare(image: Image): Promise<Prepared>;
  /** Vectors of these, in their order. */
  embed(prepared: readonly Prepared[]): Promise<Float32Array<ArrayBuffer>[]>;
  free(prepared: Prepared): void;
}

type Taken<Prepared> =
  | { readonly index: number; readonly prepared: Prepared }
  | { readonly index: number; readonly error: ImageError };

/**
 * Results in the order of the images. An image that cannot be used gives its error and the rest goes on;
 * whatever else fails (the device, the iterable, an abort) is thrown. At most two batches of images are held;
 * leaving the loop early lets them and the iterable go.
 */
export async function* embedInBatches<Image, Prepared>(
  images: Iterable<Image> | AsyncIterable<Image>,
  { prepare, embed, free }: EmbedSteps<Image, Prepared>,
  batchSize: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Embedded, void, undefined> {
  const iterator = iteratorOf(images);
  let count = 0;
  let ended = false;
  const release = (batch: readonly Taken<Prepared>[]): void => {
    for (const taken of batch) if ('prepared' in taken) free(taken.prepared);
  };
  const take = async (): Promise<Taken<Prepared>[]> => {
    const batch: Taken<Prepared>[] = [];
    try {
      while (batch.length < batchSize && !ended) {
        signal?.throwIfAborted();
        const next = await iterator.next();
        if (next.done) {
          ended = true;
          break;
        }
        const index = count++;
        try {
          batch.push({ index, prepared: await prepare(next.value) });
        } catch (error) {
          if (!(error instanceof ImageError)) throw error;
          batch.push({ index, error });
        }
      }
      return batch;
    } catch (error) {
      release(batch);
      throw error;
    }
  };

  let coming = take();
  coming.catch(() => undefined);
  try {
    for (;;) {
      const present = await untilAborted(() => coming, signal); // an abort does not wait for an iterable that may never go on
      if (present.length === 0) return;
      coming = take();
      coming.catch(() => undefined); // it is awaited next time, or never
      let vectors: Float32Array<ArrayBuffer>[];
      try {
        vectors = await embed(present.flatMap((taken) => ('prepared' in taken ? [taken.prepared] : [])));
      } finally {
        release(present);
      }
      let used = 0;
      for (const taken of present) {
        signal?.throwIfAborted();
        yield 'prepared' in taken
          ? { index: taken.index, embedding: vectors[used++]! }
          : { index: taken.index, error: taken.error };
      }
    }
  } finally {
    // Whoever leaves early does not wait for an image that is still being decoded, or for an iterable that
    // may never go on.
    const finished = ended;
    ended = true;
    void coming.then(release, () => undefined);
    if (!finished) void (async () => iterator.return?.())().catch(() => undefined); // no place for its error: what has ended the loop is told
  }
}
