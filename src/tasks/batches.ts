/**
 * Many images, in batches and in their order: files are decoded at the same time, and while the model is at
 * work on a batch, the images of the next ones are decoded.
 */
import { untilAborted } from '../platform/abort.js';
import { ImageError } from '../errors.js';
import { wrongKind } from '../optionObject.js';
import { iteratorOf } from './iterate.js';

/** How images become results. */
export interface BatchSteps<Image, Prepared, Made> {
  prepare(image: Image): Promise<Prepared>;
  /** Results of these, in one batch. */
  make(prepared: readonly Prepared[]): Promise<Made>;
  /** Called once for every prepared image: after `make`, or where that never came. */
  free(prepared: Prepared): void;
  /** Frees results that nobody takes. */
  discard?(made: Made): void;
  /**
   * Whether an image stays as it is, as a file does. The next one is asked for before such an image is
   * prepared. A canvas or an array may be filled anew by then: those are prepared first.
   */
  stays(image: Image): boolean;
}

export interface BatchOptions {
  readonly batchSize: number;
  /** Whether a batch waits until it is full. Else it takes what is prepared when its turn comes. */
  readonly full: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** An image of a batch. `index` counts the images from 0. */
export type Taken<Prepared> =
  | { readonly index: number; readonly prepared: Prepared; readonly error?: undefined }
  | { readonly index: number; readonly error: ImageError };

export interface Batch<Prepared, Made> {
  readonly taken: readonly Taken<Prepared>[];
  /** Of those without an error, in their order. */
  readonly made: Made;
}

/** Batches that the model has at once: while one is read back, the GPU computes the next. */
const MOST_RUNNING = 2;
/** Images that are held at least, where batches are small: enough to keep all decoders at work. */
const LEAST_AHEAD = 8;

interface Coming<Prepared> {
  readonly index: number;
  readonly done: Promise<void>;
  taken?: Taken<Prepared>;
  /** An error that is not the image's: it ends all. */
  failure?: { readonly error: unknown };
}

/**
 * An image that cannot be used (ImageError) does not stop the others; whatever else fails (the device, the
 * iterable, an abort) is thrown after the results ahead of it. At most two batches of images are held, or 8
 * images if that is more. Leaving the loop early frees them and closes the iterable.
 */
export async function* inBatches<Image, Prepared, Made>(
  images: Iterable<Image> | AsyncIterable<Image>,
  { prepare, make, free, discard, stays }: BatchSteps<Image, Prepared, Made>,
  { batchSize, full, signal }: BatchOptions,
): AsyncGenerator<Batch<Prepared, Made>, void, undefined> {
  const iterator = iteratorOf(images);
  if (!iterator)
    throw wrongKind(
      'embedAll',
      'an array of images, or another iterable (for one image use embed())',
      images,
    );
  const mostHeld = Math.max(MOST_RUNNING * batchSize, LEAST_AHEAD);
  const queue: Coming<Prepared>[] = [];
  const running: {
    readonly size: number;
    readonly batch: Promise<Batch<Prepared, Made>>;
    settled: boolean;
  }[] = [];
  let count = 0;
  let given = 0;
  /** The iterable has no more. */
  let isDone = false;
  /** No further image comes, for whatever reason. */
  let ended = false;
  let left = false;
  let iterableFailure: { readonly error: unknown } | undefined;
  let wake: () => void = () => undefined;
  let change = new Promise<void>((resolve) => (wake = resolve));
  const notify = (): void => {
    const before = wake;
    change = new Promise((resolve) => (wake = resolve));
    before();
  };

  const begin = (image: Image): Coming<Prepared> => {
    const index = count++;
    const coming: Coming<Prepared> = {
      index,
      done: prepare(image).then(
        (prepared) => void (coming.taken = { index, prepared }),
        (error: unknown) => {
          if (error instanceof ImageError) coming.taken = { index, error };
          else coming.failure = { error };
        },
      ),
    };
    void coming.done.then(notify);
    return coming;
  };
  const pull = async (): Promise<void> => {
    try {
      while (!left) {
        signal?.throwIfAborted();
        const asked = iterator.next();
        const next = 'then' in asked ? await asked : asked; // a list's images are taken as they are at the moment of the call
        if (next.done) isDone = true;
        if (next.done || left) break;
        const coming = begin(next.value);
        queue.push(coming);
        if (!stays(next.value)) await coming.done;
        if (coming.failure) break;
        while (!left && count - given >= mostHeld) await change;
      }
    } catch (error) {
      iterableFailure = { error };
    } finally {
      ended = true;
      notify();
    }
  };
  /** How many images the next batch has; 0: it is too early. */
  const ready = (): number => {
    let settled = queue.findIndex(({ taken }) => !taken);
    if (settled < 0) settled = queue.length;
    const most = Math.min(settled, batchSize);
    const isLast = settled < queue.length ? queue[settled]!.failure !== undefined : ended;
    if (full) return most === batchSize || isLast ? most : 0;
    return most === 0 ? 0 : 2 ** Math.floor(Math.log2(most)); // few sizes: each has a program and buffers of its own
  };
  const start = (taken: readonly Taken<Prepared>[]): void => {
    const prepared = taken.flatMap((each) => (each.error ? [] : [each.prepared]));
    const run = async (): Promise<Batch<Prepared, Made>> => {
      try {
        return { taken, made: await make(prepared) };
      } finally {
        for (const each of prepared) free(each);
        entry.settled = true;
        notify();
      }
    };
    const entry = { size: taken.length, batch: Promise.resolve().then(run), settled: false };
    entry.batch.catch(() => undefined); // it is awaited in its turn, or never
    running.push(entry);
  };

  void pull();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const size = running.length < MOST_RUNNING ? ready() : 0;
      if (size > 0) {
        start(queue.splice(0, size).map(({ taken }) => taken!));
        continue;
      }
      const [first] = running;
      if (first?.settled) {
        running.shift();
        const batch = await first.batch;
        yield batch;
        given += first.size;
        notify();
        continue;
      }
      if (!first) {
        const failure = queue[0] ? queue[0].failure : ended ? iterableFailure : undefined;
        if (failure) throw failure.error;
        if (!queue[0] && ended) return;
      }
      await untilAborted(() => change, signal); // an abort does not wait for an iterable that may never go on
    }
  } finally {
    // Whoever leaves early does not wait for an image that is still being decoded.
    left = true;
    notify();
    for (const coming of queue)
      void coming.done.then(() => coming.taken && !coming.taken.error && free(coming.taken.prepared));
    for (const { batch } of running)
      void batch.then(
        ({ made }) => discard?.(made),
        () => undefined,
      );
    if (!isDone) void (async () => iterator.return?.())().catch(() => undefined); // no place for its error: what has ended the loop is told
  }
}
