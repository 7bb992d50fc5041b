/**
 * Downloads a URL. The first request shows whether the server supports ranges. If so, the rest of the file
 * is downloaded in parts, several in parallel, and delivered in order. A part that breaks off is resumed.
 */
import { SourceError } from '../errors.js';
import { beginsWithTag, isHtml, peek } from './answer.js';
import { Chunks, release, type ByteStream, type Reader } from './chunks.js';
import { Part, startOver, type RemoteFile } from './part.js';
import { host } from '../platform/host.js';
import { retryPolicy } from './retry.js';
import type { SourceOptions } from './sourceTypes.js';
import { nameOf } from './url.js';

/** Number of parallel requests. With parts of the largest size, at most 9 MiB wait to be delivered. */
const PARTS_AT_ONCE = 3;
const SMALLEST_PART_BYTES = 2 ** 19;
const LARGEST_PART_BYTES = 3 * 2 ** 20;
/**
 * The size of parts is multiplied by 4 if a part takes less than QUICK_MS, and halved if it takes more than
 * SLOW_MS. So an interruption loses at most about half a second of download.
 */
const QUICK_MS = 100;
const SLOW_MS = 500;

/**
 * Largest number of bytes that one read delivers from a part that has already arrived. Between two reads,
 * progress is reported, and the load can be stopped.
 */
const HANDED_ON_BYTES = 2 ** 18;

/**
 * Starts to download a URL. The promise resolves when the first answer has been checked.
 * @throws SourceError SOURCE_FETCH, SOURCE_IS_HTML, SOURCE_CHANGED; `signal.reason` after an abort
 */
export async function openUrl(url: URL, options: SourceOptions): Promise<ByteStream> {
  const { signal, fetch = host.fetch ?? globalThis.fetch, from = 0, to, whole } = options;
  const { location } = globalThis;
  const { retry, pinned = false, known, reload } = options;
  const name = nameOf(url);
  const ending = new AbortController();
  const file: RemoteFile = {
    url,
    name,
    fetch,
    retry: retryPolicy(retry),
    signal: signal ? AbortSignal.any([signal, ending.signal]) : ending.signal,
    crossOrigin: location !== undefined && url.origin !== location.origin,
    pinned,
    cache: reload ? 'no-store' : whole ? 'no-cache' : 'default',
    spare: [],
    ranges: !whole && url.protocol !== 'blob:',
    answered: false,
    totalBytes: known?.fileBytes,
    validator: known?.validator,
    encoded: false,
  };
  if (known && known.validator === undefined && !pinned) {
    throw startOver(
      new SourceError(
        'SOURCE_CHANGED',
        `${name}: the download was interrupted and cannot be resumed, because the server sends neither ETag nor Last-Modified. Load it again.`,
      ),
    );
  }
  const reader = new Download(file, from, to, ending);
  const [peeked, start] = await peek(reader, signal);
  if (from === 0 && beginsWithTag(start)) {
    const error = isHtml(
      name,
      `a page (it begins with ${JSON.stringify(String.fromCharCode(...start).trim())})`,
    );
    release(reader, error);
    throw error;
  }
  return new Chunks(
    name,
    file.totalBytes === undefined ? undefined : (to ?? file.totalBytes) - from,
    peeked,
    signal,
    () => file.validator,
  );
}

class Download implements Reader {
  readonly #file: RemoteFile;
  readonly #ending: AbortController;
  /** Requested parts, in the order of the file. The first part is being read. */
  readonly #parts: (Part | Prefetched)[] = [];
  /** Buffers of parts that have been delivered, for reuse. */
  readonly #spare: ArrayBuffer[] = [];
  /** Position in the file at which the download ends; undefined for the end of the file. */
  readonly #to: number | undefined;
  #next: number;
  #partBytes = SMALLEST_PART_BYTES;
  #ended = false;

  constructor(file: RemoteFile, from: number, to: number | undefined, ending: AbortController) {
    this.#file = file;
    this.#ending = ending;
    this.#to = to;
    this.#next = Math.min(from + SMALLEST_PART_BYTES, to ?? Infinity);
    this.#parts.push(new Part(file, from, file.ranges ? this.#next : undefined));
  }

