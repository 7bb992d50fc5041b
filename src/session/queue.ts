/** Provides a queue that runs asynchronous jobs one at a time, in the order in which they are added. */
import { modelDisposed } from '../errors.js';

/** Runs the jobs of a model one at a time, because the model's programs share buffers. */
export class JobQueue {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /**
   * Runs `job` after all earlier jobs have ended. If `signal` is aborted while `job` waits, `job` is removed
   * from the queue. A job that has started must handle the signal itself.
   *
   * @throws DeviceError DISPOSED after `close()`; the signal's reason; the errors of `job`
   */
  run<T>(job: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed) throw modelDisposed();
    if (signal?.aborted) return Promise.reject(signal.reason as Error); // an aborted signal fires no event
    let started = false;
    const result = this.#last.then(() => {
      signal?.throwIfAborted(); // skips `job`: the promise that the caller has is already rejected
      started = true;
      return job();
    });
    // The queue stores a promise without a value instead of `result`. Otherwise the value of `result` would
    // stay in memory until the next job.
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

  /** Makes later calls of `run` throw. Resolves when the running job and all waiting jobs have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }
}
