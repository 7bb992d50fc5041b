/**
 * What a load in the worker needs of the page: streams that cannot be cloned, and a `fetch` of the caller's.
 */
import type { ByteSource } from '../io/sources.js';
import { DeviceError } from '../errors.js';
import { expectOptions } from '../optionObject.js';
import { compact, copied } from './images.js';
import type { Handed, PageServices, SentBytes, SentFetch, SentResponse } from './protocol.js';

const nothing: Handed<undefined> = { value: undefined, transfer: [] };

/** Streams of one call, which the worker reads by number: bodies of answers, and sources that are streams. */
export class PageStreams {
  readonly #readers = new Map<string, ReadableStreamDefaultReader<Uint8Array>>();
  /** Sources that nobody has begun to read: what a load does not come to stays the caller's, as it was. */
  readonly #untouched = new Map<string, ReadableStream<Uint8Array>>();
  readonly #fetches = new Map<number, AbortController>();
  #sources = 0;

  source(source: ByteSource): SentBytes {
    if (source instanceof URL || typeof source === 'string') return { bytes: String(source) };
    if (typeof ReadableStream === 'function' && source instanceof ReadableStream && !source.locked) {
      const stream = this.#sources++;
      this.#untouched.set(keyOf({ stream }), source);
      return { stream };
    }
    return {
      bytes:
        source instanceof Uint8Array ? compact(source) : (source as Exclude<typeof source, ReadableStream>),
    };
  }

  /** @param fetch of the caller's; without one the worker's own is used, and nothing of this */
  services(fetch: typeof globalThis.fetch | undefined): PageServices {
    return {
      ...(fetch ? { fetch: (request) => this.#fetch(fetch, request) } : {}),
      read: async (which) => {
        const { value } = (await this.#readerOf(keyOf(which))?.read()) ?? {};
        if (!value) return nothing;
        const piece = copied(value); // what is sent is gone here, and may be the caller's
        return { value: piece, transfer: [piece.buffer] };
      },
      stop: async (which) => {
        if ('fetch' in which) this.#fetches.get(which.fetch)?.abort();
        await (async () => this.#readerOf(keyOf(which))?.cancel())().catch(() => undefined); // nobody reads it any more, or somebody else does
        return nothing;
      },
    };
  }

  /**
   * After a call that has failed, and be it that the worker has ended: what it had begun to read is let go,
   * and answers that are awaited too.
   */
  end(reason: unknown): void {
    for (const abort of this.#fetches.values()) abort.abort(reason);
    for (const reader of this.#readers.values()) void reader.cancel(reason).catch(() => undefined);
  }

  /** @throws TypeError if somebody else reads the stream by now */
  #readerOf(key: string): ReadableStreamDefaultReader<Uint8Array> | undefined {
    const untouched = this.#untouched.get(key);
    if (untouched) {
      this.#readers.set(key, untouched.getReader());
      this.#untouched.delete(key);
    }
    return this.#readers.get(key);
  }

  async #fetch(
    fetch: typeof globalThis.fetch,
    { url, headers, cache, fetch: number }: SentFetch,
  ): Promise<Handed<SentResponse>> {
    const abort = new AbortController();
    this.#fetches.set(number, abort);
    const response = await fetch(url, {
      headers: headers.map(([name, value]): [string, string] => [name, value]),
      signal: abort.signal,
      ...(cache ? { cache } : {}),
    });
    const { status, statusText, url: found, type, body } = response;
    if (abort.signal.aborted)
      void body?.cancel().catch(() => undefined); // it came too late: nobody will read it
    else if (body) this.#readers.set(`fetch ${number}`, body.getReader());
    return {
      value: { status, statusText, headers: [...response.headers], url: found, type, body: body !== null },
      transfer: [],
    };
  }
}

const keyOf = (which: { readonly fetch: number } | { readonly stream: number }): string =>
  'fetch' in which ? `fetch ${which.fetch}` : `source ${which.stream}`;

/** Options that stay in the page, whichever call they are for: what they hold cannot be sent. */
const STAYS = [
  'signal',
  'onProgress',
  'device',
  'fetch',
  'store',
  'filter',
  'metadata',
  'workerUrl',
  'worker',
] as const;

/**
 * The options of a call as they are sent, and its signal. The worker checks their names.
 * @throws OptionError OPTION_VALUE
 */
export function toSend<Options extends object>(
  where: string,
  options: Options,
): { options: Omit<Options, (typeof STAYS)[number]>; signal: AbortSignal | undefined } {
  expectOptions(where, options);
  const rest = Object.entries(options).filter(([name]) => !(STAYS as readonly string[]).includes(name));
  return {
    options: Object.fromEntries(rest) as Omit<Options, (typeof STAYS)[number]>,
    signal: (options as { signal?: AbortSignal }).signal,
  };
}

/** @throws DeviceError WORKER_OPTION */
export function refuseDevice(options: { readonly device?: unknown }): void {
  if (options.device === undefined) return;
  throw new DeviceError(
    'WORKER_OPTION',
    'device: expected none, found a GPUDevice, which cannot be sent to a worker. Leave it out: the worker makes its own; or use the entry dinov2-webgpu.',
  );
}
