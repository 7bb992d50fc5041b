/** The page's `fetch` and its streams, as the worker uses them. */
import type { Context } from './operations.js';
import type { SentResponse } from './protocol.js';

let fetches = 0;

/** A stream that the page reads, piece by piece, as this one is read. An abort fails it at once. */
export function pageStream(
  { ask, tell, signal }: Context,
  which: { readonly fetch: number } | { readonly stream: number },
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      start: (controller) =>
        signal.addEventListener('abort', () => controller.error(signal.reason), { once: true }),
      async pull(controller) {
        const piece = await ask('read', which);
        if (signal.aborted) return; // it has failed
        if (piece) controller.enqueue(piece);
        else controller.close();
      },
      cancel: () => tell('stop', which),
    },
    { highWaterMark: 0 },
  );
}

/** A `fetch` that is the page's: for headers of authorisation, or a cache of its own. */
export function pageFetch(context: Context): typeof globalThis.fetch {
  return async (input, init = {}) => {
    const which = { fetch: ++fetches };
    const signal = init.signal ?? context.signal;
    signal.throwIfAborted();
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener(
        'abort',
        () => {
          context.tell('stop', which);
          reject(signal.reason);
        },
        { once: true },
      );
    });
    const url = input instanceof Request ? input.url : String(input);
    const response = await Promise.race([
      context.ask('fetch', { ...which, url, headers: [...new Headers(init.headers)], cache: init.cache }),
      aborted,
    ]);
    return toResponse(response, response.body ? pageStream({ ...context, signal }, which) : null);
  };
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
