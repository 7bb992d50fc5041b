/**
 * `ingest`: adds photographs to an index. Files are counted while folders are walked, then read, decoded and
 * embedded in order, several at a time. An image is counted as done once it is durable in the index. Images
 * that the index already has, with the same file size, date and options, are skipped. An ingest of the same
 * source therefore continues an earlier ingest that was interrupted.
 */
import { untilAborted } from '../../platform/abort.js';
import type { Item } from '../options.js';
import { commitItems, itemOf, type ImageFile } from './commit.js';
import { isTooLarge } from './describe.js';
import { Failures } from './failures.js';
import { checkModel, isUnchanged, missingIds } from './known.js';
import {
  BATCH_SIZE,
  checkIngestOptions,
  embedOptions,
  THUMBNAIL_PX,
  type IngestFailure,
  type IngestOptions,
  type IngestReport,
} from './options.js';
import { Rate, Reporter, type Counts, type IngestPhase, type IngestProgress } from './progress.js';
import { Queue } from './queue.js';
import { rootsOf, type IngestSource, type Root } from './source.js';
import { claimFolders, recordRun } from './state.js';
import type { EmbedFilesOptions, IngestIndex, IngestModel, IngestResult } from './target.js';
import { folderOf } from './walk.js';

/** Minimum time in ms between two writes of the ingest's progress to the index (`recordRun`). */
const RECORD_EVERY_MS = 2000;
/** Maximum number of results that wait for a commit, as a multiple of the batch size. */
const MOST_UNCOMMITTED = 4;

/**
 * Starts to add the images in files and folders to an index.
 *
 * The id of an image is its path: `folder/name.jpg`, or `name.jpg` for a file that was passed without a
 * folder. The option `under` adds a prefix to the ids. If the index stores patches, one forward pass computes
 * both the vector and the patches of an image.
 * @throws OptionError if the source or an option has the wrong type; IndexError INDEX_OPTIONS
 * @example
 * ```js
 * const run = ingest(index, model, await showDirectoryPicker(), { resize: 'fit', longestSide: 224 });
 * const { added, failures } = await run.finished;
 * ```
 */
export function ingest(
  index: IngestIndex,
  model: IngestModel,
  source: IngestSource,
  options: IngestOptions = {},
): Ingest {
  return new Ingest(index, model, source, options);
}

