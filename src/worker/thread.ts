/** The worker: has the models, and does what the page asks. It imports what a page would. */
import { DeviceError } from '../errors.js';
import { operations, type Context } from './operations.js';
import {
  PROTOCOL,
  type FromWorker,
  type Operation,
  type Service,
  type Services,
  type ToWorker,
} from './protocol.js';
import { PageAbort, PageError, sendError } from './sentErrors.js';

/** Calls under way, by the page's numbers. */
const calls = new Map<number, AbortController>();
/** What the page was asked. */
const asked = new Map<
  number,
  { readonly resolve: (value: unknown) => void; readonly reject: (error: unknown) => void }
>();
let nextAsked = 1;

/** The worker's own `postMessage`, whose type is a page's here. */
const scope = globalThis as { postMessage(message: FromWorker, transfer: Transferable[]): void };
const post = (message: FromWorker, transfer: Transferable[] = []): void =>
  scope.postMessage(message, transfer);

function contextOf(call: number, signal: AbortSignal): Context {
  return {
    signal,
    ask: <Name extends Service>(
      service: Name,
      request: Parameters<Services[Name]>[0],
      transfer?: Transferable[],
    ) =>
      new Promise<unknown>((resolve, reject) => {
        const id = nextAsked++;
        asked.set(id, { resolve, reject });
        post({ kind: 'ask', id, call, service, request }, transfer);
      }) as Promise<ReturnType<Services[Name]>>,
    tell: (service, request) => post({ kind: 'ask', id: 0, call, service, request }),
  };
}

async function run(id: number, operation: Operation, request: unknown): Promise<void> {
  const abort = new AbortController();
  if (id !== 0) calls.set(id, abort);
  try {
    const perform = operations[operation] as (request: unknown, context: Context) => unknown;
    const value = await perform(request, contextOf(id, abort.signal));
    if (id !== 0) post({ kind: 'result', id, value }, [...buffersOf(value)]);
  } catch (error) {
    if (id !== 0) post({ kind: 'failure', id, error: sendError(error) });
    else reportError(error); // the page hears of it by the worker's error event
  } finally {
    calls.delete(id);
  }
}

/** The memory of all arrays of a result: it goes to the page, and nobody here has a use for it. */
function buffersOf(value: unknown, found = new Set<ArrayBuffer>()): Set<ArrayBuffer> {
  if (ArrayBuffer.isView(value)) {
    if (value.buffer instanceof ArrayBuffer) found.add(value.buffer);
  } else if (Array.isArray(value)) {
    for (const each of value) buffersOf(each, found);
  } else if (typeof value === 'object' && value !== null) {
    for (const each of Object.values(value)) buffersOf(each, found);
  }
  return found;
}

addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case 'call':
      void run(data.id, data.operation, data.request);
      break;
    case 'abort':
      calls
        .get(data.id)
        ?.abort(
          data.index === undefined
            ? new PageAbort()
            : new PageError(data.index, 'Error', 'The page ended the call.'),
        );
      break;
    case 'answer':
      asked.get(data.id)?.resolve(data.value);
      asked.delete(data.id);
      break;
    case 'refusal':
      asked.get(data.id)?.reject(new PageError(data.index, data.name, data.message));
      asked.delete(data.id);
      break;
    default:
      throw new DeviceError(
        'WORKER_LOST',
        `The worker was sent a message that it does not know: ${JSON.stringify(data)}. Serve all files of one version of the library.`,
      );
  }
});

/**
 * Whoever sent it waits for an answer, and nothing tells who that is: the page hears of it by the worker's
 * error event.
 */
addEventListener('messageerror', () => {
  throw new DeviceError(
    'WORKER_LOST',
    'A message of the page could not be read. Leave out options that the library does not know.',
  );
});

const ready = (lock?: string): void => post({ kind: 'ready', protocol: PROTOCOL, lock });
const locks = navigator.locks as LockManager | undefined; // pages that are not secure lack them
if (locks) {
  const name = `dinov2-webgpu worker ${crypto.randomUUID()}`;
  const held = locks.request(name, () => {
    ready(name);
    return new Promise(() => undefined); // until the worker ends
  });
  held.catch(() => ready()); // a page that may not have locks (its visitor refuses storage, say) hears less of the end, and works all the same
} else {
  ready();
}
