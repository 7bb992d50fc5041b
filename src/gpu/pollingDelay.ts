/**
 * Measures and avoids a browser's polling delay: the time between the end of GPU work and the moment when the
 * browser resolves the promise for that work. Certain calls make a browser poll at once. If a device has a
 * delay, this file repeats such a call during each wait. The promise is still the browser's own, so no result
 * is used too early. `wait.ts` loads this file in browsers that have such a call.
 */
import { BufferUsage } from './constants.js';

/**
 * A call that makes a browser poll for finished GPU work: an empty submit in Firefox, or a pair of
 * `pushErrorScope` and `popErrorScope` in Chrome.
 */
export type Nudge = 'emptySubmits' | 'errorScopes';

/** How a browser's polling delay is measured: in rounds of several waits each. */
interface Rule {
  /**
   * Number of consecutive waits in a measuring round. The result of the round is the median duration of its
   * waits.
   */
  readonly waits: number;
  /** If the result of a round is at least this many milliseconds, the browser has a polling delay. */
  readonly delayMs: number;
  /**
   * A measuring round starts when no other code has waited for the GPU for this many milliseconds. The round
   * is discarded if another wait starts during it.
   */
  readonly quietMs: number;
  /**
   * True if a wait that takes at least `delayMs` also proves a delay when the wait is not part of a
   * measuring round.
   */
  readonly anyWait: boolean;
}

/**
 * In Firefox, the polling delay is long, so the measurement starts as soon as the device exists, and any long
 * wait proves the delay. If such a wait was long because the GPU had much to do, the mistake costs only a few
 * empty submits. In Chrome, unnecessary error scopes can make waits longer, so a round does not overlap with
 * other work.
 */
const RULES: Readonly<Record<Nudge, Rule>> = {
  emptySubmits: { waits: 1, delayMs: 20, quietMs: 0, anyWait: true },
  errorScopes: { waits: 5, delayMs: 1.8, quietMs: 40, anyWait: false },
};

/**
 * Number of rounds without a delay after which the device counts as free of delay. Several rounds are needed,
 * because Chrome sometimes resolves a few waits immediately although it delays most. A single round with a
 * delay proves the delay.
 */
const ROUNDS = 4;

/**
 * During this first part of a wait, polling calls are repeated at the full rate. In a longer wait, Chrome's
 * delay of 2 ms is less than a tenth of the wait.
 */
const EAGER_MS = 20;
/** Shortest interval between empty submits in Firefox. Shorter intervals would only fill Firefox's queue. */
const SUBMIT_INTERVAL_MS = 1;
/** After `EAGER_MS`, the interval between empty submits is this fraction of the time waited so far. */
const LATER_PART = 1 / 20;
/** The shortest timeout in ms that browsers honour. */
const SHORTEST_TIMER_MS = 4;
/** Firefox's own polling interval. Empty submits at longer intervals would not shorten a wait. */
const LONGEST_INTERVAL_MS = 100;

/**
 * The kernel that a measuring round runs. It takes about 0.1 ms on any GPU, because each of its steps depends
 * on the previous step. A shorter kernel would not show the delay: Chrome reports work late only if the work
 * has not ended when Chrome first polls.
 */
const SHORT_KERNEL =
  '@group(0) @binding(0) var<storage, read_write> x: f32; @compute @workgroup_size(1) fn main() { var y = x; for (var i = 0; i < 8000; i++) { y = y * 0.999 + 0.5; } x = y; }';

/** The clock and the timers that `PollingDelay` uses. Tests replace them. */
export interface Clock {
  /** Returns the current time in ms. */
  readonly nowMs: () => number;
  /** Resolves after `ms` milliseconds. */
  readonly sleep: (ms: number) => Promise<void>;
  /** Resolves in the next task of the event loop, which is sooner than any timer. */
  readonly nextTask: () => Promise<void>;
}

/** Measures the browser's polling delay for one device, and shortens waits if there is a delay. */
export class PollingDelay {
  readonly #device: GPUDevice;
  readonly #nudge: Nudge;
  readonly #clock: Clock;
  #hasDelay: boolean | undefined;
  #roundsLeft = ROUNDS;
  #measuring = false;
  #nudging = false;
  #lost = false;
  /**
   * Number of waits that have not ended. `#pendingShort` counts the waits among them that are expected to be
   * short.
   */
  #pending = 0;
  #pendingShort = 0;
  /** Number of waits that have begun so far. `#beganMs` is the time when the last wait began. */
  #begun = 0;
  #beganMs = 0;
  #kernel: ShortKernel | undefined;

  constructor(device: GPUDevice, nudge: Nudge, clock: Clock = realClock) {
    this.#device = device;
    this.#nudge = nudge;
    this.#clock = clock;
    void device.lost.then(() => {
      this.#lost = true;
      this.#kernel?.buffer.destroy();
    });
    if (RULES[nudge].anyWait) void this.#measure();
  }

  /** True if the browser delays waits on this device. Undefined until the measurement has ended. */
  get hasDelay(): boolean | undefined {
    return this.#hasDelay;
  }

