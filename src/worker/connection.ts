/** The page's end of a worker: calls, what the worker asks back during them, and how the worker ends. */
import { DeviceError } from '../errors.js';
import { discard } from './images.js';
import {
  PROTOCOL,
  type FromWorker,
  type Handed,
  type Operation,
  type PageServices,
  type Reply,
  type Request,
  type ToWorker,
} from './protocol.js';
import { receiveError, textOf } from './sentErrors.js';
import { notStarted, start, type WorkerOptions } from './start.js';
import { disposalsOf, type Disposal } from './unwanted.js';

/** A worker without objects and calls is kept for so long: starting one takes a tenth of a second. */
const IDLE_MS = 1000;

interface Call {
  readonly operation: Operation;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly services: PageServices;
  readonly signal: AbortSignal | undefined;
  readonly holding: readonly object[];
  /** Errors of the page that the worker was told of. */
  readonly errors: unknown[];
  /** The one that ended the call, which the worker may have finished by then. */
  thrown?: { readonly error: unknown };
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly services?: PageServices;
  readonly transfer?: Transferable[];
  /**
   * What the worker uses for it, which is not forgotten before it has answered, though the page may hold it
   * no more.
   */
  readonly holding?: readonly object[];
}

/** By the URL of the worker's file. */
const shared = new Map<string, Connection>();

/** Of the options in a request, whatever stands behind the names. */
function optionNamesOf(request: object): string[] {
  const { options, how } = request as { options?: object; how?: { options: object } };
  return Object.keys(options ?? how?.options ?? {});
}

export class Connection {
  readonly #worker: Worker;
  readonly #onEnd: () => void;
  readonly #calls = new Map<number, Call>();
  readonly #closing = new AbortController();
  /** What waits for the worker to be ready. */
  #waiting: (() => void)[] | undefined = [];
  #nextId = 1;
  #objects = 0;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #ended: DeviceError | undefined;

