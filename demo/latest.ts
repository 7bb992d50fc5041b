/**
 * One task at a time, and the newest wins: starting one aborts the one before, waits until that has let go of
 * what it held, and runs. Two loads, or two forwards of clicks in quick succession, so never stand side by
 * side.
 */
export class Latest {
  #controller: AbortController | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** True while a task runs that nothing has replaced. */
  get busy(): boolean {
    return this.#controller !== undefined;
  }

  /** Aborts what runs. Whoever awaits it hears at once, even where the task itself takes a while to stop. */
  abort(): void {
    this.#controller?.abort();
    this.#controller = undefined;
  }

  /**
   * What the task gives; undefined if it was aborted or replaced. A task that succeeds after its abort cleans
   * up on its own.
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
      running.catch(() => undefined); // an abort's own rejection is nobody's news
      if (this.#controller === controller) this.#controller = undefined;
    }
  }
}
