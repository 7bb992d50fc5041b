/**
 * Processes many images in batches and in order. Images are decoded in parallel, and images of following
 * batches are decoded while the model computes a batch.
 */
import { untilAborted } from '../platform/abort.js';
import { ImageError } from '../errors.js';
import { wrongKind } from '../optionObject.js';
import { iteratorOf } from './iterate.js';

/** The steps from images to results. */
export interface BatchSteps<Image, Prepared, Results> {
  prepare(image: Image): Promise<Prepared>;
  /** Computes the results of one batch. */
  compute(prepared: readonly Prepared[]): Promise<Results>;
  /**
   * Frees a prepared image. Called once for every prepared image: after `compute`, or when the loop ends
   * before `compute`.
   */
  release(prepared: Prepared): void;
  /** Frees results that the caller never received. */
  discard?(results: Results): void;
  /**
   * Returns true if an image cannot change, such as a file. The next image may then be requested before this
   * image is prepared. An image that can change, such as a canvas, is prepared first, because the caller may
   * reuse it for the next image.
   */
  isStable(image: Image): boolean;
}

export interface BatchOptions {
  readonly batchSize: number;
  /**
   * True to start a batch only when it is full. False to start a batch as soon as some of its images are
   * prepared.
   */
  readonly full: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** An image of a batch, or the error of an image that cannot be decoded. `index` counts all images from 0. */
export type BatchItem<Prepared> =
  | { readonly index: number; readonly prepared: Prepared; readonly error?: undefined }
  | { readonly index: number; readonly error: ImageError };

export interface Batch<Prepared, Results> {
  readonly items: readonly BatchItem<Prepared>[];
  /** Results of the items without an error, in order. */
  readonly results: Results;
}

/** Number of batches that run at the same time: while one batch is read back, the GPU computes the next. */
const MOST_RUNNING = 2;
/**
 * Smallest limit on the number of images in progress. With small batches, this limit keeps all decoders busy.
 */
const LEAST_AHEAD = 8;

interface PendingItem<Prepared> {
  readonly index: number;
  readonly done: Promise<void>;
  /** Set when the image is prepared or has failed with an ImageError. */
  item?: BatchItem<Prepared>;
  /** Set for an error that is not an ImageError. Such an error ends the loop. */
  failure?: { readonly error: unknown };
}

/**
 * Yields the batches of `images` in order. After an ImageError, which concerns one image only, the other
 * images are still processed. Any other error (device, iterable, abort) is thrown after the results of the
 * preceding images. The number of images in progress is at most two batches or 8 images, whichever is larger.
 * If the caller leaves the loop early, the images in progress are released and the iterable is closed.
 */
export async function* inBatches<Image, Prepared, Results>(
  images: Iterable<Image> | AsyncIterable<Image>,
  { prepare, compute, release, discard, isStable }: BatchSteps<Image, Prepared, Results>,
  { batchSize, full, signal }: BatchOptions,
): AsyncGenerator<Batch<Prepared, Results>, void, undefined> {
  const iterator = iteratorOf(images);
  if (!iterator)
    throw wrongKind(
      'embedAll',
      'an array of images, or another iterable (for one image use embed())',
      images,
    );
  const mostInProgress = Math.max(MOST_RUNNING * batchSize, LEAST_AHEAD);
  const queue: PendingItem<Prepared>[] = [];
  const running: {
    readonly size: number;
    readonly batch: Promise<Batch<Prepared, Results>>;
    settled: boolean;
  }[] = [];
  let count = 0;
  let yielded = 0;
  /** True if the iterable is exhausted. */
  let isDone = false;
  /** True if no further image is requested, because the iterable is exhausted or an error ended the loop. */
  let ended = false;
  /** True if the consumer has left the loop. */
  let left = false;
  let iterableFailure: { readonly error: unknown } | undefined;
  let wake: () => void = () => undefined;
  let change = new Promise<void>((resolve) => (wake = resolve));
  const notify = (): void => {
    const before = wake;
    change = new Promise((resolve) => (wake = resolve));
    before();
  };

  const begin = (image: Image): PendingItem<Prepared> => {
    const index = count++;
    const pending: PendingItem<Prepared> = {
      index,
      done: prepare(image).then(
        (prepared) => void (pending.item = { index, prepared }),
        (error: unknown) => {
          if (error instanceof ImageError) pending.item = { index, error };
          else pending.failure = { error };
        },
      ),
    };
    void pending.done.then(notify);
    return pending;
  };
  const pull = async (): Promise<void> => {
    try {
      while (!left) {
        signal?.throwIfAborted();
        const promised = iterator.next();
        // Awaits `promised` only if it is a promise, so that the first image of a list is read synchronously,
        // during the caller's call.
        const next = 'then' in promised ? await promised : promised;
        if (next.done) isDone = true;
        if (next.done || left) break;
        const pending = begin(next.value);
        queue.push(pending);
        if (!isStable(next.value)) await pending.done;
        if (pending.failure) break;
        while (!left && count - yielded >= mostInProgress) await change;
      }
    } catch (error) {
      iterableFailure = { error };
    } finally {
      ended = true;
      notify();
    }
  };
  /** Returns the size of the next batch; 0 if the batch must not start yet. */
  const ready = (): number => {
    let settled = queue.findIndex(({ item }) => !item);
    if (settled < 0) settled = queue.length;
    const most = Math.min(settled, batchSize);
    const isLast = settled < queue.length ? queue[settled]!.failure !== undefined : ended;
    if (full) return most === batchSize || isLast ? most : 0;
    // Batch sizes are powers of two, because each batch size needs its own program and buffers.
    return most === 0 ? 0 : 2 ** Math.floor(Math.log2(most));
  };
  const start = (items: readonly BatchItem<Prepared>[]): void => {
    const prepared = items.flatMap((each) => (each.error ? [] : [each.prepared]));
    const run = async (): Promise<Batch<Prepared, Results>> => {
      try {
        return { items, results: await compute(prepared) };
      } finally {
        for (const each of prepared) release(each);
        entry.settled = true;
        notify();
      }
    };
    const entry = { size: items.length, batch: Promise.resolve().then(run), settled: false };
    entry.batch.catch(() => undefined); // no unhandled rejection if the batch is never awaited
    running.push(entry);
  };

  void pull();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const size = running.length < MOST_RUNNING ? ready() : 0;
      if (size > 0) {
        start(queue.splice(0, size).map(({ item }) => item!));
        continue;
      }
      const [first] = running;
      if (first?.settled) {
        running.shift();
        const batch = await first.batch;
        yield batch;
        yielded += first.size;
        notify();
        continue;
      }
      if (!first) {
        const failure = queue[0] ? queue[0].failure : ended ? iterableFailure : undefined;
        if (failure) throw failure.error;
        if (!queue[0] && ended) return;
      }
      await untilAborted(() => change, signal); // an abort must not wait for an iterable that hangs
    }
  } finally {
    // Leaving the loop does not wait for images that are still being decoded.
    left = true;
    notify();
    for (const pending of queue)
      void pending.done.then(() => pending.item && !pending.item.error && release(pending.item.prepared));
    for (const { batch } of running)
      void batch.then(
        ({ results }) => discard?.(results),
        () => undefined,
      );
    // An error of the iterable is ignored, because the error that ended the loop is more important.
    if (!isDone) void (async () => iterator.return?.())().catch(() => undefined);
  }
}
