/**
 * Photographs → an index. While one batch is computed, the next is decoded and the folders are walked on;
 * each batch is in the index, for good, before it is counted. What is there already, of the same size and
 * date and made with the same options, is passed over: so the same source again goes on where an earlier ingest has ended, however it ended.
 */
import { IndexError } from '../../errors.js';
import { checkOptions } from '../../optionNames.js';
import {
  DEFAULT_LOOK,
  lookText,
  modelIdentity,
  modelText,
  sameModel,
  type IdentityOptions,
} from '../identity.js';
import type { Item } from '../options.js';
import { describeImages } from './describe.js';
import {
  OWN_OPTIONS,
  type FileMetadata,
  type IngestFailure,
  type IngestOptions,
  type IngestReport,
} from './options.js';
import { Rate, type IngestPhase, type IngestProgress } from './progress.js';
import { rootsOf, type IngestSource, type Root } from './source.js';
import { claimFolders, keepRun } from './state.js';
import type { IngestIndex, IngestModel } from './target.js';
import { makeThumbnail } from './thumbnail.js';
import { folderOf, walk } from './walk.js';

/** Batches whose pixels are decoded or computed at once. */
const IN_FLIGHT = 2;
const BATCH_SIZE = 8;
const THUMBNAIL_PX = 256;
const MOST_ID_LENGTH = 1024;
/** Where an ingest stands is written down so often, beside the batches themselves. */
const KEEP_EVERY_MS = 2000;
const TELL_EVERY_MS = 100;

/** An image that waits for its turn. */
interface Waiting {
  readonly id: string;
  readonly read: () => Promise<File>;
}

