/**
 * Requests a range of a file on a server. A request that breaks off is retried from the first missing byte.
 */
import { SourceError } from '../errors.js';
import {
  announcedBytes,
  checkKind,
  conditionOf,
  contentRange,
  isCompressed,
  isPassing,
  statusMessage,
  validatorOf,
} from './answer.js';
import { BodyReader } from './bodyReader.js';
import { untilAborted } from '../platform/abort.js';
import { causeText, release, truncated } from './chunks.js';
import { backOffMs, MAX_WAIT_MS, retryAfterMs, type RetryPolicy } from './retry.js';
import { wait } from '../platform/pause.js';

/** State that all requests for one file share. */
export interface RemoteFile {
  readonly url: URL;
  readonly name: string;
  readonly fetch: typeof globalThis.fetch;
  readonly retry: RetryPolicy;
  /** A signal whose abort ends every request for the file and every wait before a retry. */
  readonly signal: AbortSignal;
  /** Whether the file is on a different origin, where a custom header would cause a CORS preflight. */
  readonly crossOrigin: boolean;
  /**
   * Whether the bytes are checked against a hash at the end. If so, parts may be joined even if the server
   * sends no validator (ETag or Last-Modified).
   */
  readonly pinned: boolean;
  /**
   * Cache mode of every fetch. `no-store` bypasses the browser's HTTP cache: it may hold a part of an older
   * version, and Chromium sends only one request at a time for a file that it may hold. Small files are read
   * in one answer, without validators of other parts to compare, so they are always revalidated (`no-cache`)
   * at the cost of a 304 answer.
   */
  readonly cache: RequestCache;
  /** Buffers for the bytes of answers, for reuse. */
  readonly spare: ArrayBuffer[];
  /** Whether to request ranges; false once the server has ignored a requested range. */
  ranges: boolean;
  /**
   * Whether the server has answered. Before the first answer, a failed fetch is more likely to mean a
   * missing CORS permission than a bad connection.
   */
  answered: boolean;
  totalBytes: number | undefined;
  validator: string | undefined;
  /** Whether the whole file came with a Content-Encoding, which fetch has decoded. */
  encoded: boolean;
}

const restartable = new WeakSet<object>();

/**
 * Returns whether a load that failed with this error may succeed if it starts again: the file changed, or the
 * download broke off and cannot be resumed.
 */
export const mayStartOver = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && restartable.has(error);

/** Marks an error, so that `mayStartOver` returns true for it. */
export function startOver(error: SourceError): SourceError {
  restartable.add(error);
  return error;
}

/** A failure that a retry may overcome. */
class Passing extends Error {
  readonly error: SourceError;
  readonly waitMs: number | undefined;
  constructor(error: SourceError, waitMs?: number) {
    super(error.message);
    this.error = error;
    this.waitMs = waitMs;
  }
}

interface Body {
  readonly reader: BodyReader | undefined;
  /** Position in the file of the body's first byte. */
  readonly begin: number;
  /** Position behind the last byte that the answer announced; undefined if it announced no length. */
  readonly end: number | undefined;
  /** Whether the answer is a range of the file. A range must not be longer than announced. */
  readonly part: boolean;
  /** Number of bytes to drop from the front, because they were received before. */
  skip: number;
  readonly abort: AbortController;
}

/**
 * Limit for attempts before any server has answered. More attempts would not help against a wrong address or
 * a missing permission.
 */
const FIRST_ATTEMPTS = 2;
/** After this many received bytes, the count of failures starts again from 0. */
const PROGRESS_BYTES = 2 ** 18;

/** The bytes [begin, end) of a file, or all bytes from `begin` on. */
export class Part {
  readonly begin: number;
  /** Position behind the last byte; undefined for the end of the file. */
  end: number | undefined;
  /** Position of the next byte to deliver. */
  at: number;
  readonly #file: RemoteFile;
  #body: Body | undefined;
  #failures = 0;
  #progress = 0;

  constructor(file: RemoteFile, begin: number, end: number | undefined) {
    this.#file = file;
    this.begin = this.at = begin;
    this.end = end;
  }

