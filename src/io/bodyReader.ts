/**
 * Reads the body of an HTTP answer into one reused buffer, if the stream supports reading into a caller's
 * buffer. So a download leaves no garbage for V8 to collect.
 */

const BUFFER_BYTES = 2 ** 18;

export class BodyReader {
  readonly #byob: ReadableStreamBYOBReader | undefined;
  readonly #plain: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #spare: ArrayBuffer[];
  /** The reused buffer. Undefined while the stream owns the buffer, and after the stream has failed. */
  #buffer: ArrayBuffer | undefined;

  /**
   * Creates a reader of the body `stream`.
   * @param spare buffers that finished answers have returned, for reuse by later answers
   */
  constructor(stream: ReadableStream<Uint8Array>, spare: ArrayBuffer[]) {
    this.#spare = spare;
    try {
      this.#byob = stream.getReader({ mode: 'byob' });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.#plain = stream.getReader(); // streams from older browsers or from a caller's own fetch may have no byte support
    }
  }

  /**
   * Reads the next bytes. Returns undefined at the end of the body. The bytes are valid until the next call.
   */
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
    if (value) this.#buffer = value.buffer as ArrayBuffer; // the same memory, in a new ArrayBuffer object
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
