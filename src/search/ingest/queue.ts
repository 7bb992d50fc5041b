/** `Queue`: walks files and folders, counts the images, and looks up which images the index lacks. */
import { IndexError } from '../../errors.js';
import { isSameFile } from './known.js';
import type { Root } from './source.js';
import type { KnownSources } from './state.js';
import type { IngestIndex } from './target.js';
import { walk } from './walk.js';

const MOST_ID_LENGTH = 1024;

/** An image that has been found and not yet embedded. */
export interface QueuedImage {
  readonly id: string;
  readonly read: () => Promise<File>;
  readonly alone?: boolean | undefined;
}

/** Callbacks of the queue. */
export interface QueueEvents {
  /** An image was found. */
  readonly onImage: () => void;
  /** A file that is not an image was found. */
  readonly onIgnored: () => void;
  /** The index has the image already. */
  readonly onUnchanged: () => void;
  /** @param counts true if `onImage` was called for the file that failed */
  readonly onFailure: (id: string, error: unknown, counts: boolean) => void;
  /** True if the index already has this file and nothing is left to do. */
  readonly isDone: (id: string, file: File) => Promise<boolean>;
  /** Waits while the ingest is paused. Resolves to false if the ingest has ended. */
  readonly goOn: () => Promise<boolean>;
  /** Wakes the loops that wait for a new image. */
  readonly onChange: () => void;
  /** Resolves at the next `onChange`. */
  readonly untilChange: () => Promise<void>;
}

export class Queue {
  /** Ids of all images found so far. */
  readonly seen: Set<string> = new Set<string>();
  readonly #index: IngestIndex;
  readonly #under: string | undefined;
  readonly #events: QueueEvents;
  /** Images found so far. The first `#lookedAt` of them have been looked up in the index. */
  readonly #found: (QueuedImage | undefined)[] = [];
  #lookedAt = 0;
  /** Images that the index lacks. The first `#taken` of them have been taken. */
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

  /** True if `take` may return another image, now or later. */
  get hasMore(): boolean {
    return this.#looking || this.#taken < this.#lacking.length;
  }

  /** True if no image is ready for `take` now. */
  get isEmpty(): boolean {
    return this.#taken === this.#lacking.length;
  }

  /** The next image that the index lacks; undefined if none is ready. */
  take(): QueuedImage | undefined {
    const image = this.#lacking[this.#taken];
    if (image) this.#lacking[this.#taken++] = undefined;
    return image;
  }

  /** Throws the error that ended the walk, if any. Errors of single files are failures instead. */
  throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Finds and counts images without opening files. Never rejects. */
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

  /** Ends the walk: no further images follow. */
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

  /** Looks up images in the index as they are found, by size and date of their files. Never rejects. */
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
   * True if the index has a file with this name that may be a different photograph. Cameras call thousands of
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
