/** Progress of an ingest: phase, counts, speed, remaining time. */

/**
 * Phase of an ingest. After `failed` and `aborted`, all committed images stay in the index, and ingesting the
 * same source again resumes.
 */
export type IngestPhase = 'running' | 'paused' | 'done' | 'failed' | 'aborted';

/** Counts and speed of an ingest. */
export interface IngestProgress {
  /** Current phase. */
  readonly phase: IngestPhase;
  /** True while folders are being walked, so that `images` still grows. */
  readonly walking: boolean;
  /** Images found so far. */
  readonly images: number;
  /** Files that are not images. */
  readonly ignored: number;
  /** Images that the index already had, with the same file size and date. */
  readonly unchanged: number;
  /** New images. */
  readonly added: number;
  /** Images that the index already had and whose files have changed. */
  readonly updated: number;
  /** Images that could not be ingested. */
  readonly failed: number;
  /** Items that were removed because their files no longer exist (`removeMissing`). */
  readonly removed: number;
  /** Images per second, over the last 32 commits. Undefined before the first commit. */
  readonly perSecond: number | undefined;
  /** Estimated remaining time. Undefined while folders are walked and before the first commit. */
  readonly secondsLeft: number | undefined;
}

/** The counters of an ingest. */
export type Counts = Record<
  'images' | 'ignored' | 'unchanged' | 'added' | 'updated' | 'failed' | 'removed',
  number
>;

/** Number of commits over which the speed is measured. */
const WINDOW = 32;

/** `Rate`: measures images per second. The clock stops during pauses. */
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
