/**
 * The page's connection to a worker: sends calls, answers the worker's requests during calls, and handles
 * the end of the worker.
 */
import { DeviceError } from '../errors.js';
import { baseUrl } from '../platform/baseUrl.js';
import { Call, type WorkerConnection } from './call.js';
import { free, Handle } from './handles.js';
import { discard } from './images.js';
import { PROTOCOL, type FromWorker, type ToWorker } from './protocol.js';
import { classOf, receive } from './remote.js';
import { notStarted, start, type WorkerOptions } from './start.js';

/** Time in ms after which an unused worker is ended. Starting a new worker takes about 0.1 s. */
const IDLE_MS = 1000;
/**
 * A worker must send its first message within twice this time. A worker that sends no message is assumed to run a
 * different script. There are two timers, because a page that is frozen receives no message: if the time passes
 * meanwhile, one timer ends when the page runs again.
 */
const START_MS = 30_000;

/** The connections that several models can share, by `workerUrl`. */
const shared = new Map<string, Connection>();

export class Connection implements WorkerConnection {
  readonly #worker: Worker;
  /** The key in `shared`; undefined for a worker that belongs to one model. */
  readonly #key: string | undefined;
  readonly #calls = new Map<number, Call>();
  /** Functions of the page that are running at the worker's request. */
  readonly #asks = new Map<number, { readonly call: Call; readonly abort: AbortController }>();
  readonly #closing = new AbortController();
  /** Tasks that wait until the worker is ready. Undefined once the worker is ready. */
  #waiting: (() => void)[] | undefined = [];
  #starting: ReturnType<typeof setTimeout>;
  #lastCall = 0;
  #lastAsk = 0;
  #objects = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #ended: DeviceError | undefined;

