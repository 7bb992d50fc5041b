/**
 * Photographs → an index. Files are counted as folders are walked, then read, decoded and computed in their
 * order, several at the same time; what is done is in the index, for good, before it is counted. What is there
 * already, of the same size and date and made with the same options, is passed over: so the same source again
 * goes on where an earlier ingest has ended, however it ended.
 */
import { untilAborted } from '../../platform/abort.js';
import type { Item } from '../options.js';
import { commitItems } from './commit.js';
import { isTooLarge } from './describe.js';
import { Failures } from './failures.js';
import { checkModel, isUnchanged, missingIds } from './known.js';
import {
  checkIngestOptions,
  type FileMetadata,
  type IngestFailure,
  type IngestOptions,
  type IngestReport,
} from './options.js';
import { Rate, type Counts, type IngestPhase, type IngestProgress } from './progress.js';
import { Queue, type Taken } from './queue.js';
import { rootsOf, type IngestSource, type Root } from './source.js';
import { claimFolders, keepRun } from './state.js';
import type { EmbedFilesOptions, IngestIndex, IngestModel, IngestResult } from './target.js';
import { folderOf } from './walk.js';

const BATCH_SIZE = 8;
const THUMBNAIL_PX = 256;
/** Where an ingest stands is written down so often, beside the commits themselves. */
const KEEP_EVERY_MS = 2000;
const TELL_EVERY_MS = 100;
/** Results that wait for a commit at most, in batches. */
const MOST_UNCOMMITTED = 4;

/**
 * Begins to ingest. The id of an image is its path: `folder/name.jpg`, or `name.jpg` of a file that came
 * without a folder; behind `under`, if that is given. An index with patches gets them from the same forward
 * as the vector.
 *
 * @throws OptionError if the source or the options are of another kind; IndexError INDEX_OPTIONS
 */
export function ingest(
  index: IngestIndex,
  model: IngestModel,
  source: IngestSource,
  options: IngestOptions = {},
): Ingest {
  return new Ingest(index, model, source, options);
}

export class Ingest {
  /**
   * Resolves when all images were dealt with; those that cannot be used are among `failures`, and the others
   * went on. Rejects with what has ended it: the signal's reason, DeviceError, IndexError, an error of the
   * storage. What was committed stays. Of another folder of a name that the index has (INDEX_DUPLICATE_ID),
   * nothing is taken.
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
  /** What becomes of pixels, where the index's header does not say it and it is not the default. */
  #look: string | undefined;
  #phase: IngestPhase = 'running';
  /** Resolved when something has changed that a loop may wait for. */
  #wake: () => void = () => undefined;
  #changed = new Promise<void>((resolve) => (this.#wake = resolve));
  #toldMs = -Infinity;
  #keptMs = -Infinity;

