/** The worker: has the models, and runs what the page calls. It imports what a page would. */
import { DeviceError } from '../index.js';
import { setBaseUrl } from '../platform/baseUrl.js';
import { dispose, sendResult } from './objects.js';
import { PROTOCOL, type CallMessage, type ToWorker } from './protocol.js';
import { asked, post, RunningCall } from './running.js';
import { PageAbort, PageError, sendError } from './sendError.js';

/** Calls under way, by the page's numbers. */
const calls = new Map<number, RunningCall>();

async function run({ id, target, method, args, base }: CallMessage): Promise<void> {
  const call = new RunningCall(id);
  calls.set(id, call);
  try {
    setBaseUrl(base);
    const given = call.receive(args) as unknown[]; // first: its images are closed, whatever follows
    const object = call.receive(target) as object;
    const member = Reflect.get(object, method) as unknown;
    const result: unknown = await (typeof member === 'function'
      ? Reflect.apply(member, object, given)
      : member);
    const transfer = new Set<Transferable>();
    const value = isStream(result) ? await giveAll(call, result) : sendResult(result, transfer);
    post({ kind: 'result', id, value }, transfer);
  } catch (error) {
    post({ kind: 'failure', id, error: sendError(error) });
  } finally {
    calls.delete(id);
    call.end();
  }
}

const isStream = (result: unknown): result is AsyncIterable<unknown> =>
  typeof result === 'object' && result !== null && Symbol.asyncIterator in result;

/** Results one after the other, each when the page wants it: its first function takes them, and says whether to go on. */
async function giveAll(call: RunningCall, results: AsyncIterable<unknown>): Promise<void> {
  for await (const each of results) {
    const transfer = new Set<Transferable>();
    if (!(await call.ask(0, [sendResult(each, transfer)], transfer))) return;
  }
}

addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case 'call':
      return void run(data);
    case 'abort':
      return calls.get(data.id)?.abort(data.error ? new PageError(data.error) : new PageAbort());
    case 'dispose':
      try {
        return dispose(data.id);
      } catch (error) {
        return console.error(error); // nobody waits for an answer, and the other models go on
      }
    case 'answer':
      asked.get(data.id)?.resolve(data.value);
      return void asked.delete(data.id);
    case 'refusal':
      asked.get(data.id)?.reject(new PageError(data.error));
      return void asked.delete(data.id);
    case 'check':
      for (const [id, { reject }] of asked)
        if (id <= data.lastAsk && !data.asks.includes(id)) {
          reject(unreadable());
          asked.delete(id);
        }
      return post({ kind: 'known', lastCall: data.lastCall, calls: [...calls.keys()] });
  }
});

const unreadable = (): DeviceError =>
  new DeviceError(
    'WORKER_OPTION',
    'An answer of the page to its worker could not be read: of a fetch, a stream, a store or an iterable of images. Use the entry dinov2-webgpu.',
  );

/** Nothing tells what was in the message: the page finds out which call or answer it was. */
addEventListener('messageerror', () => post({ kind: 'unread' }));

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
