/** Progress of an ingest: phase, counts, speed, remaining time, and when it is reported. */

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

/** Minimum time in ms between two reports. */
const REPORT_EVERY_MS = 100;

/**
 * Reports the progress of an ingest, at most ten times a second. A change that comes too early is reported
 * later, so that the caller always learns the latest counts.
 */
export class Reporter {
  readonly #tell: () => void;
  readonly #onError: (error: unknown) => void;
  #reportedMs = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param tell reports the progress
   * @param onError receives what `tell` throws in a delayed report; other reports throw it themselves
   */
  constructor(tell: () => void, onError: (error: unknown) => void) {
    this.#tell = tell;
    this.#onError = onError;
  }

  /** Reports now, or later if the last report was less than 100 ms ago and `atOnce` is false. */
  report(atOnce = false): void {
    const waitMs = this.#reportedMs + REPORT_EVERY_MS - performance.now();
    if (waitMs > 0 && !atOnce) return this.soon(waitMs + 1);
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#reportedMs = performance.now();
    this.#tell();
  }

  /** Reports after this time. */
  soon(ms = 0): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      try {
        this.report();
      } catch (error) {
        this.#onError(error);
      }
    }, ms);
  }
}