  private constructor(workerUrl: string | URL | undefined, onEnd: () => void) {
    this.#onEnd = onEnd;
    this.#worker = start(workerUrl);
    this.#worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => this.#receive(data));
    this.#worker.addEventListener('messageerror', () =>
      this.#fail(
        new DeviceError(
          'WORKER_LOST',
          'A message of the worker could not be read. Load the model again; use a current browser if it happens again.',
        ),
      ),
    );
    this.#worker.addEventListener('error', (event) => {
      const { message = '' } = event;
      if (this.#waiting)
        this.#fail(notStarted(message || 'a file that is missing, is no module, or may not be run'));
      else
        this.#fail(
          new DeviceError(
            'WORKER_LOST',
            `The worker failed: ${message || 'without a message'}. Load the model again.`,
            { cause: event.error as unknown },
          ),
        );
    });
    this.#settle();
  }

  /** @throws DeviceError WORKER_LOST */
  static open({ workerUrl, worker = 'shared' }: WorkerOptions): Connection {
    if (worker === 'own') return new Connection(workerUrl, () => undefined);
    const key = String(workerUrl ?? '');
    const known = shared.get(key);
    if (known) return known;
    const made: Connection = new Connection(workerUrl, () => {
      if (shared.get(key) === made) shared.delete(key);
    });
    shared.set(key, made);
    return made;
  }

  /** Counts an object that lives in the worker. */
  retain(): void {
    clearTimeout(this.#idle);
    this.#objects += 1;
  }

  /** The last one ends the worker. */
  release(): void {
    this.#objects -= 1;
    this.#settle();
  }

  /**
   * Does what is asked in the worker. @throws what it threw there; DeviceError WORKER_LOST, WORKER_OPTION;
   * the signal's reason
   */
  call<Name extends Operation>(
    operation: Name,
    request: Request<Name>,
    { signal, services = {}, transfer = [], holding = [] }: CallOptions = {},
  ): Promise<Reply<Name>> {
    const id = this.#nextId++;
    const answered = new Promise<unknown>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#ended) throw this.#ended;
      clearTimeout(this.#idle);
      const abort = (): void => {
        if (this.#waiting)
          this.#calls.get(id)?.reject(signal?.reason); // the worker knows nothing of it yet, and may never start
        else this.#post({ kind: 'abort', id });
      };
      const forget = (): void => {
        signal?.removeEventListener('abort', abort);
        this.#calls.delete(id);
        this.#settle();
      };
      this.#calls.set(id, {
        operation,
        resolve: (value) => {
          forget();
          resolve(value);
        },
        reject: (error) => {
          forget();
          reject(error);
        },
        services,
        signal,
        holding,
        errors: [],
      });
      signal?.addEventListener('abort', abort, { once: true });
      this.#whenReady(() => {
        if (!this.#calls.has(id)) return;
        try {
          this.#post({ kind: 'call', id, operation, request }, transfer);
        } catch (cause) {
          const text = `${operation}: expected values that can be sent to a worker, found one that cannot (${String(cause)}). Leave it out, or use the entry dinov2-webgpu.`;
          const reject = (error: unknown): void => this.#calls.get(id)?.reject(error);
          // A name that no call knows is the error to tell, whatever stands behind it.
          this.call('checkNames', { where: operation, names: optionNamesOf(request) }).then(
            () => reject(new DeviceError('WORKER_OPTION', text, { cause })),
            reject,
          );
        }
      });
    }) as Promise<Reply<Name>>;
    answered.catch(() => discard(transfer)); // what has gone is closed here already
    return answered;
  }

  /** Tells, and waits for nothing: for what cannot fail. */
  tell({ operation, request }: Disposal): void {
    if (!this.#ended) this.#whenReady(() => this.#post({ kind: 'call', id: 0, operation, request }));
  }

  #whenReady(task: () => void): void {
    if (this.#waiting) this.#waiting.push(task);
    else task();
  }

  #post(message: ToWorker, transfer: Transferable[] = []): void {
    this.#worker.postMessage(message, transfer);
  }

  #receive(message: FromWorker): void {
    switch (message.kind) {
      case 'ready':
        this.#begin(message.protocol, message.lock);
        break;
      case 'result':
        this.#settleCall(message.id, message.value);
        break;
      case 'failure': {
        const call = this.#calls.get(message.id);
        call?.reject(
          call.thrown ? call.thrown.error : receiveError(message.error, call.signal?.reason, call.errors),
        );
        break;
      }
      default:
        void this.#answer(message);
    }
  }

  /**
   * What the page has ended does not go on as if nothing had been, only because the worker was faster: a
   * model would be left that nobody asks for.
   */
  #settleCall(id: number, value: unknown): void {
    const call = this.#calls.get(id);
    if (!call) return;
    const { operation, signal, thrown } = call;
    const disposals = thrown || signal?.aborted ? disposalsOf(operation, value) : [];
    for (const disposal of disposals) this.tell(disposal);
    if (thrown) call.reject(thrown.error);
    else if (disposals.length > 0) call.reject(signal?.reason);
    else call.resolve(value); // an abort of what is all there already came too late, as in the page
  }

  #begin(protocol: number, lock: string | undefined): void {
    if (protocol !== PROTOCOL)
      return this.#fail(
        notStarted(
          `one of another version of this library (protocol ${String(protocol)}, and not ${PROTOCOL})`,
        ),
      );
    // A worker that the browser ends, for want of memory say, tells nobody; but its locks are free.
    if (lock !== undefined) {
      const ended = (): void =>
        this.#fail(
          new DeviceError(
            'WORKER_LOST',
            'The worker has ended: the browser may have run out of memory. Load the model again.',
          ),
        );
      navigator.locks.request(lock, { signal: this.#closing.signal }, ended).catch(() => undefined); // it was ended here
    }
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const task of waiting) task();
  }

  /** What the worker asks of the page. */
  async #answer({ id, call: of, service, request }: Extract<FromWorker, { kind: 'ask' }>): Promise<void> {
    const call = this.#calls.get(of);
    if (call?.thrown && service === 'progress') return; // it was on its way
    try {
      const serve = call?.services[service] as ((request: unknown) => Promise<Handed<unknown>>) | undefined;
      const { value, transfer } = (await serve?.(request)) ?? { value: undefined, transfer: [] };
      if (this.#ended || id === 0) discard(transfer);
      else this.#post({ kind: 'answer', id, value }, transfer);
    } catch (error) {
      if (!call || this.#ended) return;
      const index = call.errors.push(error) - 1;
      const { name, message } =
        error instanceof Error
          ? { name: textOf(error.name), message: textOf(error.message) }
          : { name: 'Error', message: textOf(error) };
      if (id === 0) {
        call.thrown ??= { error };
        this.#post({ kind: 'abort', id: of, index }); // nobody waits for an answer: the call ends
      } else this.#post({ kind: 'refusal', id, call: of, index, name, message });
    }
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
    this.#closing.abort();
    this.#worker.terminate();
    this.#onEnd();
  }

  #settle(): void {
    clearTimeout(this.#idle);
    if (this.#ended || this.#objects > 0 || this.#calls.size > 0) return;
    this.#idle = setTimeout(
      () =>
        this.#end(
          new DeviceError(
            'DISPOSED',
            'The worker of this object has ended, as all of its models and features were disposed of. Load the model again.',
          ),
        ),
      IDLE_MS,
    );
  }
}
