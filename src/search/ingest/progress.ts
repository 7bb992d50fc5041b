/** Progress of an ingest: phase, counts, speed, remaining time. */

/**
 * Phase of an ingest. After `failed` and `aborted`, all committed images stay in the index, and an ingest of
 * the same source continues where this one ended.
 */
export type IngestPhase = 'running' | 'paused' | 'done' | 'failed' | 'aborted';

/** Counts and speed of an ingest. */
export interface IngestProgress {
  /** Current phase of the ingest. */
  readonly phase: IngestPhase;
  /** True while folders are being walked, so that `images` still grows. */
  readonly walking: boolean;
  /** Number of images found so far. */
  readonly images: number;
  /** Number of files found that are not images. */
  readonly ignored: number;
  /** Number of images that the index already had, with the same file size and date. */
  readonly unchanged: number;
  /** Number of images that were new and have been added. */
  readonly added: number;
  /** Number of images that the index already had and whose files have changed. */
  readonly updated: number;
  /** Number of images that could not be ingested. */
  readonly failed: number;
  /** Number of items that were removed because their files no longer exist (`removeMissing`). */
  readonly removed: number;
  /** Images per second, measured over the last 32 commits. Undefined before the first commit. */
  readonly perSecond: number | undefined;
  /** Estimated remaining time in seconds. Undefined while folders are walked and before the first commit. */
  readonly secondsLeft: number | undefined;
}

/** The counters of an ingest. */
export type Counts = Record<
  'images' | 'ignored' | 'unchanged' | 'added' | 'updated' | 'failed' | 'removed',
  number
>;

/** Number of commits over which the speed is measured. */
const WINDOW = 32;

/**
 * `Rate`: measures the speed of an ingest in images per second. Time during which it is paused does not
 * count.
 */
export class Rate {
  #stoppedMs = 0;
  #stoppedAt: number | undefined;
  #done = 0;
  readonly #marks: { readonly ms: number; readonly done: number }[] = [];

  constructor() {
    this.#mark();
  }

  stop(): void {
    this.#stoppedAt ??= performance.now();
  }

  start(): void {
    if (this.#stoppedAt === undefined) return;
    this.#stoppedMs += performance.now() - this.#stoppedAt;
    this.#stoppedAt = undefined;
  }

  count(images: number): void {
    this.#done += images;
    this.#mark();
  }

  get perSecond(): number | undefined {
    const [first, last] = [this.#marks[0]!, this.#marks.at(-1)!];
    return last.done > first.done && last.ms > first.ms
      ? (1000 * (last.done - first.done)) / (last.ms - first.ms)
      : undefined;
  }

  #mark(): void {
    this.#marks.push({ ms: (this.#stoppedAt ?? performance.now()) - this.#stoppedMs, done: this.#done });
    if (this.#marks.length > WINDOW) this.#marks.shift();
  }
}
