/** The page's end of a worker: calls, what the worker asks back during them, and how the worker ends. */
import { DeviceError } from '../errors.js';
import { baseUrl } from '../platform/baseUrl.js';
import { Call } from './call.js';
import { free, Handle } from './handles.js';
import { discard } from './images.js';
import { PROTOCOL, type FromWorker, type ToWorker } from './protocol.js';
import { receiveError } from './receiveError.js';
import { classOf, receive } from './remote.js';
import { notStarted, start, type WorkerOptions } from './start.js';

/** A worker without objects and calls is kept for so long: starting one takes a tenth of a second. */
const IDLE_MS = 1000;
/** A worker that has said nothing by then is taken for another script: files as small as ours are there long before. */
const START_MS = 60_000;

/** By the URL of the worker's file. */
const shared = new Map<string, Connection>();

export class Connection {
  readonly #worker: Worker;
  /** In `shared`; absent for a worker of one model. */
  readonly #key: string | undefined;
  readonly #calls = new Map<number, Call>();
  /** Functions of the page that are running for the worker. */
  readonly #asks = new Map<number, { readonly call: Call; readonly abort: AbortController }>();
  readonly #closing = new AbortController();
  /** What waits for the worker to be ready. */
  #waiting: (() => void)[] | undefined = [];
  readonly #starting: ReturnType<typeof setTimeout>;
  #lastCall = 0;
  #lastAsk = 0;
  #objects = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #ended: DeviceError | undefined;

