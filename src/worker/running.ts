/** A call that the worker is working on: its arguments, and what it asks of the page. */
import { PCA, type ImageSource } from '../index.js';
import { untilAborted } from '../platform/abort.js';
import { arrive, leave } from './arrivals.js';
import { classes, objectOf } from './objects.js';
import {
  convert,
  KIND,
  type FromWorker,
  type SentResponse,
  type SentStream,
  type SentValue,
} from './protocol.js';

/** The worker's own `postMessage`, whose type is a page's here. */
const scope = globalThis as { postMessage(message: FromWorker, transfer: Transferable[]): void };
export const post = (message: FromWorker, transfer: Iterable<Transferable> = []): void =>
  scope.postMessage(message, [...transfer]);

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What the page was asked, by number. */
export const asked: Map<number, Asked> = new Map();
let lastAsk = 0;

export class RunningCall {
  readonly id: number;
  readonly #abort = new AbortController();
  /** Bitmaps and frames that were made for the call. */
  readonly #images = new Set<unknown>();

  constructor(id: number) {
    this.id = id;
  }

  /** Follows the caller's signal. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  abort(reason: unknown): void {
    this.#abort.abort(reason);
  }

  /** Closes the images. */
  end(): void {
    this.#images.forEach(leave);
  }

  /** Runs a function of the page. Gives its answer as it was sent. */
  ask(run: number, args: readonly unknown[], transfer?: Iterable<Transferable>): Promise<unknown> {
    return this.#ask(run, args, transfer).answer;
  }

  #ask(
    run: number,
    args: readonly unknown[],
    transfer?: Iterable<Transferable>,
  ): { readonly id: number; readonly answer: Promise<unknown> } {
    const id = ++lastAsk;
    const answer = new Promise<unknown>((resolve, reject) => asked.set(id, { resolve, reject }));
    post({ kind: 'ask', id, call: this.id, run, args }, transfer);
    return { id, answer };
  }

  /** Runs a function of the page, and does not wait. */
  tell(run: number, args: readonly unknown[]): void {
    post({ kind: 'ask', id: 0, call: this.id, run, args });
  }

  /** What was sent, with the values in it for which something else stood. */
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
      case 'options':
        return { ...(this.receive(sent.options) as object), signal: this.signal };
      case 'function': {
        const { run, told } = sent;
        return told
          ? (...args: unknown[]) => this.tell(run, args)
          : (...args: unknown[]) => this.ask(run, args);
      }
      case 'fetch':
        return this.#fetch(sent.run);
      case 'stream':
        return this.#stream(sent);
      case 'iterable':
        return this.#iterable(sent);
      case 'image': {
        const image = arrive(sent);
        this.#images.add(image);
        return image;
      }
    }
  }

  /**
   * A stream that the page reads, piece by piece, as this one is read. An abort fails it at once.
   * @param own a signal for the stream alone: at an abort of the call the page lets go by itself
   */
  #stream({ read, stop }: SentStream, own?: AbortSignal): ReadableStream<Uint8Array> {
    const signal = own ?? this.signal;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const fail = (): void => {
            if (own) this.tell(stop, []);
            controller.error(signal.reason);
          };
          if (signal.aborted) fail();
          else signal.addEventListener('abort', fail, { once: true });
        },
        pull: async (controller) => {
          const piece = (await this.ask(read, [])) as Uint8Array<ArrayBuffer> | undefined;
          if (signal.aborted) return; // it has failed
          if (piece) controller.enqueue(piece);
          else controller.close();
        },
        cancel: () => this.tell(stop, []),
      },
      { highWaterMark: 0 },
    );
  }

  /** A `fetch` that is the page's: for headers of authorisation, or a cache of its own. */
  #fetch(run: number): typeof fetch {
    return async (input, { headers, cache, signal: given } = {}) => {
      const signal = given ?? this.signal;
      signal.throwIfAborted();
      const url = input instanceof Request ? input.url : String(input);
      const init = { headers: [...new Headers(headers)], ...(cache ? { cache } : {}) };
      const { id, answer } = this.#ask(run, [url, init]);
      signal.addEventListener('abort', () => post({ kind: 'drop', id }), { once: true });
      const response = async (): Promise<Response> => {
        const sent = (await answer) as SentResponse;
        return toResponse(sent, sent.body ? this.#stream(sent.body, signal) : null);
      };
      return untilAborted(response, signal);
    };
  }

  #iterable({ next, leave: stop }: { next: number; leave: number }): AsyncIterable<ImageSource> {
    let present: unknown;
    let isLeft = false;
    // The next is asked for once this one is on the GPU.
    const leavePresent = (): void => {
      this.#images.delete(present);
      leave(present);
      present = undefined;
    };
    const iterator: AsyncIterator<ImageSource, undefined> = {
      next: async () => {
        leavePresent();
        present = this.receive(await this.ask(next, []));
        if (present !== undefined && !isLeft) return { done: false, value: present as ImageSource };
        leavePresent(); // it was on its way when the loop was left
        return { done: true, value: undefined };
      },
      return: async () => {
        isLeft = true;
        leavePresent();
        this.tell(stop, []);
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
    throw new TypeError(`the page's fetch gave an answer that may not be read (${type}, status ${status})`);
  const response = new Response(body, {
    status,
    statusText,
    headers: headers.map(([name, value]): [string, string] => [name, value]),
  });
  // An answer that is made here has neither.
  return Object.defineProperties(response, { url: { value: url }, type: { value: type } });
}
