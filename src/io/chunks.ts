/** One stream of chunks, from whatever can be read: short chunks, aborts, the count of bytes. */
import { SourceError } from '../errors.js';

/** No chunk is longer: 4 MiB. */
export const MAX_CHUNK_BYTES: number = 4 * 2 ** 20;

/** Bytes as they come. */
export interface ByteStream {
  /** For messages: the URL without its query, the name of the file, or what kind of thing it is. */
  readonly name: string;
  /** The number of bytes to come, where it is certain. */
  readonly totalBytes: number | undefined;
  /**
   * The bytes in order, in chunks of 1 to MAX_CHUNK_BYTES; can be gone through once. Leaving the loop early
   * lets the source go.
   *
   * A chunk may be a view of the caller's own bytes: read it, do not write to it. It is there until the next
   * is asked for, and what is kept of it is to be copied: then its memory may be used again.
   *
   * Rejects with SourceError: SOURCE_FETCH, SOURCE_READ, SOURCE_TRUNCATED, SOURCE_TOO_LONG; with
   * `signal.reason` after an abort, with the reason of `cancel`, or an AbortError where none was given, after
   * that.
   */
  readonly chunks: AsyncIterable<Uint8Array>;
  /** What names this version of a file on a server, where the server has such a thing. */
  readonly validator: string | undefined;
  /**
   * Lets the source go. A read that is under way rejects with `reason`. After the end, or a second time, it
   * does nothing.
   */
  cancel(reason?: unknown): Promise<void>;
}

/** What a kind of source has to do. Errors are SourceErrors already; chunks may have any length. */
export interface Reader {
  /** The next bytes, or undefined at the end. Those before may be overwritten. */
  read(): Promise<Uint8Array | undefined>;
  /** Lets go, without waiting for a `read` that is under way. */
  cancel(reason: unknown): Promise<void>;
}

/** A Reader with everything round it: short chunks, aborts, the count of bytes. */
export class Chunks implements ByteStream {
  readonly name: string;
  readonly totalBytes: number | undefined;
  readonly chunks: AsyncIterable<Uint8Array>;
  readonly #reader: Reader;
  readonly #signal: AbortSignal | undefined;
  readonly #validator: () => string | undefined;
  readonly #onAbort = (): void => void this.cancel(this.#signal?.reason);
  /** Set once nothing more is to be read. */
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
    // One listener for the whole time, and not only while something is read: a source that nobody reads at
    // the moment is let go too.
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
    await this.#reader.cancel(reason).catch(() => undefined); // it is gone, whatever it has to say about that
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
        this.#stop(undefined); // all is read: there is nothing to cancel any more
      }
    } finally {
      void this.cancel(); // after an error, or when the loop was left; the error does not wait for it
    }
  }

  /**
   * Reads, unless and until it is stopped. By hand: Promise.race on one lasting promise would keep every
   * chunk alive.
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
      // A stream that is let go may fail before it hears why.
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
 * An iterable that can be gone through once, and says so: a second loop over a used-up iterator would find
 * nothing, in silence.
 */
export function once<T>(iterate: () => AsyncIterator<T>, name: string): AsyncIterable<T> {
  let used = false;
  return {
    [Symbol.asyncIterator]() {
      if (used) {
        throw new SourceError(
          'SOURCE_READ',
          `${name}: expected to be read once, found a second reader. Open the source again.`,
        );
      }
      used = true;
      return iterate();
    },
  };
}

/** `parts` one after another; a copy. */
export function concat(parts: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * Lets something go that is not needed any more. What it answers does not matter, nor whether it ever does.
 */
export function release(source: { cancel(reason: unknown): Promise<void> } | null, reason: unknown): void {
  source?.cancel(reason).catch(() => undefined);
}

export function truncated(name: string, expected: number, found: number, cause?: unknown): SourceError {
  return new SourceError(
    'SOURCE_TRUNCATED',
    `${name}: expected ${expected} bytes, found ${found}: it ended early. Try again.`,
    cause === undefined ? {} : { cause },
  );
}

export function causeText(cause: unknown): string {
  return cause instanceof Error ? `${cause.name}: ${cause.message.replace(/\.$/, '')}` : String(cause);
}
