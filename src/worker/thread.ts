/**
 * The worker's script: holds the models, and runs the calls from the page with the library's public entry
 * (index.ts).
 */
import { DeviceError } from '../index.js';
import { setBaseUrl } from '../platform/baseUrl.js';
import { dispose, sendResult } from './objects.js';
import { PROTOCOL, type CallMessage, type ToWorker } from './protocol.js';
import { asks, post, RunningCall } from './running.js';
import { PageError, sendError } from './sendError.js';

/** The running calls, by the number that the page gave to each call. */
const calls = new Map<number, RunningCall>();

async function run({ id, target, method, args, base }: CallMessage): Promise<void> {
  const call = new RunningCall(id);
  calls.set(id, call);
  try {
    setBaseUrl(base);
    // The arguments are received before the target, whose lookup may throw: the images in the arguments are
    // then known and can be closed.
    const given = call.receive(args) as unknown[];
    const object = call.receive(target) as object;
    const member = Reflect.get(object, method) as unknown;
    const result: unknown = await (typeof member === 'function'
      ? Reflect.apply(member, object, given)
      : member);
    const transfer = new Set<Transferable>();
    const value = isStream(result) ? await deliver(call, result) : sendResult(result, transfer);
    post({ kind: 'result', id, value }, transfer);
  } catch (error) {
    post({ kind: 'failure', id, value: sendError(error) });
  } finally {
    calls.delete(id);
    call.end();
  }
}

const isStream = (result: unknown): result is AsyncIterable<unknown> =>
  typeof result === 'object' && result !== null && Symbol.asyncIterator in result;

/**
 * Passes results one by one to the first function that the page registered for the call. That function
 * returns whether the page wants a further result.
 */
async function deliver(call: RunningCall, results: AsyncIterable<unknown>): Promise<void> {
  for await (const each of results) {
    const transfer = new Set<Transferable>();
    if (!(await call.ask(0, [sendResult(each, transfer)], { transfer }))) return;
  }
}

addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case 'call':
      return void run(data);
    case 'abort':
      return calls.get(data.id)?.abort(new PageError(data.error));
    case 'dispose':
      try {
        return dispose(data.id);
      } catch (error) {
        return console.error(error); // only logged: the page expects no reply to `dispose`
      }
    case 'answer':
      asks.get(data.id)?.resolve(data.value);
      return void asks.delete(data.id);
    case 'refusal':
      asks.get(data.id)?.reject(new PageError(data.error));
      return void asks.delete(data.id);
    case 'check':
      for (const [id, { reject }] of asks)
        if (id <= data.lastAsk && !data.asks.includes(id)) {
          reject(unreadable());
          asks.delete(id);
        }
      return post({ kind: 'known', lastCall: data.lastCall, calls: [...calls.keys()] });
  }
});

const unreadable = (): DeviceError =>
  new DeviceError(
    'WORKER_OPTION',
    'The worker could not read an answer that the page sent for a fetch, a stream, a tuning store or an iterable of images. Use the entry dinov2-webgpu.',
  );

/** The `messageerror` event does not say which message failed, so the page is asked to find the message. */
addEventListener('messageerror', () => post({ kind: 'unread' }));

const ready = (lock?: string): void => post({ kind: 'ready', protocol: PROTOCOL, lock });
const locks = navigator.locks as LockManager | undefined; // missing in insecure contexts
if (locks) {
  const name = `dinov2-webgpu worker ${crypto.randomUUID()}`;
  const held = locks.request(name, () => {
    ready(name);
    return new Promise(() => undefined); // never resolves, so that the lock is held until the worker ends
  });
  // The browser may forbid locks, for instance if site data is blocked. The page then does not notice some
  // ways in which the worker can end.
  held.catch(() => ready());
} else {
  ready();
}
