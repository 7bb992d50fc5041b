/**
 * Provides the worker's side of a call: the received arguments, and the functions of the page that the call
 * may run.
 */
import { DeviceError, PatchSegmenter, PCA, type ImageSource } from '../index.js';
import { untilAborted } from '../platform/abort.js';
import { arrive, close } from './arrivals.js';
import { classes, objectOf } from './objects.js';
import { canvasOf } from './canvases.js';
import {
  convert,
  KIND,
  type FromWorker,
  type SentIterator,
  type SentResponse,
  type SentValue,
} from './protocol.js';

const scope = globalThis as { postMessage(message: FromWorker, transfer: Transferable[]): void };
/** The worker's `postMessage`. TypeScript assumes the `postMessage` of a page, which has a different type. */
export const post = (message: FromWorker, transfer: Iterable<Transferable> = []): void =>
  scope.postMessage(message, [...transfer]);

interface Ask {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** Functions of the page for whose result the worker waits, by the number of the request. */
export const asks: Map<number, Ask> = new Map();
let lastAsk = 0;

export class RunningCall {
  readonly id: number;
  readonly #abort = new AbortController();
  #ended = false;
  /** Bitmaps and frames that were made for the call. */
  readonly #images = new Set<unknown>();

  constructor(id: number) {
    this.id = id;
  }

  abort(reason: unknown): void {
    this.#abort.abort(reason);
  }

  /** Closes the images that were made for the call. Later calls of `ask` throw. */
  end(): void {
    this.#ended = true;
    this.#images.forEach(close);
  }

  /**
   * Runs a function of the page. Resolves to the function's result, in which stand-ins (see protocol.ts) are
   * not replaced yet.
   * @param signal if it is aborted, the page aborts the signal that the function received
   */
  ask(
    run: number,
    args: readonly unknown[],
    { transfer, signal }: { transfer?: Iterable<Transferable>; signal?: AbortSignal } = {},
  ): Promise<unknown> {
    // The page would not answer. A model that recovers from the loss of its device may use functions of its load.
    if (this.#ended)
      throw new DeviceError(
        'WORKER_OPTION',
        'A function or stream of the page was used after the call that it was passed to had ended. Load the model again, or from a URL without the option `fetch`.',
      );
    const id = ++lastAsk;
    const answer = new Promise<unknown>((resolve, reject) => asks.set(id, { resolve, reject }));
    post({ kind: 'ask', id, call: this.id, run, args }, transfer);
    signal?.addEventListener('abort', () => post({ kind: 'drop', id }), { once: true });
    return answer;
  }

  /** Runs a function of the page without waiting for its result. */
  #tell(run: number, args: readonly unknown[] = []): void {
    post({ kind: 'ask', id: 0, call: this.id, run, args });
  }

  /** Replaces the stand-ins (see protocol.ts) in a value that the page has sent. */
  receive(sent: unknown): unknown {
    return convert(sent, (each) => (KIND in each ? this.#value(each as SentValue) : each));
  }

  #value(sent: SentValue): unknown {
    switch (sent[KIND]) {
      case 'handle':
        return objectOf(sent.id, sent.of);
      case 'class':
        return classes[sent.name];
      case 'PCA':
        return PCA.fromJSON(sent.json);
      case 'PatchSegmenter':
        return PatchSegmenter.fromJSON(sent.json);
      case 'options':
        return { ...(this.receive(sent.options) as object), signal: this.#abort.signal };
      case 'function':
        return (...args: unknown[]) => (sent.oneWay ? this.#tell(sent.run, args) : this.ask(sent.run, args));
      case 'fetch':
        return this.#fetch(sent.run);
      case 'stream':
        return this.#stream(sent);
      case 'iterable':
        return this.#iterable(sent);
      case 'canvas':
        return canvasOf(sent.id, sent.canvas);
      case 'image': {
        const image = arrive(sent);
        this.#images.add(image);
        return image;
      }
    }
  }

  /**
   * Makes a stream whose pieces the page reads one by one. The stream fails when the signal is aborted.
   * @param own a signal for this stream only. When the whole call is aborted, the page cancels its streams
   *   itself
   */
  #stream({ next, stop }: SentIterator, own?: AbortSignal): ReadableStream<Uint8Array> {
    const signal = own ?? this.#abort.signal;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const fail = (): void => {
            if (own) this.#tell(stop);
            controller.error(signal.reason);
          };
          if (signal.aborted) fail();
          else signal.addEventListener('abort', fail, { once: true });
        },
        pull: async (controller) => {
          const piece = (await this.ask(next, [])) as Uint8Array<ArrayBuffer> | undefined;
          if (signal.aborted) return; // the stream has failed
          if (piece) controller.enqueue(piece);
          else controller.close();
        },
        cancel: () => this.#tell(stop),
      },
      { highWaterMark: 0 },
    );
  }

  /** Makes a function with the interface of `fetch` that runs the page's `fetch`. */
  #fetch(run: number): typeof fetch {
    return async (input, { headers, cache, signal } = {}) => {
      const own = signal ?? this.#abort.signal;
      const url = input instanceof Request ? input.url : String(input);
      const init = { headers: [...new Headers(headers)], ...(cache ? { cache } : {}) };
      return untilAborted(async () => {
        const sent = (await this.ask(run, [url, init], { signal: own })) as SentResponse;
        return toResponse(sent, sent.body && this.#stream(sent.body, own));
      }, own);
    };
  }

  #iterable({ next, stop }: SentIterator): AsyncIterable<ImageSource> {
    let present: unknown;
    let isLeft = false;
    const closePresent = (): void => {
      this.#images.delete(present);
      close(present);
      present = undefined;
    };
    const iterator: AsyncIterator<ImageSource, undefined> = {
      next: async () => {
        closePresent(); // the library requests an image after it has uploaded the previous one
        present = this.receive(await this.ask(next, []));
        if (present !== undefined && !isLeft) return { done: false, value: present as ImageSource };
        closePresent(); // an image may arrive after the loop has ended
        return { done: true, value: undefined };
      },
      return: async () => {
        isLeft = true;
        closePresent();
        this.#tell(stop);
        return { done: true, value: undefined };
      },
    };
    return { [Symbol.asyncIterator]: () => iterator };
  }
}

function toResponse(
  { status, statusText, headers, url, type }: SentResponse,
  body: ReadableStream<Uint8Array> | null,
): Response {
  if (status < 200 || status > 599)
    throw new TypeError(`The response of the page's fetch cannot be read (type ${type}, status ${status}).`);
  const pairs = headers.map(([name, value]): [string, string] => [name, value]);
  const response = new Response(body, { status, statusText, headers: pairs });
  // `new Response` sets neither `url` nor `type`.
  return Object.defineProperties(response, { url: { value: url }, type: { value: type } });
}