/** An ingest that `ingest` has started: its progress, and methods that pause, resume and abort it. */
export class Ingest {
  /**
   * Resolves when all images have been processed. Images that cannot be used are listed in `failures` and do
   * not stop the ingest.
   *
   * Rejects with the error that ended the ingest: the signal's reason, a DeviceError, an IndexError or an
   * error of the storage. Images that were already committed stay in the index. If a different folder of the
   * same name was ingested before, the promise rejects with INDEX_DUPLICATE_ID, and nothing is added.
   */
  readonly finished: Promise<IngestReport>;
  readonly #index: IngestIndex;
  readonly #model: IngestModel;
  readonly #options: IngestOptions;
  readonly #controller = new AbortController();
  /** Ids that the index did not have when they were looked up. */
  readonly #newNames = new Set<string>();
  readonly #failures = new Failures();
  readonly #rate = new Rate();
  readonly #counts: Counts = {
    images: 0,
    ignored: 0,
    unchanged: 0,
    added: 0,
    updated: 0,
    failed: 0,
    removed: 0,
  };
  readonly #queue: Queue;
  /**
   * Text that describes the preprocessing, if every item is to store this text (see `checkModel`); otherwise
   * undefined.
   */
  #look: string | undefined;
  #phase: IngestPhase = 'running';
  /** Resolves the promise `#changed`, for which the loops of the ingest wait. */
  #wake: () => void = () => undefined;
  #changed = new Promise<void>((resolve) => (this.#wake = resolve));
  readonly #reporter: Reporter;
  #recordedMs = -Infinity;

  /**
   * Called by `ingest`.
   * @internal
   */
  constructor(index: IngestIndex, model: IngestModel, source: IngestSource, options: IngestOptions) {
    this.#index = index;
    this.#model = model;
    this.#options = options;
    checkIngestOptions(options);
    const roots = rootsOf(source);
    this.#reporter = new Reporter(
      () => options.onProgress?.(this.progress),
      (error) => this.abort(error),
    );
    const { signal } = options;
    const own = this.#controller.signal;
    this.#queue = new Queue(index, options.under, {
      onImage: () => this.#countOne('images'),
      onIgnored: () => this.#countOne('ignored'),
      onUnchanged: () => this.#countOne('unchanged'),
      onFailure: (id, error, counts) => {
        if (own.aborted && error === own.reason) return; // the file failed because the ingest was aborted
        if (counts) this.#fail(id, error);
        else this.#failures.add(id, error);
      },
      isDone: (id, file) => this.#isDone(id, file),
      goOn: async () => {
        while (this.#phase === 'paused' && !this.#controller.signal.aborted) await this.#changed;
        return !this.#isOver;
      },
      onChange: () => {
        this.#notify();
        this.#reporter.soon(); // the end of the walk is such a change
      },
      untilChange: () => this.#changed,
    });
    const abort = (): void => this.abort(signal?.reason);
    if (signal?.aborted) this.#controller.abort(signal.reason);
    signal?.addEventListener('abort', abort);
    this.finished = this.#run(roots).finally(() => signal?.removeEventListener('abort', abort));
    this.finished.catch(() => undefined); // prevents an unhandled rejection if the caller does not await it
  }

  /** The current counts and speed of the ingest. */
  get progress(): IngestProgress {
    const { images, unchanged, added, updated, failed } = this.#counts;
    const { perSecond } = this.#rate;
    const { walking } = this.#queue;
    const left = images - unchanged - added - updated - failed;
    return {
      phase: this.#phase,
      walking,
      ...this.#counts,
      perSecond,
      secondsLeft: walking || perSecond === undefined ? undefined : left / perSecond,
    };
  }

  /** The files that could not be ingested so far, with their errors. */
  get failures(): readonly IngestFailure[] {
    return this.#failures.list;
  }

  /** Pauses the ingest. Batches that are being computed are finished and committed. */
  pause(): void {
    if (this.#phase !== 'running') return;
    this.#enter('paused');
    this.#rate.stop();
  }

  /** Continues the ingest after a call of `pause`. */
  resume(): void {
    if (this.#phase !== 'paused') return;
    this.#rate.start();
    this.#enter('running');
  }

  /**
   * Aborts the ingest: `finished` rejects with `reason`. Images that were already committed stay in the
   * index.
   */
  abort(reason?: unknown): void {
    this.#controller.abort(reason);
    this.#notify();
  }

  async #run(source: readonly Root[] | Promise<readonly Root[]>): Promise<IngestReport> {
    const { signal } = this.#controller;
    try {
      const roots = await source;
      const walked = this.#queue.walk(roots);
      try {
        this.#look = await checkModel(this.#index, this.#model, this.#options);
        signal.throwIfAborted();
        const { under, removeMissing = false } = this.#options;
        const claims = await claimFolders(this.#index, roots, under, removeMissing);
        await this.#recordRun(roots, false);
        const lookedUp = this.#queue.lookUp(claims);
        await this.#work(roots);
        await lookedUp;
        if (removeMissing) await this.#removeMissing(roots, claims.prefixes);
      } catch (error) {
        this.#enter(signal.aborted ? 'aborted' : 'failed'); // this also ends the walk through the folders
        throw error;
      } finally {
        // A folder that never responds must not block the end of the ingest.
        await untilAborted(() => walked, signal);
      }
      await this.#recordRun(roots, true);
      this.#enter('done');
      return { ...this.progress, failures: this.#failures.list };
    } catch (error) {
      this.#queue.end();
      this.#enter(signal.aborted ? 'aborted' : 'failed');
      signal.throwIfAborted();
      throw error;
    }
  }

  /**
   * Returns true if the index already has this file. If only the thumbnail of its item is missing, adds the
   * thumbnail.
   */
  async #isDone(id: string, file: File): Promise<boolean> {
    if (!this.#index.has(id)) this.#newNames.add(id);
    if (!isUnchanged(this.#index, id, file, this.#look)) return false;
    await this.#addThumbnail(id, file);
    return true;
  }

  /**
   * Adds the thumbnail of a file that has not changed since it was ingested. The items of an index that was
   * imported from a file without thumbnails have none.
   */
  async #addThumbnail(id: string, file: File): Promise<void> {
    const { thumbnailPx = THUMBNAIL_PX } = this.#options;
    if (thumbnailPx === 0 || (await this.#index.thumbnail(id))) return;
    const { makeThumbnail } = await import('../../image/thumbnail.js');
    const thumbnail = await makeThumbnail(file, thumbnailPx, this.#controller.signal);
    if (thumbnail) await this.#index.update(id, { thumbnail: thumbnail.blob });
  }

  /**
   * Runs passes, each of which embeds and commits waiting images, until all images are done. A pass ends
   * early if the ingest is paused, or if an image is too large for the GPU.
   */
  async #work(roots: readonly Root[]): Promise<void> {
    for (;;) {
      await this.#pass(roots);
      if (this.#phase === 'paused') await this.#recordRun(roots, false);
      while (this.#phase === 'paused' && !this.#controller.signal.aborted) await this.#changed;
      this.#controller.signal.throwIfAborted();
      if (this.#queue.hasMore) continue;
      this.#queue.throwFailure();
      return;
    }
  }

  /**
   * Computes the vectors of waiting images in order, and at the same time commits the images that are
   * finished.
   */
  async #pass(roots: readonly Root[]): Promise<void> {
    const { batchSize = BATCH_SIZE } = this.#options;
    const inProgress = new Map<number, ImageFile>();
    const files = this.#files(inProgress);
    const ready: Item[] = [];
    let isOver = false;
    const describe = async (): Promise<void> => {
      try {
        for await (const result of await this.#results(files)) {
          const image = inProgress.get(result.index)!;
          inProgress.delete(result.index);
          await this.#receive(image, result, ready);
          while (ready.length >= MOST_UNCOMMITTED * batchSize && !this.#isOver) await this.#changed;
          if (this.#isOver) return;
        }
      } finally {
        isOver = true;
        this.#notify();
      }
    };
    const described = describe();
    described.catch(() => undefined); // the rejection is handled below, unless a commit fails first
    try {
      while (!isOver || ready.length > 0) {
        if (ready.length > 0) await this.#commit(ready.splice(0), roots);
        else await this.#changed;
      }
    } catch (error) {
      this.#enter(this.#controller.signal.aborted ? 'aborted' : 'failed'); // stops the embedding of further images
      await described.catch(() => undefined);
      throw error;
    }
    try {
      await described;
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      // An image, or its batch, does not fit on the GPU: compute the images of this pass one by one. First
      // end the generator `files`, which may still be opening a file.
      await untilAborted(() => files.return(undefined), this.#controller.signal);
      const { describeBatch } = await import('./describeFiles.js');
      for (const each of inProgress.values()) {
        const [result] = await describeBatch(this.#model, [each.file], this.#embedOptions());
        await this.#receive(each, result!, ready);
        await this.#commit(ready.splice(0), roots);
      }
    }
  }

  async #results(files: AsyncGenerator<File, void, undefined>): Promise<AsyncIterable<IngestResult>> {
    const options = this.#embedOptions();
    if (this.#model.embedAll) return this.#model.embedAll(files, options);
    const { describeFiles } = await import('./describeFiles.js');
    return describeFiles(this.#model, files, options);
  }

  #embedOptions(): EmbedFilesOptions & { readonly batchSize: number } {
    const patches = this.#index.header.patches !== 'none';
    return { ...embedOptions(this.#options), patches, signal: this.#controller.signal };
  }

  /** Yields files to the model until no images are left, or until the ingest is paused. */
  async *#files(inProgress: Map<number, ImageFile>): AsyncGenerator<File, void, undefined> {
    for (let index = 0; ;) {
      while (this.#queue.hasMore && this.#queue.isEmpty && this.#phase === 'running') await this.#changed;
      if (this.#phase !== 'running' || this.#controller.signal.aborted) return;
      const image = this.#queue.take();
      if (!image) return;
      let file: File;
      try {
        file = await image.read();
      } catch (error) {
        this.#fail(image.id, error);
        continue;
      }
      inProgress.set(index++, { id: image.id, file });
      yield file;
    }
  }

  async #receive(image: ImageFile, result: Omit<IngestResult, 'index'>, ready: Item[]): Promise<void> {
    const { error, embedding } = result;
    if (!embedding) {
      await this.#failures.addFile(image.id, error!, image.file);
      return this.#countOne('failed');
    }
    ready.push(itemOf(image, { ...result, vector: embedding }, this.#options.metadata, this.#look));
    this.#notify();
  }

  async #commit(items: readonly Item[], roots: readonly Root[]): Promise<void> {
    this.#controller.signal.throwIfAborted();
    const { added, updated, refused } = await commitItems(this.#index, items, this.#newNames);
    this.#counts.added += added;
    this.#counts.updated += updated;
    for (const { id, error } of refused) this.#fail(id, error);
    this.#rate.count(items.length);
    this.#notify();
    this.#reporter.report();
    if (performance.now() - this.#recordedMs > RECORD_EVERY_MS) await this.#recordRun(roots, false);
  }

  /**
   * Removes the items whose files no longer exist.
   * @param known id prefixes of all folders and files that the index was made from
   */
  async #removeMissing(roots: readonly Root[], known: readonly string[]): Promise<void> {
    // If a folder could not be read, its files may still exist, so no item is removed.
    if (this.#failures.list.some(({ id }) => !this.#queue.seen.has(id))) return;
    const folders = roots.flatMap((root) => folderOf(root, this.#options.under ?? '') ?? []);
    const gone = missingIds(this.#index, folders, known, this.#queue.seen);
    if (gone.length > 0) this.#counts.removed += await this.#index.remove(gone);
  }

  #fail(id: string, error: unknown): void {
    this.#failures.add(id, error);
    this.#countOne('failed');
  }

  #countOne(what: keyof Counts): void {
    this.#counts[what] += 1;
    this.#reporter.report();
  }

  /** True once an error or an abort has ended the ingest. */
  get #isOver(): boolean {
    return this.#controller.signal.aborted || this.#phase === 'failed';
  }

  /** Stores the progress of the ingest in the index, where `unfinishedIngest` finds it after a reload. */
  async #recordRun(roots: readonly Root[], done: boolean): Promise<void> {
    const { images, unchanged, added, updated, failed } = this.#counts;
    await recordRun(this.#index, roots, {
      under: this.#options.under,
      images,
      finished: unchanged + added + updated + failed,
      done,
    });
    this.#recordedMs = performance.now();
  }

  /** Wakes all loops of the ingest that wait for a change. */
  #notify(): void {
    const wake = this.#wake;
    this.#changed = new Promise((resolve) => (this.#wake = resolve));
    wake();
  }

  #enter(phase: IngestPhase): void {
    this.#phase = phase;
    this.#notify(); // before onProgress, so that the loops wake even if onProgress throws
    try {
      this.#reporter.report(true);
    } catch (error) {
      // After a failure or an abort, the caller gets the error that ended the ingest, not this error.
      if (phase !== 'failed' && phase !== 'aborted') throw error;
    }
  }
}