  async read(): Promise<Uint8Array | undefined> {
    while (!this.#ended) {
      this.#askAhead();
      const part = this.#parts[0] ?? this.#ask(this.#to);
      const bytes = await part.read();
      if (bytes !== undefined) return bytes;
      const { begin, at, end } = part;
      this.#parts.shift();
      this.#ended = end === undefined || at === (this.#to ?? this.#file.totalBytes) || at === begin;
      if (part instanceof Prefetched) {
        this.#adapt(part.ms);
        this.#spare.push(part.buffer);
      }
    }
    return undefined;
  }

  async cancel(reason: unknown): Promise<void> {
    this.#ended = true;
    for (const part of this.#parts) part.cancel(reason);
    this.#ending.abort(reason ?? new DOMException('Reading was cancelled.', 'AbortError'));
  }

  /**
   * Requests the part that begins where the last requested part ends, up to `end`. If `end` is undefined, the
   * part reaches to the end of the file.
   */
  #ask(end: number | undefined): Part {
    const part = new Part(this.#file, this.#next, end);
    this.#parts.push(part);
    return part;
  }

  #askAhead(): void {
    const { ranges, totalBytes, answered } = this.#file;
    if (!ranges || totalBytes === undefined || !answered) return; // the first answer shows whether the server supports ranges
    const last = this.#to ?? totalBytes;
    while (this.#parts.length < PARTS_AT_ONCE && this.#next < last) {
      const end = Math.min(this.#next + this.#partBytes, last);
      const spare = this.#spare.pop();
      const buffer =
        spare && spare.byteLength >= end - this.#next ? spare : new ArrayBuffer(end - this.#next);
      this.#parts.push(new Prefetched(new Part(this.#file, this.#next, end), buffer));
      this.#next = end;
    }
  }

  #adapt(ms: number): void {
    if (ms < QUICK_MS) this.#partBytes = Math.min(4 * this.#partBytes, LARGEST_PART_BYTES);
    else if (ms > SLOW_MS) this.#partBytes = Math.max(this.#partBytes / 2, SMALLEST_PART_BYTES);
  }
}

/**
 * A part that is downloaded before its bytes are requested. The part's length bounds the memory that it
 * takes.
 */
class Prefetched {
  /** How long the part took to arrive, in ms. */
  ms = 0;
  /** Memory for the part, reused after the part has been delivered. */
  readonly buffer: ArrayBuffer;
  readonly #part: Part;
  readonly #waiting: Uint8Array;
  #filled = 0;
  #handedOn = 0;
  #done: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(part: Part, buffer: ArrayBuffer) {
    this.#part = part;
    this.buffer = buffer;
    this.#waiting = new Uint8Array(buffer);
    void this.#fill();
  }

  get begin(): number {
    return this.#part.begin;
  }

  get at(): number {
    return this.#part.at;
  }

  get end(): number | undefined {
    return this.#part.end;
  }

  /** Reads the next bytes of the part, at most HANDED_ON_BYTES. */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#handedOn < this.#filled)
        return this.#waiting.subarray(
          this.#handedOn,
          (this.#handedOn = Math.min(this.#handedOn + HANDED_ON_BYTES, this.#filled)),
        );
      if (this.#done) {
        if ('error' in this.#done) throw this.#done.error;
        return undefined;
      }
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  cancel(reason: unknown): void {
    this.#part.cancel(reason);
    this.#handedOn = this.#filled;
  }

  async #fill(): Promise<void> {
    const begin = performance.now();
    try {
      for (let bytes; (bytes = await this.#part.read());) {
        this.#waiting.set(bytes, this.#filled);
        this.#filled += bytes.length;
        this.#wake?.();
      }
      this.#done = {};
    } catch (error) {
      this.#done = { error };
    }
    this.ms = performance.now() - begin;
    this.#wake?.();
  }
}
