/**
 * Reads the body of an answer into one reused buffer, if the stream supports that. So a download makes no
 * garbage that waits for V8's collector.
 */

const BUFFER_BYTES = 2 ** 18;

export class BodyReader {
  readonly #byob: ReadableStreamBYOBReader | undefined;
  readonly #plain: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #spare: ArrayBuffer[];
  /** Undefined while the stream owns the buffer, and after the stream has failed. */
  #buffer: ArrayBuffer | undefined;

  /** @param spare buffers that earlier answers have returned, and that later answers reuse */
  constructor(stream: ReadableStream<Uint8Array>, spare: ArrayBuffer[]) {
    this.#spare = spare;
    try {
      this.#byob = stream.getReader({ mode: 'byob' });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.#plain = stream.getReader(); // older browsers and a caller's own fetch may give a stream without byte support
    }
  }

  /** The next bytes, which are valid until the next call; undefined at the end. */
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

  /** Cancels the stream. The bytes that were read last may be overwritten afterwards. */
  async cancel(reason: unknown): Promise<void> {
    this.#giveBack();
    await (this.#byob ?? this.#plain!).cancel(reason);
  }

  #giveBack(): void {
    if (this.#buffer) this.#spare.push(this.#buffer);
    this.#buffer = undefined;
  }
}
