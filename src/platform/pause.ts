/** Work in slices, so that a page stays alive beside it. */

/**
 * One turn of the event loop. A timer would wait 4 ms each, and a second in a hidden tab; a message does not.
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

/** Counts the time since the last pause. Work between two calls of `rest` must be short. */
export class Slices {
  readonly #sliceMs: number;
  readonly #signal: AbortSignal | undefined;
  #sinceMs = performance.now();

  /**
   * @param sliceMs the time after which `rest` pauses
   * @param signal ends the work at its next pause
   */
  constructor(sliceMs: number, signal?: AbortSignal) {
    this.#sliceMs = sliceMs;
    this.#signal = signal;
  }

  /**
   * A pause to await, where a slice has ended.
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