  constructor(index: IngestIndex, model: IngestModel, source: IngestSource, options: IngestOptions) {
    this.#index = index;
    this.#model = model;
    this.#options = options;
    checkIngestOptions(options);
    const roots = rootsOf(source);
    const { signal } = options;
    const own = this.#controller.signal;
    this.#queue = new Queue(index, options.under, {
      onImage: () => this.#countOne('images'),
      onIgnored: () => this.#countOne('ignored'),
      onUnchanged: () => this.#countOne('unchanged'),
      onFailure: (id, error, counts) => {
        if (own.aborted && error === own.reason) return; // the abort, not the image
        if (counts) this.#fail(id, error);
        else this.#failures.add(id, error);
      },
      isDone: (id, file) => this.#isDone(id, file),
      goOn: async () => {
        while (this.#phase === 'paused' && !this.#controller.signal.aborted) await this.#changed;
        return !this.#isOver;
      },
      onChange: () => this.#notify(),
      untilChange: () => this.#changed,
    });
    const abort = (): void => this.abort(signal?.reason);
    if (signal?.aborted) this.#controller.abort(signal.reason);
    signal?.addEventListener('abort', abort);
    this.finished = this.#run(roots).finally(() => signal?.removeEventListener('abort', abort));
    this.finished.catch(() => undefined); // whoever wants to know awaits it
  }

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

  get failures(): readonly IngestFailure[] {
    return this.#failures.list;
  }

  /** No further batch begins; those under way are finished and kept. */
  pause(): void {
    if (this.#phase !== 'running') return;
    this.#enter('paused');
    this.#rate.stop();
  }

  resume(): void {
    if (this.#phase !== 'paused') return;
    this.#rate.start();
    this.#enter('running');
  }

  /** Ends it: `finished` rejects with the reason. What was committed stays. */
  abort(reason?: unknown): void {
    this.#controller.abort(reason);
    this.#notify();
  }

  async #run(given: readonly Root[] | Promise<readonly Root[]>): Promise<IngestReport> {
    const { signal } = this.#controller;
    try {
      const roots = await given;
      const walked = this.#queue.walk(roots);
      try {
        this.#look = await checkModel(this.#index, this.#model, this.#options);
        signal.throwIfAborted();
        const { under, removeMissing = false } = this.#options;
        const claims = await claimFolders(this.#index, roots, under, removeMissing);
        await this.#keep(roots, false);
        const lookedUp = this.#queue.lookUp(claims);
        await this.#work(roots);
        await lookedUp;
        if (removeMissing) await this.#removeMissing(roots, claims.prefixes);
      } catch (error) {
        this.#enter(signal.aborted ? 'aborted' : 'failed'); // the walk ends too
        throw error;
      } finally {
        await untilAborted(() => walked, signal); // a folder may never answer
      }
      await this.#keep(roots, true);
      this.#enter('done');
      return { ...this.progress, failures: this.#failures.list };
    } catch (error) {
      this.#queue.end();
      this.#enter(signal.aborted ? 'aborted' : 'failed');
      signal.throwIfAborted();
      throw error;
    }
  }

  /** Whether the index has this file already, with all that belongs to it. */
  async #isDone(id: string, file: File): Promise<boolean> {
    if (!this.#index.has(id)) this.#newNames.add(id);
    if (!isUnchanged(this.#index, id, file, this.#look)) return false;
    await this.#addThumbnail(id, file);
    return true;
  }

  /** An index that was imported has no small pictures: they come when its files do. */
  async #addThumbnail(id: string, file: File): Promise<void> {
    const { thumbnailPx = THUMBNAIL_PX } = this.#options;
    if (thumbnailPx === 0 || (await this.#index.thumbnail(id))) return;
    const { makeThumbnail } = await import('../../image/thumbnail.js');
    const thumbnail = await makeThumbnail(file, thumbnailPx, this.#controller.signal);
    if (thumbnail) await this.#index.update(id, { thumbnail: thumbnail.blob });
  }

  /** Until all is done: a pass is ended by a pause, or by an image that is too large. */
  async #work(roots: readonly Root[]): Promise<void> {
    for (;;) {
      await this.#pass(roots);
      if (this.#phase === 'paused') await this.#keep(roots, false);
      while (this.#phase === 'paused' && !this.#controller.signal.aborted) await this.#changed;
      this.#controller.signal.throwIfAborted();
      if (this.#queue.hasMore) continue;
      this.#queue.throwFailure();
      return;
    }
  }

  /** Describes what waits, in order, and commits what is described: beside one another. */
  async #pass(roots: readonly Root[]): Promise<void> {
    const { batchSize = BATCH_SIZE } = this.#options;
    const taken = new Map<number, Taken>();
    const files = this.#files(taken);
    const ready: Item[] = [];
    let isOver = false;
    const describe = async (): Promise<void> => {
      try {
        for await (const result of await this.#results(files)) {
          const of = taken.get(result.index)!;
          taken.delete(result.index);
          await this.#receive(of, result, ready);
          while (ready.length >= MOST_UNCOMMITTED * batchSize && !this.#isOver) await this.#changed;
          if (this.#isOver) return;
        }
      } finally {
        isOver = true;
        this.#notify();
      }
    };
    const described = describe();
    described.catch(() => undefined); // it is awaited below, unless a commit fails first
    try {
      while (!isOver || ready.length > 0) {
        if (ready.length > 0) await this.#commit(ready.splice(0), roots);
        else await this.#changed;
      }
    } catch (error) {
      this.#enter(this.#controller.signal.aborted ? 'aborted' : 'failed'); // no further image is described
      await described.catch(() => undefined);
      throw error;
    }
    try {
      await described;
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      // One image, or the batch that it was in, does not fit on the GPU: each on its own.
      // It may still be opening a file, which belongs to this pass.
      await untilAborted(() => files.return(undefined), this.#controller.signal);
      const { describeBatch } = await import('./describeFiles.js');
      for (const each of taken.values()) {
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
    const {
      batchSize = BATCH_SIZE,
      thumbnailPx = THUMBNAIL_PX,
      metadata: _,
      under: __,
      removeMissing: ___,
      onProgress: ____,
      ...pixels
    } = this.#options;
    const patches = this.#index.header.patches !== 'none';
    const { signal } = this.#controller;
    return { ...pixels, batchSize, thumbnailPx, patches, normalize: false, signal };
  }

  /** Files for the model, until there are no more, or a pause. */
  async *#files(taken: Map<number, Taken>): AsyncGenerator<File, void, undefined> {
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
      taken.set(index++, { id: image.id, file });
      yield file;
    }
  }

  async #receive({ id, file }: Taken, result: Omit<IngestResult, 'index'>, ready: Item[]): Promise<void> {
    const { error, embedding, patches, thumbnail } = result;
    if (!embedding) {
      await this.#failures.addFile(id, error!, file);
      return this.#countOne('failed');
    }
    const { size, lastModified } = file;
    const about: FileMetadata = {
      size,
      lastModified,
      ...(thumbnail && { width: thumbnail.width, height: thumbnail.height }),
      ...(this.#look !== undefined && { look: this.#look }),
    };
    ready.push({
      id,
      vector: embedding,
      patches,
      metadata: { ...this.#options.metadata?.(id, file), file: about },
      thumbnail: thumbnail?.blob,
    });
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
    this.#tell();
    if (performance.now() - this.#keptMs > KEEP_EVERY_MS) await this.#keep(roots, false);
  }

  /** @param known what ids of folders begin with, and ids of files */
  async #removeMissing(roots: readonly Root[], known: readonly string[]): Promise<void> {
    // A folder that could not be read says nothing of what is in it.
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
    this.#tell();
  }

  /** Whether an error or an abort has ended it. */
  get #isOver(): boolean {
    return this.#controller.signal.aborted || this.#phase === 'failed';
  }

  async #keep(roots: readonly Root[], done: boolean): Promise<void> {
    const { images, unchanged, added, updated, failed } = this.#counts;
    await keepRun(this.#index, roots, {
      under: this.#options.under,
      images,
      finished: unchanged + added + updated + failed,
      done,
    });
    this.#keptMs = performance.now();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#changed = new Promise((resolve) => (this.#wake = resolve));
    wake();
  }

  #enter(phase: IngestPhase): void {
    this.#phase = phase;
    this.#toldMs = -Infinity;
    this.#notify(); // first: whoever sleeps is woken, whatever onProgress throws
    try {
      this.#tell();
    } catch (error) {
      if (phase !== 'failed' && phase !== 'aborted') throw error; // by then what has ended it is the error
    }
  }

  #tell(): void {
    const now = performance.now();
    if (now - this.#toldMs < TELL_EVERY_MS) return;
    this.#toldMs = now;
    this.#options.onProgress?.(this.progress);
  }
}
