// The page side of the worker connection, tested with a fake worker.
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkForUpdate, listCached } from '../../src/worker.ts';
import { PROTOCOL } from '../../src/worker/protocol.ts';

interface Message {
  readonly kind: string;
  readonly id: number;
}

/** The worker that was started last. */
let fake: FakeWorker;
class FakeWorker extends EventTarget {
  readonly posted: Message[] = [];
  isEnded = false;
  postMessage(message: Message): void {
    this.posted.push(message);
  }
  terminate(): void {
    this.isEnded = true;
  }
  say(data: unknown): void {
    this.dispatchEvent(new MessageEvent('message', { data }));
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('Worker', function () {
    return (fake = new FakeWorker());
  });
});
afterEach(() => {
  vi.runAllTimers();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Records how a promise settles. `outcome` is missing while it is pending. */
function watch(promise: Promise<unknown>): { outcome?: unknown } {
  const seen: { outcome?: unknown } = {};
  promise.then(
    (value) => (seen.outcome = value),
    (error: unknown) => (seen.outcome = error),
  );
  return seen;
}
const turn = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);
const lost = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'WORKER_LOST', message: expect.stringMatching(message) as string });

describe('a worker script that is not worker-thread.js', () => {
  test('sends nothing: an error after 60 s, and not before', async () => {
    const seen = watch(listCached({ worker: 'own' }));
    await vi.advanceTimersByTimeAsync(59_900);
    expect(seen).toEqual({});
    await vi.advanceTimersByTimeAsync(200);
    expect(seen.outcome).toEqual(
      lost(/expected worker-thread\.js .*found a script that sent no message in 60 s/),
    );
    expect(fake.isEnded).toBe(true);
  });

  test.each([['Hello'], [undefined], [{ kind: 'result', id: 1, value: [] }], [{ data: 1 }]])(
    'sends %j before it is ready: an error at once',
    async (data) => {
      const seen = watch(listCached({ worker: 'own' }));
      fake.say(data);
      await turn();
      expect(seen.outcome).toEqual(lost(/found another script\./));
      expect(fake.isEnded).toBe(true);
    },
  );

  test('sends nothing while the page is frozen, when only one timer ends: it is waited for', async () => {
    const seen = watch(listCached({ worker: 'own' }));
    // When a page runs again, a timer whose time has passed ends before the message of the worker is received.
    await vi.advanceTimersToNextTimerAsync();
    expect(seen).toEqual({});
    fake.say({ kind: 'ready', protocol: PROTOCOL, lock: undefined });
    fake.say({ kind: 'result', id: fake.posted[0]!.id, value: [] });
    await turn();
    expect(seen.outcome).toEqual([]);
  });

  test('a slow worker is waited for, and has no deadline once it is ready', async () => {
    const seen = watch(listCached({ worker: 'own' }));
    await vi.advanceTimersByTimeAsync(50_000);
    fake.say({ kind: 'ready', protocol: PROTOCOL, lock: undefined });
    await vi.advanceTimersByTimeAsync(100_000);
    fake.say({ kind: 'result', id: fake.posted[0]!.id, value: [] });
    await turn();
    expect(seen.outcome).toEqual([]);
  });
});

describe('a message that the worker could not deserialize', () => {
  test('fails only the calls that the worker does not know', async () => {
    const calls = [watch(listCached()), watch(checkForUpdate('a')), watch(checkForUpdate('b'))];
    fake.say({ kind: 'ready', protocol: PROTOCOL, lock: undefined });
    await turn();
    const [first, second, third] = fake.posted.map(({ id }) => id);
    fake.say({ kind: 'unread' });
    expect(fake.posted.at(-1)).toEqual({ kind: 'check', lastCall: third, lastAsk: 0, asks: [] });
    const later = watch(checkForUpdate('c'));
    fake.say({ kind: 'result', id: first, value: ['a model'] }); // sent before the worker received the check
    fake.say({ kind: 'known', lastCall: third, calls: [third] });
    await turn();
    expect(calls[0]!.outcome).toEqual(['a model']);
    expect(calls[1]!.outcome).toMatchObject({ code: 'WORKER_OPTION' });
    expect(second).toBeDefined();
    fake.say({ kind: 'result', id: third, value: 'current' });
    fake.say({ kind: 'result', id: fake.posted.at(-1)!.id, value: 'changed' });
    await turn();
    expect([calls[2]!.outcome, later.outcome]).toEqual(['current', 'changed']);
    expect(fake.isEnded).toBe(false);
  });

  test('the page tells the worker which of its requests are being answered', async () => {
    const call = watch(listCached({ worker: 'own' }));
    fake.say({ kind: 'ready', protocol: PROTOCOL, lock: undefined });
    await turn();
    fake.say({ kind: 'ask', id: 7, call: 99, run: 0, args: [] }); // belongs to a call that has ended
    fake.say({ kind: 'unread' });
    expect(fake.posted.at(-1)).toMatchObject({ kind: 'check', lastAsk: 7, asks: [] });
    expect(call).toEqual({});
  });
});