/**
 * Begins to ingest. The id of an image is its path: `folder/name.jpg`, or `name.jpg` of a file that came
 * without a folder; behind `under`, if that is given. An index with patches gets them from the same forward
 * as the vector.
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
  readonly #failures: IngestFailure[] = [];
  readonly #rate = new Rate();
  readonly #counts = { images: 0, ignored: 0, unchanged: 0, added: 0, updated: 0, failed: 0, removed: 0 };
  readonly #waiting: Waiting[] = [];
  readonly #seen = new Set<string>();
  /** What becomes of pixels, where the index's header does not say it and it is not the default. */
  #look: string | undefined;
  #phase: IngestPhase = 'running';
  #walking = true;
  #walkError: { readonly error: unknown } | undefined;
  /** Resolved when something has changed that a loop may wait for. */
  #wake: () => void = () => undefined;
  #changed = new Promise<void>((resolve) => (this.#wake = resolve));
  #toldMs = -Infinity;
  #keptMs = -Infinity;

  constructor(index: IngestIndex, model: IngestModel, source: IngestSource, options: IngestOptions) {
    checkOptions('ingest', options);
    this.#index = index;
    this.#model = model;
    this.#options = options;
    const { batchSize = BATCH_SIZE, under = '', signal } = options;
    if (/^\/|\/(\/|$)/.test(under))
      throw new IndexError(
        'INDEX_OPTIONS',
        `under: expected a name, or several with a slash between, found ${JSON.stringify(under)}.`,
      );
    if (!Number.isInteger(batchSize) || batchSize < 1)
      throw new IndexError(
        'INDEX_OPTIONS',
        `batchSize: expected a whole number from 1, found ${String(batchSize)}.`,
      );
    const abort = (): void => this.abort(signal?.reason);
    if (signal?.aborted) this.#controller.abort(signal.reason);
    signal?.addEventListener('abort', abort);
    this.finished = this.#run(source).finally(() => signal?.removeEventListener('abort', abort));
    this.finished.catch(() => undefined); // whoever wants to know awaits it
  }

  get progress(): IngestProgress {
    const { images, unchanged, added, updated, failed } = this.#counts;
    const { perSecond } = this.#rate;
    const left = images - unchanged - added - updated - failed;
    return {
      phase: this.#phase,
      walking: this.#walking,
      ...this.#counts,
      perSecond,
      secondsLeft: this.#walking || perSecond === undefined ? undefined : left / perSecond,
    };
  }

  /** So far. */
  get failures(): readonly IngestFailure[] {
    return this.#failures;
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

  async #run(source: IngestSource): Promise<IngestReport> {
    const { signal } = this.#controller;
    let roots: readonly Root[] = [];
    try {
      roots = await rootsOf(source);
      await this.#checkModel();
      signal.throwIfAborted();
      const { under, removeMissing = false } = this.#options;
      const known = await claimFolders(this.#index, roots, under, removeMissing);
      await this.#keep(roots, false);
      const walked = this.#walk(roots);
      try {
        await this.#work(roots);
      } finally {
        await walked;
      }
      if (removeMissing) await this.#removeMissing(roots, known);
      await this.#keep(roots, true);
      this.#enter('done');
      return { ...this.progress, failures: this.#failures };
    } catch (error) {
      this.#walking = false;
      this.#enter(signal.aborted ? 'aborted' : 'failed');
      signal.throwIfAborted();
      throw error;
    }
  }

  /**
   * @throws IndexError INDEX_MODEL, where the index says what makes its vectors, and this is something else
   */
  async #checkModel(): Promise<void> {
    const wanted = this.#index.header.model;
    const given = Object.entries(this.#options).filter(([name]) => !OWN_OPTIONS.has(name));
    if (!wanted) {
      const text = lookText(
        this.#model,
        Object.fromEntries(given.filter(([, value]) => value !== undefined)) as IdentityOptions,
      );
      this.#look = text === DEFAULT_LOOK ? undefined : text;
      return;
    }
    const look: IdentityOptions = Object.fromEntries(given);
    const found = await modelIdentity(this.#model, look);
    if (sameModel(found, wanted)) return;
    throw new IndexError(
      'INDEX_MODEL',
      `ingest: expected what the index was made with, ${modelText(wanted)}, found ${modelText(found)}. Use that model and those options, or another index.`,
    );
  }

  /** Finds what is to be done, and puts it into the queue. */
  async #walk(roots: readonly Root[]): Promise<void> {
    try {
      for await (const found of walk(roots, this.#options.under ?? '')) {
        await this.#whilePaused();
        if (this.#controller.signal.aborted || this.#phase === 'failed') return;
        if (found.kind === 'other') this.#counts.ignored += 1;
        else if (found.kind === 'failure') this.#fail(found.id, found.error);
        else await this.#consider(found);
        this.#tell();
      }
    } catch (error) {
      this.#walkError = { error };
    } finally {
      this.#walking = false;
      this.#notify();
    }
  }

  async #consider({ id, read }: Waiting): Promise<void> {
    this.#counts.images += 1;
    if (this.#seen.has(id)) {
      return this.#fail(
        id,
        new IndexError(
          'INDEX_DUPLICATE_ID',
          `${id}: expected one file of that path, found another one in the same ingest. Ingest them as parts of a folder, or rename one.`,
        ),
      );
    }
    this.#seen.add(id);
    if (id.length > MOST_ID_LENGTH) {
      return this.#fail(
        id,
        new IndexError(
          'INDEX_ID',
          `${id.slice(0, 60)}…: expected a path of at most ${MOST_ID_LENGTH} characters, found ${id.length}. Move the file to a folder nearer to the top.`,
        ),
      );
    }
    try {
      const file = await read();
      if (isUnchanged(this.#index, id, file, this.#look)) {
        await this.#addThumbnail(id, file);
        this.#counts.unchanged += 1;
      } else {
        this.#waiting.push({ id, read });
      }
    } catch (error) {
      return this.#fail(id, error);
    }
    this.#notify();
  }

  /** An index that was imported has no small pictures: they come when its files do. */
  async #addThumbnail(id: string, file: File): Promise<void> {
    const { thumbnailPx = THUMBNAIL_PX } = this.#options;
    if (thumbnailPx === 0 || (await this.#index.thumbnail(id))) return;
    const thumbnail = await makeThumbnail(file, thumbnailPx);
    if (thumbnail) await this.#index.update(id, { thumbnail: thumbnail.blob });
  }

  /** Takes batches from the queue, a few at once, and commits them in their order. */
  async #work(roots: readonly Root[]): Promise<void> {
    const running: Promise<Item[]>[] = [];
    try {
      for (;;) {
        if (this.#phase === 'paused') {
          while (running.length > 0) await this.#commit(await running.shift()!, roots);
          await this.#keep(roots, false);
          await this.#whilePaused();
        }
        const batch = await this.#nextBatch();
        if (batch.length > 0) running.push(this.#describe(batch));
        if (batch.length === 0 && running.length === 0) {
          if (this.#phase === 'paused') continue;
          if (this.#walkError) throw this.#walkError.error;
          return;
        }
        running.at(-1)!.catch(() => undefined); // it is awaited in its turn, unless one before it fails
        if (running.length >= IN_FLIGHT || batch.length === 0)
          await this.#commit(await running.shift()!, roots);
      }
    } catch (error) {
      this.#enter(this.#controller.signal.aborted ? 'aborted' : 'failed'); // the walk ends too
      throw error;
    } finally {
      await Promise.allSettled(running);
    }
  }

  /** A whole batch, or what is left at the end of the walk; none if there is no more, or in a pause. */
  async #nextBatch(): Promise<Waiting[]> {
    const { batchSize = BATCH_SIZE } = this.#options;
    while (this.#walking && this.#waiting.length < batchSize && this.#phase === 'running') await this.#next();
    this.#controller.signal.throwIfAborted();
    return this.#phase === 'running' ? this.#waiting.splice(0, batchSize) : [];
  }

  async #describe(batch: readonly Waiting[]): Promise<Item[]> {
    const {
      thumbnailPx = THUMBNAIL_PX,
      metadata,
      batchSize: _,
      under: _under,
      removeMissing: __,
      onProgress: ___,
      ...pixels
    } = this.#options;
    const { signal } = this.#controller;
    const files: { id: string; file: File }[] = [];
    for (const { id, read } of batch) {
      try {
        files.push({ id, file: await read() });
      } catch (error) {
        this.#fail(id, error);
      }
    }
    if (files.length === 0) return [];
    const patches = this.#index.header.patches !== 'none';
    const [descriptions, thumbnails] = await Promise.all([
      describeImages(
        this.#model,
        files.map(({ file }) => file),
        { ...pixels, patches, signal },
      ),
      Promise.all(files.map(({ file }) => (thumbnailPx > 0 ? makeThumbnail(file, thumbnailPx) : undefined))),
    ]);
    return files.flatMap(({ id, file }, i): Item[] => {
      const [description, thumbnail] = [descriptions[i]!, thumbnails[i]];
      if (description instanceof Error) {
        this.#fail(id, description);
        return [];
      }
      const { size, lastModified } = file;
      const about: FileMetadata = {
        size,
        lastModified,
        ...(thumbnail && { width: thumbnail.width, height: thumbnail.height }),
        ...(this.#look !== undefined && { look: this.#look }),
      };
      return [
        {
          id,
          ...description,
          metadata: { ...metadata?.(id, file), file: about },
          thumbnail: thumbnail?.blob,
        },
      ];
    });
  }

  /** All of a batch at once; one by one where an item of it is refused. */
  async #commit(items: readonly Item[], roots: readonly Root[]): Promise<void> {
    this.#controller.signal.throwIfAborted();
    const fresh = items.filter(({ id }) => !this.#index.has(id));
    try {
      if (fresh.length > 0) await this.#index.addMany(fresh);
      this.#counts.added += fresh.length;
    } catch (error) {
      if (!isOfAnItem(error)) throw error;
      for (const item of fresh) await this.#put(item);
    }
    for (const item of items) if (!fresh.includes(item)) await this.#put(item);
    this.#rate.count(items.length);
    this.#tell();
    if (performance.now() - this.#keptMs > KEEP_EVERY_MS) await this.#keep(roots, false);
  }

  async #put(item: Item): Promise<void> {
    const { id, ...changes } = item;
    const there = this.#index.has(id);
    try {
      if (there) await this.#index.update(id, changes);
      else await this.#index.addMany([item]);
      this.#counts[there ? 'updated' : 'added'] += 1;
    } catch (error) {
      if (!isOfAnItem(error)) throw error;
      // Another tab has put it, or taken it away, in the moment between.
      if (this.#index.has(id) !== there) return this.#put(item);
      this.#fail(id, error);
    }
  }

  /**
   * @param known what ids of folders begin with, and ids of files: those of a folder within that came from
   *   elsewhere are not this one's
   */
  async #removeMissing(roots: readonly Root[], known: readonly string[]): Promise<void> {
    // A folder that could not be read says nothing of what is in it.
    if (this.#failures.some(({ id }) => !this.#seen.has(id))) return;
    const own = new Set(roots.flatMap((root) => folderOf(root, this.#options.under ?? '') ?? []));
    const folders = [...own].map((folder) => ({
      folder,
      others: known.filter((prefix) => prefix.startsWith(folder) && !own.has(prefix)),
    }));
    const isOwn = (id: string): boolean =>
      folders.some(
        ({ folder, others }) => id.startsWith(folder) && !others.some((other) => id.startsWith(other)),
      );
    const gone = [...this.#index.ids()].filter((id) => !this.#seen.has(id) && isOwn(id));
    if (gone.length > 0) this.#counts.removed += await this.#index.remove(gone);
  }

  #fail(id: string, error: unknown): void {
    if (this.#seen.has(id)) this.#counts.failed += 1;
    this.#failures.push({ id, error: error instanceof Error ? error : new Error(String(error)) });
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

  async #whilePaused(): Promise<void> {
    while (this.#phase === 'paused' && !this.#controller.signal.aborted) await this.#next();
  }

  /** Until something has changed. */
  #next(): Promise<void> {
    return this.#changed;
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

/** Whether an index has this very file, by its size and date, and made of it what `look` says. */
function isUnchanged(
  index: IngestIndex,
  id: string,
  { size, lastModified }: File,
  look: string | undefined,
): boolean {
  if (!index.has(id)) return false;
  const metadata = index.metadata(id);
  const file =
    typeof metadata === 'object' && metadata !== null && 'file' in metadata
      ? (metadata.file as Partial<FileMetadata> | null)
      : undefined;
  return (
    file?.size === size &&
    file.lastModified === lastModified &&
    (index.header.model !== undefined || file.look === look)
  );
}

const ofAnItem: readonly string[] = [
  'INDEX_ID',
  'INDEX_VECTOR',
  'INDEX_METADATA',
  'INDEX_PATCHES',
  'INDEX_DUPLICATE_ID',
  'INDEX_UNKNOWN_ID',
];
const isOfAnItem = (error: unknown): error is IndexError =>
  error instanceof IndexError && ofAnItem.includes(error.code);
