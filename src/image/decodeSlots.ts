/**
 * Limits how many images are decoded at once, and the memory of their pixels. A photograph of 12 megapixels
 * takes 48 MB, and a folder may hold thousands.
 */

/**
 * Limit in bytes for the memory of decoded pixels: enough for five photographs of 12 megapixels, or one of
 * 60.
 */
const MOST_BYTES = 256 * 2 ** 20;
/**
 * Largest number of images that are decoded at once. More would not be faster: the GPU process copies one
 * image at a time.
 */
const MOST_AT_ONCE = 8;

/** The permission to decode one image. */
export interface DecodeSlot {
  /**
   * Waits until the decoded image fits into the memory limit. Call once, before decoding. An image larger
   * than the limit waits until no other image has claimed memory.
   * @param bytes number of bytes of memory that decoding takes
   * @throws `signal.reason` after an abort, which also releases the slot
   */
  claim(bytes: number, signal?: AbortSignal): Promise<void>;
  /**
   * Gives the slot and its memory back. Call this method when the image is closed. Further calls do nothing.
   */
  release(): void;
}

interface Waiter {
  readonly fits: () => boolean;
  readonly start: () => void;
}

/**
 * Hands out decode slots (permissions to decode one image) and memory for decoded pixels. Callers wait for
 * slots in one first-in, first-out queue, and for memory in a second queue.
 */
export class DecodeSlots {
  readonly #mostAtOnce: number;
  readonly #mostBytes: number;
  readonly #forSlot: Waiter[] = [];
  readonly #forBytes: Waiter[] = [];
  #running = 0;
  #bytes = 0;

  constructor(mostAtOnce: number, mostBytes: number) {
    this.#mostAtOnce = mostAtOnce;
    this.#mostBytes = mostBytes;
  }

  /** Number of slots in use. */
  get running(): number {
    return this.#running;
  }

  /** Number of bytes that the decode slots in use have claimed for pixels. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Waits for a slot. Call this method before reading the file.
   * @throws `signal.reason` after an abort
   */
  async take(signal?: AbortSignal): Promise<DecodeSlot> {
    await this.#enqueue(
      this.#forSlot,
      () => this.#running < this.#mostAtOnce,
      () => (this.#running += 1),
      signal,
    );
    return this.#slot();
  }

  /**
   * Takes a slot and claims `bytes` of memory without waiting. Returns undefined if no slot or too little
   * memory is free at this moment.
   */
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
        await this.#enqueue(
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

  #enqueue(
    queue: Waiter[],
    fits: () => boolean,
    begin: () => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = (): void => {
        queue.splice(queue.indexOf(waiter), 1);
        reject(signal!.reason as Error);
        this.#next(queue); // the following waiter may need fewer bytes
      };
      const waiter: Waiter = {
        fits,
        start: () => {
          signal?.removeEventListener('abort', abort);
          begin();
          resolve();
        },
      };
      signal?.addEventListener('abort', abort, { once: true });
      queue.push(waiter);
      this.#next(queue);
    });
  }

  #next(queue: Waiter[]): void {
    while (queue[0]?.fits()) queue.shift()!.start();
  }
}

let shared: DecodeSlots | undefined;

/**
 * Returns the decode slots of this page or worker. Every page and every worker has its own slots. The number
 * of slots is the number of cores plus two: while the cores decode, one more file is read and one more image
 * goes to the GPU.
 */
export function decodeSlots(): DecodeSlots {
  const cores = globalThis.navigator?.hardwareConcurrency ?? 2;
  return (shared ??= new DecodeSlots(Math.min(MOST_AT_ONCE, Math.max(2, cores) + 2), MOST_BYTES));
}