  /**
   * Reads the next bytes, which are valid until the next call. Returns undefined at the end of the part.
   * @throws SourceError; the reason of the file's `signal` after an abort
   */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (
        this.at >= (this.end ?? Infinity) ||
        (this.at >= (this.#file.totalBytes ?? Infinity) && !this.#body)
      ) {
        this.#finish();
        return undefined;
      }
      try {
        const body = (this.#body ??= await this.#open());
        const bytes = await this.#next(body);
        if (bytes === undefined) {
          this.#body = undefined;
          const wanted = body.end ?? this.#file.totalBytes;
          if (wanted !== undefined && this.at < wanted && this.at < (this.end ?? Infinity))
            throw new Passing(truncated(this.#file.name, wanted, this.at));
          if (this.end === undefined) return undefined;
          if (this.at === body.begin && this.at !== this.#file.totalBytes)
            throw new Passing(truncated(this.#file.name, this.end, this.at));
          continue; // a server may send a shorter range than was requested
        }
        if (body.part && this.at + bytes.length > (body.end ?? Infinity))
          throw new Passing(this.#offRange('more'));
        this.#progress += bytes.length;
        if (this.#progress >= PROGRESS_BYTES) this.#failures = 0;
        const most = (this.end ?? Infinity) - this.at;
        const taken = bytes.length > most ? bytes.subarray(0, most) : bytes;
        this.at += taken.length;
        return taken;
      } catch (error) {
        await this.#failed(error);
      }
    }
  }

  /**
   * Ends an answer. If all of its bytes were delivered, its end is read: after an abort, Chromium would drop what
   * its HTTP cache has of the file, and ask again for ranges that are under way.
   */
  #finish(): void {
    const body = this.#body;
    if (body?.end !== this.at) return this.cancel(undefined);
    this.#body = undefined;
    body.reader?.read().catch(() => undefined);
  }

  /** Closes the connection. */
  cancel(reason: unknown): void {
    const body = this.#body;
    this.#body = undefined;
    if (!body) return;
    body.reader?.cancel(reason).catch(() => undefined);
    body.abort.abort(reason);
  }

  /** Waits before the next attempt. Throws if the error is final, or if no attempt is left. */
  async #failed(error: unknown): Promise<void> {
    const file = this.#file;
    this.cancel(error);
    file.signal.throwIfAborted();
    if (!(error instanceof Passing)) throw error;
    this.#failures += 1;
    this.#progress = 0;
    const attempts = file.answered ? file.retry.attempts : Math.min(FIRST_ATTEMPTS, file.retry.attempts);
    if (this.#failures >= attempts || (error.waitMs ?? 0) > MAX_WAIT_MS) {
      const tries = this.#failures > 1 ? ` ${this.#failures} attempts failed.` : '';
      throw new SourceError(error.error.code, error.error.message + tries, {
        cause: error.error.cause,
        status: error.error.status,
      });
    }
    if (this.at > 0 && file.validator === undefined && !file.pinned) throw startOver(error.error); // without a validator the rest of the file may belong to a different version
    await wait(backOffMs(file.retry, this.#failures, error.waitMs), file.signal);
  }

  async #next({ reader, end, skip, ...body }: Body): Promise<Uint8Array | undefined> {
    if (!reader) return undefined;
    for (let left = skip; ;) {
      const value = await this.#patiently(
        () => reader.read(),
        (cause) => {
          // Browsers and Node report a body that ends before its Content-Length as a network error. The
          // message that the source was truncated is more precise.
          const { name } = this.#file;
          if (end !== undefined && this.at < end) return truncated(name, end, this.at, cause);
          return new SourceError(
            'SOURCE_FETCH',
            `${name}: the download broke off after ${this.at} bytes (${causeText(cause)}). Check the network and try again.`,
            { cause },
          );
        },
        body.abort,
      );
      if (!value) return undefined;
      if (left === 0) {
        if (value.length > 0) return value;
      } else if (value.length > left) {
        this.#body!.skip = 0;
        return value.subarray(left);
      } else {
        this.#body!.skip = left -= value.length;
      }
    }
  }

  /** Awaits a network operation for at most `retry.stallMs`. */
  async #patiently<T>(
    run: () => Promise<T>,
    failed: (cause: unknown) => SourceError,
    abort: AbortController,
  ): Promise<T> {
    const { signal, retry } = this.#file;
    const stalled = new AbortController();
    const timer = setTimeout(
      () => stalled.abort(new Error(`no data for ${retry.stallMs / 1000} s`)),
      retry.stallMs,
    );
    const stop = (): void => stalled.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return await untilAborted(run, stalled.signal);
    } catch (cause) {
      abort.abort(cause);
      signal.throwIfAborted();
      throw new Passing(failed(cause));
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  async #open(): Promise<Body> {
    const file = this.#file;
    const { name, url, crossOrigin, validator, fetch } = file; // `fetch` is called as a plain function, because the browser's fetch throws if `this` is an object other than the window
    const partly = this.at > 0 || (file.ranges && this.end !== undefined);
    const headers: Record<string, string> = {};
    if (partly) headers['range'] = `bytes=${this.at}-${this.end === undefined ? '' : this.end - 1}`;
    // On a different origin, an If-Range header would need a CORS permission that few servers give. For such
    // files the validators of the answers are compared instead.
    const conditional = partly && validator !== undefined && !crossOrigin;
    if (conditional) headers['if-range'] = conditionOf(validator);
    const abort = new AbortController();
    const signal = AbortSignal.any([file.signal, abort.signal]);
    const ask = async (): Promise<Response> => {
      const response = await fetch(url.href, { headers, signal, cache: file.cache });
      if (signal.aborted) release(response.body, signal.reason); // the answer came after the abort, so nobody reads it
      return response;
    };
    let response: Response;
    try {
      response = await this.#patiently(
        ask,
        (cause) =>
          new SourceError(
            'SOURCE_FETCH',
            `${name}: the request failed (${causeText(cause)}). Check the network. If the address opens in a tab of its own, its server does ` +
              'not allow other pages to read the file (CORS).',
            { cause },
          ),
        abort,
      );
    } catch (error) {
      if (!(partly && crossOrigin && this.at === 0 && error instanceof Passing && !file.answered))
        throw error;
      file.ranges = false; // perhaps the server forbids only the Range header
      return this.#open();
    }
    file.answered = true;
    try {
      return await this.#accept(response, partly, conditional, abort);
    } catch (error) {
      release(response.body, error);
      throw error;
    }
  }

  /** Checks an answer and returns its body. */
  #accept(
    response: Response,
    partly: boolean,
    conditional: boolean,
    abort: AbortController,
  ): Body | Promise<Body> {
    const file = this.#file;
    const { name } = file;
    const { status, headers } = response;
    if (isPassing(status))
      throw new Passing(
        new SourceError('SOURCE_FETCH', statusMessage(name, response), { status }),
        retryAfterMs(headers),
      );
    const range = status === 206 ? contentRange(headers) : undefined;
    const body = (end: number | undefined, skip = 0): Body => ({
      reader: response.body ? new BodyReader(response.body, file.spare) : undefined,
      begin: this.at,
      end,
      part: isPart,
      skip,
      abort,
    });
    // A server on a different origin may hide Content-Range. If the header is visible, it must match the
    // request.
    const isPart = partly && status === 206 && (range !== undefined || response.type === 'cors');
    if (partly && status === 416 && file.totalBytes === undefined && this.at > 0) {
      file.totalBytes = this.at;
      return { reader: undefined, begin: this.at, end: this.at, part: true, skip: 0, abort };
    }
    if (partly && status === 416 && this.at === 0) return this.#openWhole(response); // if the file is empty, even byte 0 does not exist
    if (!response.ok || (status === 206 && !isPart)) {
      if (this.at > 0 && status === 416)
        throw startOver(this.#changed('status 416 (the requested bytes do not exist any more)'));
      throw new SourceError('SOURCE_FETCH', statusMessage(name, response), { status });
    }
    checkKind(name, file.url, response);
    const found = validatorOf(headers);
    const fresh = this.at === 0 && file.validator === undefined;
    const encoded = isCompressed(headers);
    // If there is no validator, the next range may belong to a different version. A range of an encoded
    // answer is not a range of the decoded file.
    if (isPart && fresh && ((found === undefined && !file.pinned) || encoded))
      return this.#openWhole(response);
    // A range of an encoded answer may count encoded bytes. fetch delivers bytes undecoded if it does not
    // know their encoding.
    if (this.at === 0 && !isPart) file.encoded = encoded;
    else if (encoded && (isPart || !file.encoded)) throw startOver(this.#changed('a Content-Encoding'));
    if (isPart) {
      if (
        range !== undefined &&
        (range.begin !== this.at || range.end <= this.at || (this.end !== undefined && range.end > this.end))
      )
        throw new Passing(this.#offRange(`${range.begin} to ${range.end}`));
      if (
        !fresh &&
        file.validator !== undefined &&
        found !== file.validator &&
        !(conditional && found === undefined)
      )
        throw startOver(this.#changed(found ?? 'none'));
      if (range?.totalBytes !== undefined && range.totalBytes !== (file.totalBytes ??= range.totalBytes))
        throw startOver(this.#changed(`${range.totalBytes} bytes`));
      if (fresh) file.validator = found;
      return body(range?.end);
    }
    file.ranges = false;
    const totalBytes = announcedBytes(response);
    if (this.at > 0) {
      // The server sent the whole file: either the file has changed, or the server does not support ranges.
      // If the server does not support ranges, the bytes received before are skipped.
      if (found !== file.validator || (found === undefined && !file.pinned))
        throw startOver(this.#changed(found ?? 'none'));
      return body(totalBytes, this.at);
    }
    if (!fresh && file.validator !== undefined && found !== file.validator)
      throw startOver(this.#changed(found ?? 'none'));
    this.end = undefined;
    file.totalBytes ??= totalBytes;
    file.validator ??= found;
    return body(totalBytes);
  }

  /** Requests the whole file in one answer instead of a range. */
  #openWhole({ body }: Response): Promise<Body> {
    release(body, undefined);
    this.#file.ranges = false;
    this.end = undefined;
    return this.#open();
  }

  #offRange(found: string): SourceError {
    return new SourceError(
      'SOURCE_FETCH',
      `${this.#file.name}: expected bytes from ${this.at} on, found ${found}. The server answered a Range request with a different range. Use a server that supports range requests.`,
    );
  }

  #changed(found: string): SourceError {
    return new SourceError(
      'SOURCE_CHANGED',
      `${this.#file.name}: the file changed while it was read: expected the version ${this.#file.validator ?? 'of the first part'}, found ${found}. Load it again.`,
    );
  }
}
