/** Turns any reader into a stream of bounded chunks, with aborts and a check of the byte count. */
import { SourceError } from '../errors.js';

/** The length of the longest chunk: 4 MiB. */
export const MAX_CHUNK_BYTES: number = 4 * 2 ** 20;

/** A stream of bytes. */
export interface ByteStream {
  /** Name for error messages: the URL without its query, the file name, or the kind of source. */
  readonly name: string;
  /** The number of bytes in the stream; undefined if the source does not state the number reliably. */
  readonly totalBytes: number | undefined;
  /**
   * The bytes in order, in chunks of 1 to MAX_CHUNK_BYTES. They can be iterated once. Leaving the loop early
   * releases the source.
   *
   * A chunk may be a view of the caller's own bytes: do not write to it. A chunk is valid until the next
   * chunk is requested, because its memory is reused: copy bytes that are needed longer.
   *
   * Rejects with SourceError: SOURCE_FETCH, SOURCE_READ, SOURCE_TRUNCATED, SOURCE_TOO_LONG; after an abort
   * with `signal.reason`; after `cancel` with its reason, or with an AbortError if no reason was given.
   */
  readonly chunks: AsyncIterable<Uint8Array>;
  /**
   * Identifies the version of the file on its server (`validatorOf`); undefined if the server sends neither
   * a usable ETag nor a usable Last-Modified.
   */
  readonly validator: string | undefined;
  /**
   * Releases the source. A pending read rejects with `reason`. A call after the end, or a second call, has
   * no effect.
   */
  cancel(reason?: unknown): Promise<void>;
}

/** Reads one kind of source. A reader throws SourceErrors, and its chunks may have any length. */
export interface Reader {
  /** Reads the next bytes. Returns undefined at the end. Bytes from an earlier call may be overwritten. */
  read(): Promise<Uint8Array | undefined>;
  /** Releases the source without waiting for a pending `read`. */
  cancel(reason: unknown): Promise<void>;
}

/** A ByteStream that takes its bytes from a Reader. */
export class Chunks implements ByteStream {
  readonly name: string;
  readonly totalBytes: number | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly #reader: Reader;
  readonly #signal: AbortSignal | undefined;
  readonly #validator: () => string | undefined;
  readonly #onAbort = (): void => void this.cancel(this.#signal?.reason);
  /** Set as soon as the stream is read to its end, cancelled or aborted. */
  #stopped: { readonly reason: unknown } | undefined;
  #rejectRead: ((reason: unknown) => void) | undefined;

  constructor(
    name: string,
    totalBytes: number | undefined,
    reader: Reader,
    signal: AbortSignal | undefined,
    validator: () => string | undefined = () => undefined,
  ) {
    this.name = name;
    this.totalBytes = totalBytes;
    this.#reader = reader;
    this.#signal = signal;
    this.#validator = validator;
    this.chunks = once(() => this.#iterate(), name);
    // The listener stays until the stream has ended, so that an abort also releases a source that is not
    // being read.
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) {
      this.#onAbort();
    }
  }

  get validator(): string | undefined {
    return this.#validator();
  }

  async cancel(reason?: unknown): Promise<void> {
    if (this.#stopped !== undefined) {
      return;
    }
    this.#stop(reason ?? new DOMException(`${this.name}: reading was cancelled.`, 'AbortError'));
    await this.#reader.cancel(reason).catch(() => undefined); // the source is released even if cancelling reports an error
  }

  #stop(reason: unknown): void {
    this.#stopped = { reason };
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#rejectRead?.(reason);
  }

  async *#iterate(): AsyncGenerator<Uint8Array, void, void> {
    let received = 0;
    try {
      for (;;) {
        const bytes = await this.#read();
        if (bytes === undefined) {
          break;
        }
        received += bytes.length;
        if (this.totalBytes !== undefined && received > this.totalBytes) {
          throw new SourceError(
            'SOURCE_TOO_LONG',
            `${this.name}: expected ${this.totalBytes} bytes, found more. The file changed, or the server announces a wrong length.`,
          );
        }
        for (let at = 0; at < bytes.length; at += MAX_CHUNK_BYTES) {
          yield bytes.subarray(at, at + MAX_CHUNK_BYTES);
          if (this.#stopped !== undefined) {
            throw this.#stopped.reason;
          }
        }
      }
      if (this.totalBytes !== undefined && received < this.totalBytes) {
        throw truncated(this.name, this.totalBytes, received);
      }
      if (this.#stopped === undefined) {
        this.#stop(undefined); // everything is read: nothing is left to cancel
      }
    } finally {
      void this.cancel(); // after an error or an early exit of the loop; not awaited, so that the error is not delayed
    }
  }

  /**
   * Reads the next bytes, and rejects as soon as the stream is stopped. The promise is built by hand, because
   * Promise.race with one long-lived promise would keep every chunk alive.
   */
  async #read(): Promise<Uint8Array | undefined> {
    if (this.#stopped !== undefined) {
      throw this.#stopped.reason;
    }
    try {
      return await new Promise((resolve, reject) => {
        this.#rejectRead = reject;
        this.#reader.read().then(resolve, reject);
      });
    } catch (error) {
      // A cancelled stream may fail before the reason of the abort reaches it.
      if (this.#signal?.aborted === true) {
        throw this.#signal.reason;
      }
      throw error;
    } finally {
      this.#rejectRead = undefined;
    }
  }
}

/**
 * Returns an iterable that can be iterated once; a second iteration throws. Without this check, a second loop
 * would end at once, without an error.
 */
export function once<T>(iterate: () => AsyncIterator<T>, name: string): AsyncIterable<T> {
  let used = false;
  return {
    [Symbol.asyncIterator]() {
      if (used) {
        throw new SourceError(
          'SOURCE_READ',
          `${name}: the source was read before, and can be read only once. Open the source again.`,
        );
      }
      used = true;
      return iterate();
    },
  };
}

/** Copies `parts` one after the other into one array of `length` bytes. */
export function concat(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Cancels a source that is not needed any more, and ignores the result. */
export function release(source: { cancel(reason: unknown): Promise<void> } | null, reason: unknown): void {
  source?.cancel(reason).catch(() => undefined);
}

export function truncated(name: string, expected: number, found: number, cause?: unknown): SourceError {
  return new SourceError(
    'SOURCE_TRUNCATED',
    `${name}: expected ${expected} bytes, found ${found}: the source ended early. Try again.`,
    cause === undefined ? {} : { cause },
  );
}

export function causeText(cause: unknown): string {
  return cause instanceof Error ? `${cause.name}: ${cause.message.replace(/\.$/, '')}` : String(cause);
}
