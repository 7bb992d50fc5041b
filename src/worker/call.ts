/** A call to the worker, and the functions of the page that the worker may run during the call. */
import { textOf, type PageErrorData } from './protocol.js';

/** The connection to a worker, as calls and handles use it. `Connection` implements it. */
export interface WorkerConnection {
  /** Adds `more` to the number of objects that keep the worker alive. */
  count(more: 1 | -1): void;
  /** Asks the worker to free an object. The worker sends no reply. */
  dispose(id: number): void;
  /**
   * Calls a method in the worker.
   * @param target a stand-in (see protocol.ts) for an object, a class or a PCA
   * @throws the method's errors; DeviceError WORKER_LOST, WORKER_OPTION; the signal's reason
   */
  call(call: Call, target: unknown, method: string, args: readonly unknown[]): Promise<unknown>;
}

/** The result of a function of the page, with the objects to transfer along with the result. */
export interface Answer {
  readonly value: unknown;
  readonly transfer?: Transferable[];
}

/**
 * A function of the page that the worker may run. `signal` is aborted when the result is no longer needed.
 */
export type PageFunction = (signal: AbortSignal, ...args: never[]) => Promise<Answer | void>;

export class Call {
  /** Name of the called method, for error messages. */
  readonly where: string;
  readonly connection: WorkerConnection;
  signal: AbortSignal | undefined;
  optionNames: readonly string[] = [];
  readonly transfer: Transferable[] = [];
  /** Handles that must not be garbage-collected before the worker has answered. */
  readonly holding: object[] = [];
  readonly functions: PageFunction[] = [];
  /** Errors thrown in the page during the call. The worker has only descriptions of these errors. */
  readonly errors: unknown[] = [];
  /** Functions that run when the call fails, to release objects of the page that the worker used. */
  readonly releases: ((reason: unknown) => void)[] = [];
  /** The error that a one-way function threw. It ends the call, even if the worker has already finished. */
  thrown: { readonly error: unknown } | undefined;
  resolve: (value: unknown) => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor(where: string, connection: WorkerConnection) {
    this.where = where;
    this.connection = connection;
  }

  /**
   * Registers a function that the worker may run. Returns the number by which the worker refers to the
   * function.
   */
  expose(run: PageFunction): number {
    return this.functions.push(run) - 1;
  }

  /** Stores an error thrown in the page, and returns a description of the error for the worker. */
  describe(error: unknown): PageErrorData {
    const { name, message } = error instanceof Error ? error : { name: 'Error', message: error };
    return { index: this.errors.push(error) - 1, name: textOf(name), message: textOf(message) };
  }
}
