/** `Queue`: walks files and folders, counts the images, and looks up which images the index lacks. */
import { IndexError } from '../../errors.js';
import { isSameFile } from './known.js';
import type { Root } from './source.js';
import type { KnownSources } from './state.js';
import type { IngestIndex } from './target.js';
import { walk } from './walk.js';

const MOST_ID_LENGTH = 1024;

/** An image that has been found but not yet embedded. */
export interface QueuedImage {
  readonly id: string;
  readonly read: () => Promise<File>;
  readonly alone?: boolean | undefined;
}

/** Functions that the queue calls. */
export interface QueueEvents {
  /** Called when an image was found. */
  readonly onImage: () => void;
  /** Called when a file was found that is not an image. */
  readonly onIgnored: () => void;
  /** Called for an image that the index already has and whose file has not changed. */
  readonly onUnchanged: () => void;
  /**
   * Called when a file cannot be ingested.
   * @param counts true if `onImage` has already been called for this file
   */
  readonly onFailure: (id: string, error: unknown, counts: boolean) => void;
  /** Returns true if the index already has this file and nothing is left to do for it. */
  readonly isDone: (id: string, file: File) => Promise<boolean>;
  /** Waits while the ingest is paused. Resolves to true if the ingest continues, false if it has ended. */
  readonly goOn: () => Promise<boolean>;
  /** Called when the queue changes. Wakes the loops of the ingest that wait for a change. */
  readonly onChange: () => void;
  /** Returns a promise that resolves at the next call of `onChange`. */
  readonly untilChange: () => Promise<void>;
}

export class Queue {
  /** Ids of all images found so far. */
  readonly seen: Set<string> = new Set<string>();
  readonly #index: IngestIndex;
  readonly #under: string | undefined;
  readonly #events: QueueEvents;
  /**
   * Images found so far. The first `#lookedAt` of them have been looked up in the index and are replaced by
   * undefined.
   */
  readonly #found: (QueuedImage | undefined)[] = [];
  #lookedAt = 0;
  /** Images that the index lacks. `take` has returned the first `#taken` of them. */
  readonly #lacking: (QueuedImage | undefined)[] = [];
  #taken = 0;
  #walking = true;
  #looking = true;
  #failure: { readonly error: unknown } | undefined;

  constructor(index: IngestIndex, under: string | undefined, events: QueueEvents) {
    this.#index = index;
    this.#under = under;
    this.#events = events;
  }

  /** True while folders are being walked. */
  get walking(): boolean {
    return this.#walking;
  }

  /** True if `take` can return a further image, now or later. */
  get hasMore(): boolean {
    return this.#looking || this.#taken < this.#lacking.length;
  }

  /** True if `take` would return undefined at this moment. */
  get isEmpty(): boolean {
    return this.#taken === this.#lacking.length;
  }

  /**
   * Removes the next image that the index lacks from the queue and returns it; undefined if none is ready.
   */
  take(): QueuedImage | undefined {
    const image = this.#lacking[this.#taken];
    if (image) this.#lacking[this.#taken++] = undefined;
    return image;
  }

  /**
   * If an error ended the walk or the look-up, throws this error. An error of a single file is not thrown: it
   * is passed to `onFailure`.
   */
  throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Walks files and folders, and counts the images in them without opening files. Never rejects. */
  async walk(roots: readonly Root[]): Promise<void> {
    const { onIgnored, onFailure, goOn } = this.#events;
    try {
      for await (const found of walk(roots, this.#under ?? '')) {
        if (!(await goOn())) return;
        if (found.kind === 'other') onIgnored();
        else if (found.kind === 'failure') onFailure(found.id, found.error, false);
        else this.#count(found);
      }
    } catch (error) {
      this.#failure = { error };
    } finally {
      this.end();
    }
  }

  /** Ends the walk: the queue gets no further images. */
  end(): void {
    this.#walking = false;
    this.#events.onChange();
  }

  #count(image: QueuedImage): void {
    const { id } = image;
    const { onImage, onFailure, onChange } = this.#events;
    onImage();
    if (this.seen.has(id)) {
      const message = `${id}: this ingest contains two files with this path. Ingest the folders that contain the files, or rename one file.`;
      return onFailure(id, new IndexError('INDEX_DUPLICATE_ID', message), true);
    }
    this.seen.add(id);
    if (id.length > MOST_ID_LENGTH) {
      const message = `${id.slice(0, 60)}…: expected a path of at most ${MOST_ID_LENGTH} characters, found ${id.length}. Move the file to a shorter path.`;
      return onFailure(id, new IndexError('INDEX_ID', message), true);
    }
    this.#found.push(image);
    onChange();
  }

  /**
   * Looks up each image in the index as soon as it is found, and compares size and date of its file. Never
   * rejects.
   */
  async lookUp(claims: KnownSources): Promise<void> {
    const { goOn, untilChange, onChange } = this.#events;
    try {
      while (await goOn()) {
        const image = this.#found[this.#lookedAt];
        if (image) {
          this.#found[this.#lookedAt++] = undefined;
          await this.#lookAt(image, claims);
        } else if (this.#walking) await untilChange();
        else return;
      }
    } catch (error) {
      this.#failure ??= { error };
    } finally {
      this.#looking = false;
      onChange();
    }
  }

  async #lookAt(image: QueuedImage, claims: KnownSources): Promise<void> {
    const { id, read } = image;
    const { isDone, onUnchanged, onFailure, onChange } = this.#events;
    try {
      const file = await read();
      if (!(await isDone(id, file))) {
        if (!this.#isAnother(image, file, claims)) {
          this.#lacking.push(image);
          return onChange();
        }
        throw new IndexError(
          'INDEX_DUPLICATE_ID',
          `${id}: the index already has a file with this name, but with a different size or date. If the new file is a different photograph, ingest its folder or set a prefix (under: 'a name'). If the new file is a newer version of the same photograph, set under: ''.`,
        );
      }
    } catch (error) {
      return onFailure(id, error, true);
    }
    onUnchanged();
  }

  /**
   * True if the index has an item with this id that may be a different photograph. Cameras name thousands of
   * photographs IMG_0001.JPG; only a folder or a handle shows that a file is a newer version of the same
   * photograph.
   */
  #isAnother({ id, alone }: QueuedImage, file: File, { same }: KnownSources): boolean {
    return (
      alone === true &&
      this.#under === undefined &&
      this.#index.has(id) &&
      !same.has(id) &&
      !isSameFile(this.#index, id, file)
    );
  }
}