  private constructor(workerUrl: string | URL | undefined, key?: string) {
    this.#worker = start(workerUrl);
    this.#key = key;
    if (key !== undefined) shared.set(key, this);
    this.#starting = setTimeout(() => this.#fail(notStarted('a script that said nothing in 60 s')), START_MS);
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => this.#receive(data));
    this.#worker.addEventListener('messageerror', () =>
      this.#lose('A message of the worker could not be read.'),
    );
    this.#worker.addEventListener('error', ({ message, error }) => {
      if (this.#waiting)
        this.#fail(notStarted(message || 'a file that is missing, is no module, or may not be run'));
      else this.#lose(`The worker failed: ${message || 'without a message'}.`, error);
    });
    this.#settle();
  }

  /** @throws DeviceError WORKER_LOST */
  static open({ workerUrl, worker = 'shared' }: WorkerOptions): Connection {
    if (worker === 'own') return new Connection(workerUrl);
    const key = String(workerUrl ?? '');
    return shared.get(key) ?? new Connection(workerUrl, key);
  }

  /** Counts objects for which the worker must live: with the last one it ends. */
  count(more: 1 | -1): void {
    this.#objects += more;
    this.#settle();
  }

  /** Frees an object in the worker. Nothing is answered: it cannot fail. */
  dispose(id: number): void {
    if (!this.#ended) this.#whenReady(() => this.#post({ kind: 'dispose', id }));
  }

  /**
   * Calls a method in the worker.
   * @param target stands for an object, a class or a PCA
   * @throws what it threw there; DeviceError WORKER_LOST, WORKER_OPTION; the signal's reason
   */
  call(call: Call, target: unknown, method: string, args: readonly unknown[]): Promise<unknown> {
    const id = ++this.#lastCall;
    const { signal, transfer } = call;
    const answered = new Promise<unknown>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#ended) throw this.#ended;
      clearTimeout(this.#idle);
      const abort = (): void => {
        // A worker that is not ready knows nothing of the call, and may never be.
        if (this.#waiting) call.reject(signal?.reason);
        else this.#post({ kind: 'abort', id });
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
          // A name that no call knows is the error to tell, whatever stands behind it.
          const check = new Call(call.where, this);
          this.call(check, classOf('functions'), 'checkNames', [call.where, call.optionNames]).then(
            () => call.reject(unsendable(call.where, cause)),
            call.reject,
          );
        }
      });
    });
    answered.catch(() => discard(transfer)); // what has gone is closed here already
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
        return this.#settleCall(message.id, message.value);
      case 'failure': {
        const call = this.#calls.get(message.id);
        return call?.reject(call.thrown ? call.thrown.error : receiveError(message.error, call));
      }
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
   * A call that the page has ended does not go on as if nothing had been, only because the worker was faster: a
   * model would be left that nobody asks for.
   */
  #settleCall(id: number, sent: unknown): void {
    const call = this.#calls.get(id);
    if (!call) return;
    let received: ReturnType<typeof receive>;
    try {
      received = receive(sent, call);
    } catch (error) {
      return call.reject(error);
    }
    const { value, made } = received;
    const { thrown, signal } = call;
    const unwanted = thrown || signal?.aborted ? made : [];
    for (const each of unwanted) free(Handle.placeOf(each));
    if (thrown) call.reject(thrown.error);
    else if (unwanted.length > 0) call.reject(signal?.reason);
    else call.resolve(value); // an abort of what is all there already came too late, as in the page
  }

  #begin(protocol: number, lock: string | undefined): void {
    clearTimeout(this.#starting);
    if (protocol !== PROTOCOL)
      return this.#fail(
        notStarted(`one of another version (protocol ${String(protocol)}, and not ${PROTOCOL})`),
      );
    // A worker that the browser ends, for want of memory say, tells nobody; but its locks are free.
    if (lock !== undefined)
      navigator.locks
        .request(lock, { signal: this.#closing.signal }, () =>
          this.#lose('The worker has ended: the browser may have run out of memory.'),
        )
        .catch(() => undefined); // it was ended here
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const task of waiting) task();
  }

  /** Runs a function of the page for the worker. A call that has ended waits for no answer. */
  async #answer({ id, call: of, run, args }: Extract<FromWorker, { kind: 'ask' }>): Promise<void> {
    const call = this.#calls.get(of);
    const isTold = id === 0;
    if (!isTold) this.#lastAsk = id;
    if (!call || (isTold && call.thrown)) return; // it was on its way
    const abort = new AbortController();
    if (!isTold) this.#asks.set(id, { call, abort });
    try {
      const answer = (await call.functions[run]!(abort.signal, ...(args as never[]))) ?? { value: undefined };
      if (this.#ended) discard(answer.transfer);
      else if (!isTold) this.#post({ kind: 'answer', id, value: answer.value }, answer.transfer);
    } catch (thrown) {
      if (this.#ended) return;
      const error = call.describe(thrown);
      if (!isTold) return this.#post({ kind: 'refusal', id, error });
      call.thrown ??= { error: thrown };
      this.#post({ kind: 'abort', id: of, error }); // nobody waits for an answer: the call ends
    } finally {
      this.#asks.delete(id);
    }
  }

  #lose(what: string, cause?: unknown): void {
    this.#fail(new DeviceError('WORKER_LOST', `${what} Load the model again.`, { cause }));
  }

  /** Ends the worker, and rejects everything that waits. */
  #fail(error: DeviceError): void {
    if (this.#ended) return;
    this.#end(error);
    for (const call of this.#calls.values()) call.reject(error);
  }

  #end(error: DeviceError): void {
    this.#ended = error;
    this.#waiting = [];
    clearTimeout(this.#idle);
    clearTimeout(this.#starting);
    this.#closing.abort();
    this.#worker.terminate();
    if (this.#key !== undefined) shared.delete(this.#key);
  }

  #settle(): void {
    clearTimeout(this.#idle);
    if (this.#ended || this.#objects > 0 || this.#calls.size > 0) return;
    this.#idle = setTimeout(
      () =>
        this.#end(
          new DeviceError(
            'DISPOSED',
            'All models and features of this worker were disposed of. Load the model again.',
          ),
        ),
      IDLE_MS,
    );
  }
}

export const unsendable = (where: string, cause: unknown): DeviceError =>
  new DeviceError(
    'WORKER_OPTION',
    `${where}: expected what can be sent to a worker, found what cannot (${String(cause)}). Leave it out, or use the entry dinov2-webgpu.`,
    { cause },
  );
