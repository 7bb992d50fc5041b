/** Requests a range of a file on a server, with retries that resume where an answer broke off. */
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
  /** Ends every request and every wait. */
  readonly signal: AbortSignal;
  /** Whether the file is on another origin, where a custom header would cause a CORS preflight. */
  readonly crossOrigin: boolean;
  /**
   * Whether the bytes are checked against a hash at the end. If so, parts may be joined even if the server
   * sends no validator.
   */
  readonly pinned: boolean;
  /**
   * The browser's HTTP cache may hold a part of an older version; `reload` bypasses it. Small files are
   * always revalidated (`no-cache`), which costs a 304 answer: they have no other parts whose validators
   * would differ.
   */
  readonly cache: RequestCache;
  /** Reusable buffers for answers. */
  readonly spare: ArrayBuffer[];
  /** Whether to request ranges; false once the server has ignored one. */
  ranges: boolean;
  /**
   * Set once the server has answered. Before that, a failed fetch is more likely a missing CORS permission
   * than a bad connection.
   */
  answered: boolean;
  totalBytes: number | undefined;
  validator: string | undefined;
  /** Whether the whole file came with a Content-Encoding, which fetch has decoded. */
  encoded: boolean;
}

const restartable = new WeakSet<object>();

/**
 * Whether a load that failed with this error may succeed from its start: the file changed, or broke off and
 * cannot be resumed.
 */
export const mayStartOver = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && restartable.has(error);

/** Marks an error for `mayStartOver`. */
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
  /** Position of its first byte in the file. */
  readonly begin: number;
  /** Position behind the last byte that the answer announced; undefined if it announced none. */
  readonly end: number | undefined;
  /** Whether the answer is a part of the file, which must not be longer than announced. */
  readonly part: boolean;
  /** Bytes at the front that were received before. */
  skip: number;
  readonly abort: AbortController;
}

/**
 * Attempts before any server has answered. Waiting longer does not repair a wrong address or a missing
 * permission.
 */
const FIRST_ATTEMPTS = 2;
/** After this much progress, the count of failures starts again. */
const PROGRESS_BYTES = 2 ** 18;

