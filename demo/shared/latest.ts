/**
 * Runs one task at a time. Starting a task aborts the running task, and waits until it has ended before the
 * new task begins, so that two loads or two forward passes never overlap.
 */
export class Latest {
  #controller: AbortController | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** True while a task is running and has not been aborted. */
  get busy(): boolean {
    return this.#controller !== undefined;
  }

  /**
   * Aborts the running task. The promise that `start` returned for it resolves at once, even if the task
   * takes a while to stop.
   */
  abort(): void {
    this.#controller?.abort();
    this.#controller = undefined;
  }

  /**
   * Runs a task. Returns its result, or undefined if the task was aborted or replaced by a newer task. If a
   * task succeeds although it was aborted, the task itself must free its result.
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
      running.catch(() => undefined); // prevents an unhandled rejection after an abort
      if (this.#controller === controller) this.#controller = undefined;
    }
  }
}