  private constructor(workerUrl: WorkerOptions['workerUrl'], key?: string) {
    this.#worker = start(workerUrl);
    this.#key = key;
    if (key !== undefined) shared.set(key, this);
    this.#starting = setTimeout(() => {
      this.#starting = setTimeout(
        () => this.#fail(notStarted('a script that sent no message in 60 s')),
        START_MS,
      );
    }, START_MS);
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => this.#receive(data));
    this.#worker.addEventListener('messageerror', () => this.#lose('The worker sent an unreadable message.'));
    this.#worker.addEventListener('error', ({ message, error }) => {
      if (this.#waiting) this.#fail(notStarted(message || 'a file that is missing, no module, or forbidden'));
      else this.#lose(`The worker failed: ${message || 'no message'}.`, error);
    });
    this.#settle();
  }

  /**
   * Returns the connection that models share, or a new connection for one model.
   * @throws DeviceError WORKER_LOST
   */
  static open({ workerUrl, worker = 'shared' }: WorkerOptions): Connection {
    if (worker === 'own') return new Connection(workerUrl);
    const key = String(workerUrl ?? '');
    return shared.get(key) ?? new Connection(workerUrl, key);
  }

  count(more: 1 | -1): void {
    this.#objects += more;
    this.#settle();
  }

  dispose(id: number): void {
    if (!this.#ended) this.#whenReady(() => this.#post({ kind: 'dispose', id }));
  }

  call(call: Call, target: unknown, method: string, args: readonly unknown[]): Promise<unknown> {
    const id = ++this.#lastCall;
    const { signal, transfer } = call;
    const answered = new Promise<unknown>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#ended) throw this.#ended;
      clearTimeout(this.#idle);
      const abort = (): void => {
        // A worker that is not ready has not received the call, and may never become ready, so the call is
        // rejected here.
        if (this.#waiting) call.reject(signal?.reason);
        else this.#post({ kind: 'abort', id, error: call.describe(signal?.reason) });
      };
      const forget = (): void => {
        signal?.removeEventListener('abort', abort);
        this.#calls.delete(id);
        this.#settle();
      };
      call.resolve = (value) => {
        forget();
        resolve(value);
      };
      call.reject = (error) => {
        forget();
        for (const release of call.releases) release(error);
        for (const ask of this.#asks.values()) if (ask.call === call) ask.abort.abort(error);
        reject(error);
      };
      this.#calls.set(id, call);
      signal?.addEventListener('abort', abort, { once: true });
      this.#whenReady(() => {
        if (!this.#calls.has(id)) return;
        try {
          this.#post({ kind: 'call', id, target, method, args, base: baseUrl() }, transfer);
        } catch (cause) {
          // A value cannot be sent. If an option has an unknown name, an error about that name is more
          // helpful.
          const check = new Call(call.where, this);
          this.call(check, classOf('functions'), 'checkNames', [call.where, call.optionNames]).then(
            () => call.reject(unsendable(call.where, cause)),
            call.reject,
          );
        }
      });
    });
    answered.catch(() => discard(transfer)); // closes the bitmaps that were not transferred
    return answered;
  }

  #whenReady(task: () => void): void {
    if (this.#waiting) this.#waiting.push(task);
    else task();
  }

  #post(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker): void {
    if (this.#waiting && (message as Partial<FromWorker> | undefined)?.kind !== 'ready')
      return this.#fail(notStarted('another script'));
    switch (message.kind) {
      case 'ready':
        return this.#begin(message.protocol, message.lock);
      case 'result':
      case 'failure':
        return this.#settleCall(message);
      case 'ask':
        return void this.#answer(message);
      case 'drop':
        return this.#asks.get(message.id)?.abort.abort();
      case 'unread':
        return this.#post({
          kind: 'check',
          lastCall: this.#lastCall,
          lastAsk: this.#lastAsk,
          asks: [...this.#asks.keys()],
        });
      case 'known':
        for (const [id, call] of this.#calls)
          if (id <= message.lastCall && !message.calls.includes(id))
            call.reject(unsendable(call.where, 'the worker could not read it'));
    }
  }

  /**
   * Ends a call with the worker's result. If the call has already ended in the page, the objects in the
   * result are freed.
   */
  #settleCall({ kind, id, value: sent }: Extract<FromWorker, { kind: 'result' | 'failure' }>): void {
    const call = this.#calls.get(id);
    if (!call) return;
    const { thrown, signal } = call;
    const { value, made } = receive(sent, call);
    const isUnwanted = thrown || (signal?.aborted && made.length > 0);
    if (isUnwanted) for (const each of made) free(Handle.objectOf(each));
    if (isUnwanted) call.reject(thrown ? thrown.error : signal?.reason);
    else if (kind === 'failure') call.reject(value);
    // As in the library without a worker, an abort after the work has ended has no effect.
    else call.resolve(value);
  }

  #begin(protocol: number, lock: string | undefined): void {
    clearTimeout(this.#starting);
    if (protocol !== PROTOCOL)
      return this.#fail(
        notStarted(
          `a worker-thread.js of a different version (protocol ${String(protocol)} instead of ${PROTOCOL})`,
        ),
      );
    // The browser sends no event when it ends a worker, for instance for lack of memory. But the browser
    // releases the lock that the worker holds.
    if (lock !== undefined)
      navigator.locks
        .request(lock, { signal: this.#closing.signal }, () =>
          this.#lose('The worker has ended: the browser may have run out of memory.'),
        )
        .catch(() => undefined); // #fail aborts the request for the lock
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const task of waiting) task();
  }

  /** Runs a function of the page for the worker. An error thrown by a one-way function ends the call. */
  async #answer({ id, call: of, run, args }: Extract<FromWorker, { kind: 'ask' }>): Promise<void> {
    const call = this.#calls.get(of);
    const isOneWay = id === 0;
    if (!isOneWay) this.#lastAsk = id;
    if (!call || (isOneWay && call.thrown)) return; // the worker sent the request before the call ended
    const abort = new AbortController();
    if (!isOneWay) this.#asks.set(id, { call, abort });
    try {
      const answer = (await call.functions[run]!(abort.signal, ...(args as never[]))) ?? { value: undefined };
      if (this.#ended) discard(answer.transfer);
      else if (!isOneWay) this.#post({ kind: 'answer', id, value: answer.value }, answer.transfer);
    } catch (thrown) {
      if (this.#ended) return;
      const error = call.describe(thrown);
      if (!isOneWay) return this.#post({ kind: 'refusal', id, error });
      call.thrown ??= { error: thrown };
      this.#post({ kind: 'abort', id: of, error });
    } finally {
      this.#asks.delete(id);
    }
  }

  #lose(what: string, cause?: unknown): void {
    this.#fail(new DeviceError('WORKER_LOST', `${what} Load the model again.`, { cause }));
  }

  /** Ends the worker, and rejects all calls with `error`. */
  #fail(error: DeviceError): void {
    if (this.#ended) return;
    this.#ended = error;
    this.#waiting = [];
    clearTimeout(this.#idle);
    clearTimeout(this.#starting);
    this.#closing.abort();
    this.#worker.terminate();
    if (this.#key !== undefined) shared.delete(this.#key);
    for (const call of this.#calls.values()) call.reject(error);
  }

  #settle(): void {
    clearTimeout(this.#idle);
    if (this.#ended || this.#objects > 0 || this.#calls.size > 0) return;
    this.#idle = setTimeout(() => this.#fail(unused()), IDLE_MS);
  }
}

const unused = (): DeviceError =>
  new DeviceError(
    'DISPOSED',
    'All models and features of this worker were disposed of. Load the model again.',
  );

export const unsendable = (where: string, cause: unknown): DeviceError =>
  new DeviceError(
    'WORKER_OPTION',
    `${where}: an argument cannot be sent to a worker (${String(cause)}). Leave it out, or use the entry dinov2-webgpu.`,
    { cause },
  );