/** Bytes [begin, end) of a file, or from `begin` to its end. */
export class Part {
  readonly begin: number;
  /** Undefined: to the end of the file. */
  end: number | undefined;
  /** The next byte. */
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
   * The next bytes, valid until the next call; undefined at the end. @throws SourceError; the reason of the
   * file's signal
   */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (
        this.at >= (this.end ?? Infinity) ||
        (this.at >= (this.#file.totalBytes ?? Infinity) && !this.#body)
      ) {
        this.cancel(undefined);
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
          continue; // a server may send less than was requested
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

  /** Closes the connection. */
  cancel(reason: unknown): void {
    const body = this.#body;
    this.#body = undefined;
    if (!body) return;
    body.reader?.cancel(reason).catch(() => undefined);
    body.abort.abort(reason);
  }

  /** Waits before the next attempt, or throws. */
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
    if (this.at > 0 && file.validator === undefined && !file.pinned) throw startOver(error.error); // without a validator the rest may belong to another version
    await wait(backOffMs(file.retry, this.#failures, error.waitMs), file.signal);
  }

  async #next({ reader, end, skip, ...body }: Body): Promise<Uint8Array | undefined> {
    if (!reader) return undefined;
    for (let left = skip; ;) {
      const value = await this.#patiently(
        () => reader.read(),
        (cause) => {
          // Browsers and Node report a body that ends before its Content-Length as a network error. This
          // message is more precise.
          const { name } = this.#file;
          if (end !== undefined && this.at < end) return truncated(name, end, this.at, cause);
          return new SourceError(
            'SOURCE_FETCH',
            `${name}: expected more after ${this.at} bytes, found ${causeText(cause)}. Check the network and try again.`,
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

  /** Awaits a network operation, at most `retry.stallMs`. */
  async #patiently<T>(
    run: () => Promise<T>,
    failed: (cause: unknown) => SourceError,
    abort: AbortController,
  ): Promise<T> {
    const { signal, retry } = this.#file;
    const stalled = new AbortController();
    const timer = setTimeout(
      () => stalled.abort(new Error(`nothing for ${retry.stallMs / 1000} s`)),
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
    const { name, url, crossOrigin, validator, fetch } = file; // called without an object: the browser's fetch rejects another `this`
    const partly = this.at > 0 || (file.ranges && this.end !== undefined);
    const headers: Record<string, string> = {};
    if (partly) headers['range'] = `bytes=${this.at}-${this.end === undefined ? '' : this.end - 1}`;
    // Across origins If-Range would need a CORS permission that few servers give. There the answers'
    // validators are compared instead.
    const conditional = partly && validator !== undefined && !crossOrigin;
    if (conditional) headers['if-range'] = conditionOf(validator);
    const abort = new AbortController();
    const signal = AbortSignal.any([file.signal, abort.signal]);
    const ask = async (): Promise<Response> => {
      const response = await fetch(url.href, { headers, signal, cache: file.cache });
      if (signal.aborted) release(response.body, signal.reason); // the answer came too late: nothing will read it
      return response;
    };
    let response: Response;
    try {
      response = await this.#patiently(
        ask,
        (cause) =>
          new SourceError(
            'SOURCE_FETCH',
            `${name}: expected an answer, found ${causeText(cause)}. Check the network; if the address opens in a tab of its own, its server does ` +
              'not allow other pages to read it (CORS).',
            { cause },
          ),
        abort,
      );
    } catch (error) {
      if (!(partly && crossOrigin && this.at === 0 && error instanceof Passing && !file.answered))
        throw error;
      file.ranges = false; // perhaps only the Range header is forbidden
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
    // A server on another origin may hide Content-Range; if it is visible, it must be right.
    const isPart = partly && status === 206 && (range !== undefined || response.type === 'cors');
    if (partly && status === 416 && file.totalBytes === undefined && this.at > 0) {
      file.totalBytes = this.at;
      return { reader: undefined, begin: this.at, end: this.at, part: true, skip: 0, abort };
    }
    if (partly && status === 416 && this.at === 0) return this.#openWhole(response); // an empty file has no first byte
    if (!response.ok || (status === 206 && !isPart)) {
      if (this.at > 0 && status === 416)
        throw startOver(this.#changed('status 416: these bytes do not exist any more'));
      throw new SourceError('SOURCE_FETCH', statusMessage(name, response), { status });
    }
    checkKind(name, file.url, response);
    const found = validatorOf(headers);
    const fresh = this.at === 0 && file.validator === undefined;
    const encoded = isCompressed(headers);
    // Without a validator, the next part may be of another version. A part of an encoded file is no part of
    // the file.
    if (isPart && fresh && ((found === undefined && !file.pinned) || encoded))
      return this.#openWhole(response);
    // A range of an encoded answer may count encoded bytes, and fetch passes on an encoding that it does not
    // know.
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
      // The whole file came: it has changed, or the server does not support ranges. In the second case the
      // known bytes are skipped.
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

  /** Requests the whole file in one answer instead. */
  #openWhole({ body }: Response): Promise<Body> {
    release(body, undefined);
    this.#file.ranges = false;
    this.end = undefined;
    return this.#open();
  }

  #offRange(found: string): SourceError {
    return new SourceError(
      'SOURCE_FETCH',
      `${this.#file.name}: expected bytes from ${this.at} on, found ${found}. The server answered a Range request with other bytes. Use a server that supports range requests.`,
    );
  }

  #changed(found: string): SourceError {
    return new SourceError(
      'SOURCE_CHANGED',
      `${this.#file.name}: expected the version ${this.#file.validator ?? 'of the first part'}, found ${found}: the file changed while it was read. Load it again.`,
    );
  }
}
