/** From files and folders to the images that an index lacks: found, counted, and looked up in their order. */
import { IndexError } from '../../errors.js';
import { isSameFile } from './known.js';
import type { Root } from './source.js';
import type { Claims } from './state.js';
import type { IngestIndex } from './target.js';
import { walk } from './walk.js';

const MOST_ID_LENGTH = 1024;

/** An image that waits for its turn. */
export interface Waiting {
  readonly id: string;
  readonly read: () => Promise<File>;
  readonly alone?: boolean | undefined;
}

/** A file that the model has. */
export interface Taken {
  readonly id: string;
  readonly file: File;
}

/** What the queue tells, and asks. */
export interface QueueEvents {
  readonly onImage: () => void;
  readonly onIgnored: () => void;
  readonly onUnchanged: () => void;
  /** @param counts whether it is an image that was counted */
  readonly onFailure: (id: string, error: unknown, counts: boolean) => void;
  /** Whether the index has this very file already, and nothing is to be done. */
  readonly isDone: (id: string, file: File) => Promise<boolean>;
  /** Resolves when there is no pause; to false if all has ended. */
  readonly goOn: () => Promise<boolean>;
  /** Something was found, or looked at: loops that wait may go on. */
  readonly onChange: () => void;
  readonly untilChange: () => Promise<void>;
}

export class Queue {
  /** Ids of all images that were found. */
  readonly seen: Set<string> = new Set<string>();
  readonly #index: IngestIndex;
  readonly #under: string | undefined;
  readonly #events: QueueEvents;
  /** Images that were found; the first `#lookedAt` of them were looked up in the index. */
  readonly #found: (Waiting | undefined)[] = [];
  #lookedAt = 0;
  /** Images that the index lacks; the first `#taken` of them were taken. */
  readonly #lacking: (Waiting | undefined)[] = [];
  #taken = 0;
  #walking = true;
  #looking = true;
  #failure: { readonly error: unknown } | undefined;

  constructor(index: IngestIndex, under: string | undefined, events: QueueEvents) {
    this.#index = index;
    this.#under = under;
    this.#events = events;
  }

  /** Folders are still being walked. */
  get walking(): boolean {
    return this.#walking;
  }

  /** Whether `take` may give another image, now or later. */
  get hasMore(): boolean {
    return this.#looking || this.#taken < this.#lacking.length;
  }

  /** Whether the next image is yet to come. */
  get isEmpty(): boolean {
    return this.#taken === this.#lacking.length;
  }

  take(): Waiting | undefined {
    const image = this.#lacking[this.#taken];
    if (image) this.#lacking[this.#taken++] = undefined;
    return image;
  }

  /** @throws what has ended the walk, which is of no file or folder */
  throwFailure(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Finds and counts images: no file is opened. Never rejects. */
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

  /** No further image is found. */
  end(): void {
    this.#walking = false;
    this.#events.onChange();
  }

  #count(image: Waiting): void {
    const { id } = image;
    const { onImage, onFailure, onChange } = this.#events;
    onImage();
    if (this.seen.has(id)) {
      const message = `${id}: expected one file of that path, found another one in the same ingest. Ingest them as parts of a folder, or rename one.`;
      return onFailure(id, new IndexError('INDEX_DUPLICATE_ID', message), true);
    }
    this.seen.add(id);
    if (id.length > MOST_ID_LENGTH) {
      const message = `${id.slice(0, 60)}…: expected a path of at most ${MOST_ID_LENGTH} characters, found ${id.length}. Move the file to a folder nearer to the top.`;
      return onFailure(id, new IndexError('INDEX_ID', message), true);
    }
    this.#found.push(image);
    onChange();
  }

  /** Looks up images as they are found, by size and date of their files. Never rejects. */
  async lookUp(claims: Claims): Promise<void> {
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

  async #lookAt(image: Waiting, claims: Claims): Promise<void> {
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
          `${id}: expected a file that the index does not have, found one of the same name, and nothing that tells whether it is another photograph. Ingest its folder, or give it a name of its own (under: 'a name'); if it is the same photograph, changed, use under: ''.`,
        );
      }
    } catch (error) {
      return onFailure(id, error, true);
    }
    onUnchanged();
  }

  /**
   * Whether the index has another file of this name, for all that is known: cameras call thousands of
   * photographs IMG_0001.JPG, and only a folder or a handle tells that one of them has changed.
   */
  #isAnother({ id, alone }: Waiting, file: File, { same }: Claims): boolean {
    return (
      alone === true &&
      this.#under === undefined &&
      this.#index.has(id) &&
      !same.has(id) &&
      !isSameFile(this.#index, id, file)
    );
  }
}
