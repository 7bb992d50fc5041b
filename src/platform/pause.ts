/** Functions that pause long work, so that the page can handle input, and that wait for a given time. */

/**
 * Lets other tasks of the event loop run before the caller continues. Faster than a timer, which waits at
 * least 4 ms, or 1 s in a hidden tab.
 */
export function pause(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

/**
 * Waits for `ms` milliseconds.
 * @throws `signal.reason` as soon as the signal is aborted
 */
export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const done = (): void => {
      signal?.removeEventListener('abort', stop);
      resolve();
    };
    const timer = setTimeout(done, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/**
 * Divides long work into slices with a pause between them. Call `rest` often: the work between two calls
 * must be short.
 */
export class Slices {
  readonly #sliceMs: number;
  readonly #signal: AbortSignal | undefined;
  #sinceMs = performance.now();

  /**
   * @param sliceMs longest time in ms that the work runs without a pause
   * @param signal if it is aborted, the next pause throws its reason
   */
  constructor(sliceMs: number, signal?: AbortSignal) {
    this.#sliceMs = sliceMs;
    this.#signal = signal;
  }

  /**
   * Returns a promise of a pause if the current slice is over, else undefined. The caller must await the
   * promise.
   * @throws `signal.reason` after an abort
   */
  rest(): Promise<void> | undefined {
    if (performance.now() - this.#sinceMs < this.#sliceMs) return undefined;
    return pause().then(() => {
      this.#signal?.throwIfAborted();
      this.#sinceMs = performance.now();
    });
  }
}
