/**
 * Bounds how many pictures are decoded at once, and how many bytes of pixels they take: a photograph of 12
 * megapixels is 48 MB, and a folder has thousands of them.
 */

/** Five photographs of 12 megapixels, or one of 60. */
const MOST_BYTES = 256 * 2 ** 20;
/** More than this many decoders gain nothing: the GPU process copies one picture at a time. */
const MOST_AT_ONCE = 8;

export interface DecodeSlot {
  /**
   * Waits until this picture fits beside the others. Call it once, ahead of decoding. A picture that is too
   * large for the bound waits until it is alone.
   * @param bytes of memory that decoding it takes
   * @throws the signal's reason; the slot is free then
   */
  claim(bytes: number, signal?: AbortSignal): Promise<void>;
  /** Call it when the picture is closed. Further calls do nothing. */
  release(): void;
}

interface Waiting {
  readonly fits: () => boolean;
  readonly start: () => void;
}

/** Who comes first is served first, for a slot and for bytes. */
export class DecodeSlots {
  readonly #mostAtOnce: number;
  readonly #mostBytes: number;
  readonly #forSlot: Waiting[] = [];
  readonly #forBytes: Waiting[] = [];
  #running = 0;
  #bytes = 0;

  constructor(mostAtOnce: number, mostBytes: number) {
    this.#mostAtOnce = mostAtOnce;
    this.#mostBytes = mostBytes;
  }

  /** Slots that are taken. */
  get running(): number {
    return this.#running;
  }

  /** Bytes of pixels that are claimed. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Waits for a slot. Take it ahead of reading the file.
   * @throws the signal's reason
   */
  async take(signal?: AbortSignal): Promise<DecodeSlot> {
    await this.#turn(
      this.#forSlot,
      () => this.#running < this.#mostAtOnce,
      () => (this.#running += 1),
      signal,
    );
    return this.#slot();
  }

  /** A slot with so many bytes, if both are free at this moment. */
  takeNow(bytes: number): DecodeSlot | undefined {
    const waiting = this.#forSlot.length + this.#forBytes.length;
    if (waiting > 0 || this.#running >= this.#mostAtOnce || !this.#fits(bytes)) return undefined;
    this.#running += 1;
    this.#bytes += bytes;
    return this.#slot(bytes);
  }

  #fits(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#mostBytes;
  }

  #slot(held = 0): DecodeSlot {
    let free = false;
    const release = (): void => {
      if (free) return;
      free = true;
      this.#running -= 1;
      this.#bytes -= held;
      this.#next(this.#forBytes);
      this.#next(this.#forSlot);
    };
    const claim = async (bytes: number, signal?: AbortSignal): Promise<void> => {
      try {
        await this.#turn(
          this.#forBytes,
          () => this.#fits(bytes),
          () => (this.#bytes += held = bytes),
          signal,
        );
      } catch (error) {
        release();
        throw error;
      }
    };
    return { claim, release };
  }

  #turn(
    queue: Waiting[],
    fits: () => boolean,
    begin: () => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = (): void => {
        queue.splice(queue.indexOf(waiting), 1);
        reject(signal!.reason as Error);
        this.#next(queue); // who waits behind may need less
      };
      const waiting: Waiting = {
        fits,
        start: () => {
          signal?.removeEventListener('abort', abort);
          begin();
          resolve();
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      queue.push(waiting);
      this.#next(queue);
    });
  }

  #next(queue: Waiting[]): void {
    while (queue[0]?.fits()) queue.shift()!.start();
  }
}

let shared: DecodeSlots | undefined;

/**
 * Those of this realm: a page and its worker have their own. Two slots more than cores: while their decoders
 * are at work, a file is read, and a picture goes to the GPU.
 */
export function decodeSlots(): DecodeSlots {
  const cores = globalThis.navigator?.hardwareConcurrency ?? 2;
  return (shared ??= new DecodeSlots(Math.min(MOST_AT_ONCE, Math.max(2, cores) + 2), MOST_BYTES));
}