  /** Waits for a promise of the device; see `waitFor` in wait.ts. */
  async waitFor<T>(answer: Promise<T>, lastsLong: boolean): Promise<T> {
    this.#pending += 1;
    this.#pendingShort += lastsLong ? 0 : 1;
    this.#begun += 1;
    const beganMs = this.#clock.nowMs();
    this.#beganMs = beganMs;
    void this.#nudgeWhilePending();
    try {
      return await answer;
    } finally {
      this.#pending -= 1;
      this.#pendingShort -= lastsLong ? 0 : 1;
      const { anyWait, delayMs } = RULES[this.#nudge];
      if (anyWait && !lastsLong && this.#clock.nowMs() - beganMs >= delayMs) this.#hasDelay ??= true;
      void this.#measure();
    }
  }

  async #nudgeWhilePending(): Promise<void> {
    if (this.#hasDelay !== true || this.#nudging) return;
    this.#nudging = true;
    try {
      await (this.#nudge === 'emptySubmits' ? this.#submitNothing() : this.#openScopes());
    } catch {
      // An error here means that the device is lost. `answer` rejects for the same reason.
    } finally {
      this.#nudging = false;
    }
  }

  async #submitNothing(): Promise<void> {
    const { nowMs, sleep, nextTask } = this.#clock;
    let submittedMs = -Infinity;
    while (this.#pending > 0 && !this.#lost) {
      const waitedMs = nowMs() - this.#beganMs;
      const intervalMs = Math.max(SHORTEST_TIMER_MS, waitedMs * LATER_PART);
      if (intervalMs > LONGEST_INTERVAL_MS) return;
      if (nowMs() - submittedMs >= SUBMIT_INTERVAL_MS) {
        this.#device.queue.submit([]);
        submittedMs = nowMs();
      }
      await (this.#pendingShort > 0 && waitedMs < EAGER_MS ? nextTask() : sleep(intervalMs));
    }
  }

  async #openScopes(): Promise<void> {
    while (this.#pendingShort > 0 && !this.#lost && this.#clock.nowMs() - this.#beganMs < EAGER_MS) {
      // The scope is popped in the same task of the event loop, so it catches no errors of other code.
      this.#device.pushErrorScope('validation');
      await this.#device.popErrorScope();
    }
  }

  /**
   * Runs measuring rounds until it is known whether the browser delays waits, or until a wait begins that is
   * not part of the measurement. A later call continues the measurement.
   */
  async #measure(): Promise<void> {
    if (this.#measuring || this.#hasDelay !== undefined) return;
    this.#measuring = true;
    const { delayMs, quietMs, anyWait } = RULES[this.#nudge];
    try {
      while (this.#pending === 0 && !this.#lost && this.#hasDelay === undefined) {
        const begun = this.#begun;
        const undisturbed = (): boolean => this.#begun === begun;
        if (quietMs > 0) await this.#clock.sleep(quietMs);
        if (!undisturbed()) continue;
        const ms = await this.#round(undisturbed);
        if (ms >= delayMs && (anyWait || undisturbed())) this.#hasDelay ??= true;
        else if (undisturbed() && (this.#roundsLeft -= 1) === 0) this.#hasDelay = false;
      }
    } catch {
      this.#hasDelay = false; // the device is lost
    } finally {
      this.#measuring = false;
    }
    if (this.#hasDelay !== undefined || this.#lost) this.#kernel?.buffer.destroy();
    if (this.#pending > 0) void this.#nudgeWhilePending();
  }

  /** Runs one measuring round. Resolves to the median duration of its waits, in ms. */
  async #round(undisturbed: () => boolean): Promise<number> {
    const { queue } = this.#device;
    const { waits } = RULES[this.#nudge];
    const run =
      this.#nudge === 'errorScopes' ? (this.#kernel ??= await shortKernel(this.#device)) : undefined;
    const taken: number[] = [];
    while (taken.length < waits && undisturbed()) {
      const startMs = this.#clock.nowMs();
      if (run) queue.submit([run.encode()]);
      await queue.onSubmittedWorkDone();
      taken.push(this.#clock.nowMs() - startMs);
    }
    return taken.sort((a, b) => a - b)[taken.length >> 1] ?? 0;
  }
}

interface ShortKernel {
  readonly buffer: GPUBuffer;
  readonly encode: () => GPUCommandBuffer;
}

async function shortKernel(device: GPUDevice): Promise<ShortKernel> {
  const label = 'polling delay';
  const pipeline = await device.createComputePipelineAsync({
    label,
    layout: 'auto',
    compute: { module: device.createShaderModule({ label, code: SHORT_KERNEL }) },
  });
  const buffer = device.createBuffer({ label, size: 4, usage: BufferUsage.STORAGE });
  const group = device.createBindGroup({
    label,
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer } }],
  });
  return {
    buffer,
    encode: () => {
      const encoder = device.createCommandEncoder({ label });
      const pass = encoder.beginComputePass({ label });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(1);
      pass.end();
      return encoder.finish({ label });
    },
  };
}

const realClock: Clock = {
  nowMs: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  nextTask: () =>
    new Promise((resolve) => {
      resolvers.push(resolve);
      port ??= openPort();
      port.postMessage(0);
    }),
};

/** A port that all devices share: a port with a listener is never collected. */
let port: MessagePort | undefined;
const resolvers: (() => void)[] = [];

function openPort(): MessagePort {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => resolvers.shift()?.();
  return port2;
}
