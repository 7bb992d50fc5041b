/** A queue that runs asynchronous jobs one at a time, in the order in which they arrive. */
import { modelDisposed } from '../errors.js';

/** Runs a model's jobs one at a time, because its programs share buffers. */
export class JobQueue {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Runs `job` after all earlier jobs have ended. An abort removes a job that still waits; a job that has
   * started handles the signal itself.
   *
   * @throws DeviceError DISPOSED after `close()`; the signal's reason; what `job` throws
   */
  run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed) throw modelDisposed();
    if (signal?.aborted) return Promise.reject(signal.reason as Error); // its abort event will not fire again
    let started = false;
    const result = this.#last.then(() => {
      signal?.throwIfAborted(); // the caller's promise has been rejected already
      started = true;
      return job();
    });
    // The queue keeps this promise instead of `result`, whose value would stay in memory until the next job.
    const ended = (): void => undefined;
    this.#last = result.then(ended, ended);
    if (!signal) return result;
    return new Promise((resolve, reject) => {
      const abort = (): void => {
        if (!started) reject(signal.reason as Error);
      };
      signal.addEventListener('abort', abort, { once: true });
      void result.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    });
  }

  /** Refuses further jobs. Resolves when the running job and all waiting jobs have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }
}
