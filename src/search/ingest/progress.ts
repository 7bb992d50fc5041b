/** How far an ingest is, and when it will be done. */

/**
 * `paused`: what was under way is kept. `failed` and `aborted`: so is all that was done; the same source
 * again goes on from there.
 */
export type IngestPhase = 'running' | 'paused' | 'done' | 'failed' | 'aborted';

export interface IngestProgress {
  readonly phase: IngestPhase;
  /** Folders are still being walked: `images` grows. */
  readonly walking: boolean;
  /** Images that were found so far. */
  readonly images: number;
  /** Files that are no images. */
  readonly ignored: number;
  /** In the index already, of the same size and date. */
  readonly unchanged: number;
  readonly added: number;
  /** In the index before, and changed since. */
  readonly updated: number;
  readonly failed: number;
  /** Gone from the folder, and so from the index. */
  readonly removed: number;
  /** Images a second, over the last ones. */
  readonly perSecond: number | undefined;
  /** Undefined while folders are walked, and before the first images are done. */
  readonly secondsLeft: number | undefined;
}

/** What is counted, one by one. */
export type Counts = Record<
  'images' | 'ignored' | 'unchanged' | 'added' | 'updated' | 'failed' | 'removed',
  number
>;

/** Commits that the rate is measured over. Each has one image at least, and mostly a few. */
const WINDOW = 32;

/** Counts images over a clock that stands still in pauses. */
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
