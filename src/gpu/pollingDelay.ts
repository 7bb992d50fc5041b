/**
 * The delay with which a browser notices that the GPU has finished: measured once a device, and avoided where
 * there is one. Certain calls make the browser look at once; they are repeated until what is waited for has
 * settled. The promise is still the browser's own, so no result is taken early. Loaded by wait.ts in the
 * browsers that have such a call.
 */
import { BufferUsage } from './constants.js';

/**
 * Calls that make a browser look for finished work: empty submits in Firefox, pairs of `pushErrorScope` and
 * `popErrorScope` in Chrome.
 */
export type Nudge = 'emptySubmits' | 'errorScopes';

interface Rule {
  /** Waits in a row that make a round; their median counts. */
  readonly waits: number;
  /** A round whose median is at least this long shows a delay. */
  readonly delayMs: number;
  /** A round begins when nobody has waited for this long. It counts only if nobody begins to wait meanwhile. */
  readonly quietMs: number;
  /** Whether a wait of somebody else that is as long shows a delay too, even in the middle of a round. */
  readonly anyWait: boolean;
}

/**
 * Firefox's delay is long, so its rounds begin with the device, and any wait shows it: where a wait was long
 * because of its work, some empty submits are all that the mistake costs. In Chrome error scopes that are not
 * needed can make waits longer, so its rounds keep apart from all other work.
 */
const RULES: Readonly<Record<Nudge, Rule>> = {
  emptySubmits: { waits: 1, delayMs: 20, quietMs: 0, anyWait: true },
  errorScopes: { waits: 5, delayMs: 1.8, quietMs: 40, anyWait: false },
};

/**
 * Rounds without a delay after which there is none; one with a delay is enough. Chrome sometimes answers a few
 * waits at once that it would delay at other times.
 */
const ROUNDS = 4;

/** A wait is nudged at full pace for this long. In what takes longer, Chrome's delay is less than a tenth. */
const EAGER_MS = 20;
/** Firefox gets at most one empty submit in this time: more of them would only fill its queue. */
const SUBMIT_INTERVAL_MS = 1;
/** Later, the interval is this part of the time waited, and at least the shortest timer of browsers. */
const LATER_PART = 1 / 20;
const SHORTEST_TIMER_MS = 4;
/** Nothing is gained by submits that come less often than Firefox's own timer. */
const LONGEST_INTERVAL_MS = 100;

/**
 * Takes about 0.1 ms on any GPU, as its steps depend on each other. Chrome delays only what is not finished at
 * its first look.
 */
const SHORT_KERNEL =
  '@group(0) @binding(0) var<storage, read_write> x: f32; @compute @workgroup_size(1) fn main() { var y = x; for (var i = 0; i < 8000; i++) { y = y * 0.999 + 0.5; } x = y; }';

/** The clock and the timers, which tests replace. */
export interface Clock {
  readonly nowMs: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** Resolves in the next task: sooner than any timer, and other tasks of the page come between. */
  readonly nextTask: () => Promise<void>;
}

export class PollingDelay {
  readonly #device: GPUDevice;
  readonly #nudge: Nudge;
  readonly #clock: Clock;
  /** Whether the browser delays waits; undefined until that is known. */
  #found: boolean | undefined;
  #roundsLeft = ROUNDS;
  #measuring = false;
  #nudging = false;
  #lost = false;
  /** Waits under way, and those of them that should be short. */
  #pending = 0;
  #pendingShort = 0;
  /** Waits so far, and when the last one began. */
  #begun = 0;
  #beganMs = 0;
  #kernel: ShortKernel | undefined;

  constructor(device: GPUDevice, nudge: Nudge, clock: Clock = realClock()) {
    this.#device = device;
    this.#nudge = nudge;
    this.#clock = clock;
    void device.lost.then(() => {
      this.#lost = true;
    });
    if (RULES[nudge].anyWait) void this.#measure();
  }

  /** Whether the browser delays waits; undefined until that is known. */
  get found(): boolean | undefined {
    return this.#found;
  }

  /** See `waitFor` in wait.ts. */
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
      if (anyWait && !lastsLong && this.#clock.nowMs() - beganMs >= delayMs) this.#found ??= true;
      void this.#measure();
    }
  }

  async #nudgeWhilePending(): Promise<void> {
    if (this.#found !== true || this.#nudging) return;
    this.#nudging = true;
    try {
      await (this.#nudge === 'emptySubmits' ? this.#submitNothing() : this.#openScopes());
    } catch {
      // A device that is lost takes no calls. Whoever waits learns it from the promise.
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
      this.#device.pushErrorScope('validation'); // closed in the same task: it catches nobody's errors
      await this.#device.popErrorScope();
    }
  }

  /** Goes on with the measurement while nobody waits. */
  async #measure(): Promise<void> {
    if (this.#measuring || this.#found !== undefined) return;
    this.#measuring = true;
    const { delayMs, quietMs, anyWait } = RULES[this.#nudge];
    try {
      while (this.#pending === 0 && !this.#lost && this.#found === undefined) {
        const begun = this.#begun;
        const undisturbed = (): boolean => this.#begun === begun;
        if (quietMs > 0) await this.#clock.sleep(quietMs);
        if (!undisturbed()) continue;
        const ms = await this.#round(undisturbed);
        if (ms >= delayMs && (anyWait || undisturbed())) this.#found ??= true;
        else if (undisturbed() && (this.#roundsLeft -= 1) === 0) this.#found = false;
      }
    } catch {
      this.#found = false; // the device is lost
    } finally {
      this.#measuring = false;
    }
    if (this.#found !== undefined) this.#kernel?.buffer.destroy();
    if (this.#pending > 0) void this.#nudgeWhilePending();
  }

  /** The median of some waits, in ms. */
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
      return encoder.finish();
    },
  };
}

function realClock(): Clock {
  const { port1, port2 } = new MessageChannel();
  const resolvers: (() => void)[] = [];
  port1.onmessage = () => resolvers.shift()?.();
  return {
    nowMs: () => performance.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    nextTask: () =>
      new Promise((resolve) => {
        resolvers.push(resolve);
        port2.postMessage(0);
      }),
  };
}
