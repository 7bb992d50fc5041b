/**
 * Runs one task at a time. Starting a task aborts the previous one, and waits until that has ended, so that
 * two loads or two forwards never overlap.
 */
export class Latest {
  #controller: AbortController | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** True while a task runs and is not aborted. */
  get busy(): boolean {
    return this.#controller !== undefined;
  }

  /** Aborts the running task. Its `start` resolves at once, even if the task takes a while to stop. */
  abort(): void {
    this.#controller?.abort();
    this.#controller = undefined;
  }

  /**
   * Runs a task. Returns its result, or undefined if it was aborted or replaced. A task that succeeds after
   * its abort must free its result itself.
   */
  async start<T>(task: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    this.abort();
    const controller = new AbortController();
    const { signal } = controller;
    this.#controller = controller;
    const before = this.#last;
    const running = (async () => {
      await before.catch(() => undefined);
      return signal.aborted ? undefined : task(signal);
    })();
    this.#last = running;
    const aborted = new Promise<undefined>((resolve) =>
      signal.addEventListener('abort', () => resolve(undefined), { once: true }),
    );
    try {
      const result = await Promise.race([running, aborted]);
      return signal.aborted ? undefined : result;
    } catch (error) {
      if (signal.aborted) return undefined;
      throw error;
    } finally {
      running.catch(() => undefined); // after an abort nothing handles this rejection
      if (this.#controller === controller) this.#controller = undefined;
    }
  }
}
