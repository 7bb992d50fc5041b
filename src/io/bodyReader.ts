/**
 * The body of an answer, read into one buffer again and again where the stream can do that: what comes is no
 * garbage that waits for V8 to collect it.
 */

const BUFFER_BYTES = 2 ** 18;

export class BodyReader {
  readonly #byob: ReadableStreamBYOBReader | undefined;
  readonly #plain: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #spare: ArrayBuffer[];
  /** Undefined while the stream has it, and after the stream has failed. */
  #buffer: ArrayBuffer | undefined;

  /** @param spare buffers that answers before this one had, and that those after it shall have */
  constructor(stream: ReadableStream<Uint8Array>, spare: ArrayBuffer[]) {
    this.#spare = spare;
    try {
      this.#byob = stream.getReader({ mode: 'byob' });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.#plain = stream.getReader(); // not every stream is one of bytes: that of an older browser, of a fetch of the caller's
    }
  }

  /** The next bytes, until the next call; undefined at the end. */
  async read(): Promise<Uint8Array | undefined> {
    if (!this.#byob) {
      for (;;) {
        const { done, value } = await this.#plain!.read();
        if (done) return undefined;
        if (value.length > 0) return value;
      }
    }
    const buffer = this.#buffer ?? this.#spare.pop() ?? new ArrayBuffer(BUFFER_BYTES);
    this.#buffer = undefined;
    const { done, value } = await this.#byob.read(new Uint8Array(buffer));
    if (value) this.#buffer = value.buffer as ArrayBuffer; // the same memory
    if (done) this.#giveBack();
    return done ? undefined : value;
  }

  /** What was read last may be overwritten then. */
  async cancel(reason: unknown): Promise<void> {
    this.#giveBack();
    await (this.#byob ?? this.#plain!).cancel(reason);
  }

  #giveBack(): void {
    if (this.#buffer) this.#spare.push(this.#buffer);
    this.#buffer = undefined;
  }
}
