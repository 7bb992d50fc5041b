/**
 * Times work on the GPU. With `timestamp-query` by the GPU's own clock, at the ends of a pass; browsers
 * coarsen it to steps of 65.5 µs, so a pass repeats its work until it takes milliseconds. Without it by the
 * clock of the page, around whole submits.
 */
import type { Gpu } from '../device.js';
import { SUBMIT_MS } from '../submits.js';
import type { Task } from '../task.js';

/** What is timed. */
export interface Work {
  /**
   * Encodes the work once. It is called several times in a pass, so the work must not depend on what it wrote
   * itself.
   */
  readonly encode: (pass: GPUComputePassEncoder) => void;
  /** A guess of its length until it is measured: submits stay short. */
  readonly seconds: number;
}

/** Which clock was read: the GPU's, or the page's around submits, which also counts what a submit costs. */
export type Timer = 'timestamp-query' | 'submits';

/** A pass is repeated until it takes this long: 30 steps of the coarsened clock. */
const PASS_SECONDS = 0.002;
/** The same for the page's clock, in which a submit and its end cost about half a millisecond. */
const SUBMIT_SECONDS = 0.02;
const MAX_REPEATS = 4096;
/** Who shows zero for this many has no clock, and repeating it further could hold the GPU for seconds. */
const CLOCKLESS_REPEATS = 256;
/** After so many rounds a work is measured as it is: its clock tells nothing steady. */
const MAX_ROUNDS = 32;
/** How often each work is measured, once its repeats are known; the median counts. */
const SAMPLES = 3;
/** Passes whose timestamps share a query set. */
const MAX_PASSES = 512;

export interface Timing {
  readonly work: Work;
  repeats: number;
  /** Of one repeat, in the last measurement; at first a guess. */
  seconds: number;
  readonly samples: number[];
}

/**
 * Seconds of each work, in the order given.
 * @throws DeviceError; the signal's reason
 */
export async function time(
  gpu: Gpu,
  works: readonly Work[],
  signal?: AbortSignal,
): Promise<{ readonly seconds: readonly number[]; readonly timer: Timer }> {
  return gpu.task('timing', signal, async (task) => {
    if (gpu.device.features.has('timestamp-query')) {
      const seconds = await timeAll(works, (timings) => passSeconds(gpu, task, timings), PASS_SECONDS);
      // Some drivers give zeros.
      if (seconds.every((each) => each > 0)) return { seconds, timer: 'timestamp-query' };
    }
    const seconds = await timeAll(works, (timings) => submitSeconds(task, timings), SUBMIT_SECONDS);
    return { seconds, timer: 'submits' };
  });
}

/** Seconds of each work, repeated as often as it says. */
export type Measure = (timings: readonly Timing[]) => Promise<readonly number[]>;

/**
 * Raises the repeats of each work until it takes `enough` seconds, then measures. A clock that rises meanwhile
 * makes a work shorter than it was: what comes after a first sample counts however short it is.
 */
export async function timeAll(works: readonly Work[], measure: Measure, enough: number): Promise<number[]> {
  const timings = works.map((work): Timing => ({ work, repeats: 1, seconds: work.seconds, samples: [] }));
  await measure(timings); // warm: clocks rise, drivers compile
  for (let round = 1; ; round++) {
    const pending = timings.filter(({ samples }) => samples.length < SAMPLES);
    if (pending.length === 0) break;
    const taken = await measure(pending);
    pending.forEach((timing, i) => {
      const seconds = taken[i]!;
      const isClockless = seconds === 0 && timing.repeats >= CLOCKLESS_REPEATS;
      const isLong = seconds >= enough || timing.repeats === MAX_REPEATS || isClockless;
      if (isLong || timing.samples.length > 0 || round >= MAX_ROUNDS)
        timing.samples.push(seconds / timing.repeats);
      // What is long for the clock is long for whoever waits: one measurement more would tell little.
      if (seconds >= 50 * enough && timing.samples.length === 1)
        timing.samples.push(timing.samples[0]!, timing.samples[0]!);
      if (!isLong)
        timing.repeats = Math.min(
          MAX_REPEATS,
          Math.ceil(timing.repeats * Math.min(16, Math.max(1.5, (1.5 * enough) / Math.max(seconds, 1e-9)))),
        );
      if (seconds > 0) timing.seconds = seconds / timing.repeats;
    });
  }
  return timings.map(({ samples }) => median(samples));
}

/** By the GPU's clock: a pass for each work, as many passes in a submit as are short together. */
async function passSeconds(gpu: Gpu, task: Task, timings: readonly Timing[]): Promise<number[]> {
  const taken: number[] = [];
  for (let begin = 0; begin < timings.length; begin += MAX_PASSES)
    taken.push(...(await passesOf(gpu, task, timings.slice(begin, begin + MAX_PASSES))));
  return taken;
}

async function passesOf({ device }: Gpu, task: Task, timings: readonly Timing[]): Promise<number[]> {
  const bytes = timings.length * 2 * BigUint64Array.BYTES_PER_ELEMENT;
  const { querySet, buffer } = task.burst((burst) => ({
    querySet: device.createQuerySet({ label: 'timestamps', type: 'timestamp', count: timings.length * 2 }),
    buffer: burst.queries('timestamps', bytes),
  }));
  try {
    for (let begin = 0; begin < timings.length;) {
      let end = begin;
      task.burst((burst) => {
        const encoder = burst.encoder();
        for (
          let seconds = 0;
          end < timings.length && (end === begin || seconds + total(timings[end]!) <= SUBMIT_MS / 1000);
          end++
        ) {
          seconds += total(timings[end]!);
          const [beginningOfPassWriteIndex, endOfPassWriteIndex] = [2 * end, 2 * end + 1];
          const pass = encoder.beginComputePass({
            label: 'timing',
            timestampWrites: { querySet, beginningOfPassWriteIndex, endOfPassWriteIndex },
          });
          encodeRepeats(pass, timings[end]!);
          pass.end();
        }
        if (end === timings.length) encoder.resolveQuerySet(querySet, 0, timings.length * 2, buffer, 0);
      });
      await task.computed();
      begin = end;
    }
    const stamps = new BigUint64Array(await task.read(buffer, 0, bytes));
    // A difference is small enough for a double; a clock that ran backwards counts as zero.
    return timings.map(
      (_, i) => Math.max(0, Number(BigInt.asIntN(64, stamps[2 * i + 1]! - stamps[2 * i]!))) / 1e9,
    );
  } finally {
    querySet.destroy();
    task.burst((burst) => burst.free(buffer));
  }
}

/** By the page's clock: a submit for each work, less what an empty one takes. */
async function submitSeconds(task: Task, timings: readonly Timing[]): Promise<number[]> {
  const wall = async (timing?: Timing): Promise<number> => {
    const startMs = performance.now();
    task.burst((burst) => {
      const pass = burst.pass();
      if (timing) encodeRepeats(pass, timing);
    });
    await task.computed();
    return (performance.now() - startMs) / 1000;
  };
  const empty = median([await wall(), await wall(), await wall()]);
  const taken: number[] = [];
  for (const timing of timings) taken.push(Math.max(0, (await wall(timing)) - empty));
  return taken;
}

const total = ({ seconds, repeats }: Timing): number => seconds * repeats;

function encodeRepeats(pass: GPUComputePassEncoder, { work, repeats }: Timing): void {
  for (let i = 0; i < repeats; i++) work.encode(pass);
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
