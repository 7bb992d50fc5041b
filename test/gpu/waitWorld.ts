// A simulated device and browser for tests of PollingDelay: work takes a known time, the browser notices its end at
// once or late, and the test advances the clock.
import type { Clock } from '../../src/gpu/pollingDelay.ts';

export interface Browser {
  /** Interval at which the browser checks for finished work by itself, in ms; 0: it notices the end at once. */
  readonly looksEveryMs: number;
  /** True if the browser checks for finished work at every submit, as Firefox does. */
  readonly looksAtSubmits: boolean;
  /** True if the browser checks for finished work at the end of an error scope, as Chrome does. */
  readonly looksAtScopes: boolean;
}

export const firefox: Browser = { looksEveryMs: 100, looksAtSubmits: true, looksAtScopes: false };
export const chrome: Browser = { looksEveryMs: 2.1, looksAtSubmits: false, looksAtScopes: true };
export const withoutDelay: Browser = { looksEveryMs: 0, looksAtSubmits: false, looksAtScopes: false };

/** Durations of an event-loop task, of an error scope and of the measurement's kernel. */
const TASK_MS = 0.05;
const SCOPE_MS = 0.03;
const KERNEL_MS = 0.1;

interface Watched {
  readonly doneMs: number;
  readonly resolve: () => void;
}

export class World {
  nowMs = 0;
  readonly emptySubmitsMs: number[] = [];
  readonly kernelsMs: number[] = [];
  scopes = 0;
  /** Buffers that were created and not destroyed. */
  readonly buffers = new Set<object>();
  openScopes = 0;
  readonly #browser: Browser;
  #events: { atMs: number; run: () => void }[] = [];
  #busyUntilMs = 0;
  #watched: Watched[] = [];
  #lose!: () => void;
  readonly #lost = new Promise<void>((resolve) => {
    this.#lose = resolve;
  });

  constructor(browser: Browser) {
    this.#browser = browser;
    if (browser.looksEveryMs > 0) this.#lookEvery(browser.looksEveryMs);
  }

  readonly clock: Clock = {
    nowMs: () => this.nowMs,
    sleep: (ms) => this.after(ms),
    nextTask: () => this.after(TASK_MS),
  };

  /** The members of a device that `PollingDelay` uses. */
  readonly device = {
    lost: this.#lost,
    queue: {
      submit: (commands: unknown[]) => {
        if (commands.length > 0) {
          this.kernelsMs.push(this.nowMs);
          void this.work(KERNEL_MS);
        } else this.emptySubmitsMs.push(this.nowMs);
        if (this.#browser.looksAtSubmits) this.#look();
      },
      onSubmittedWorkDone: () => this.#workDone(),
    },
    pushErrorScope: () => {
      this.openScopes += 1;
    },
    popErrorScope: async () => {
      this.openScopes -= 1;
      this.scopes += 1;
      await this.after(SCOPE_MS);
      if (this.#browser.looksAtScopes) this.#look();
      return null;
    },
    createShaderModule: () => ({}),
    createComputePipelineAsync: async () => ({ getBindGroupLayout: () => ({}) }),
    createBuffer: () => {
      const buffer = { destroy: () => void this.buffers.delete(buffer) };
      this.buffers.add(buffer);
      return buffer;
    },
    createBindGroup: () => ({}),
    createCommandEncoder: () => ({
      beginComputePass: () => ({
        setPipeline: () => undefined,
        setBindGroup: () => undefined,
        dispatchWorkgroups: () => undefined,
        end: () => undefined,
      }),
      finish: () => ({}),
    }),
  };

  /** Submits work that keeps the GPU busy for `ms` more. Resolves when the browser has noticed the end. */
  work(ms: number): Promise<void> {
    this.#busyUntilMs = Math.max(this.nowMs, this.#busyUntilMs) + ms;
    if (this.#browser.looksAtSubmits) this.#look();
    return this.#workDone();
  }

  lose(): void {
    this.#lose();
  }

  after(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#events.push({ atMs: this.nowMs + ms, run: resolve });
    });
  }

  /** Advances the clock until `answer` settles, or by `answer` ms. Resolves to the ms that passed. */
  async until(answer: Promise<unknown> | number): Promise<number> {
    const startMs = this.nowMs;
    const endMs = typeof answer === 'number' ? startMs + answer : Infinity;
    let settled = false;
    if (typeof answer !== 'number') void answer.finally(() => (settled = true)).catch(() => undefined);
    for (;;) {
      // Runs all pending promise callbacks before time advances.
      await new Promise((resolve) => setImmediate(resolve));
      if (settled) return this.nowMs - startMs;
      const next = this.#events.reduce<{ atMs: number; run: () => void } | undefined>(
        (first, event) => (first && first.atMs <= event.atMs ? first : event),
        undefined,
      );
      if (!next || next.atMs > endMs) {
        if (endMs === Infinity) throw new Error('the promise cannot settle: no event is left');
        this.nowMs = endMs;
        return endMs - startMs;
      }
      this.#events.splice(this.#events.indexOf(next), 1);
      this.nowMs = next.atMs;
      next.run();
    }
  }

  async #workDone(): Promise<void> {
    const doneMs = this.#busyUntilMs;
    if (this.#browser.looksEveryMs === 0) return this.after(Math.max(0, doneMs - this.nowMs));
    return new Promise((resolve) => {
      this.#watched.push({ doneMs, resolve });
    });
  }

  #look(): void {
    const over = this.#watched.filter(({ doneMs }) => doneMs <= this.nowMs);
    this.#watched = this.#watched.filter((each) => !over.includes(each));
    for (const { resolve } of over) resolve();
  }

  #lookEvery(ms: number): void {
    void this.after(ms).then(() => {
      this.#look();
      this.#lookEvery(ms);
    });
  }
}
