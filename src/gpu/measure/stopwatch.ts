/**
 * Times work on the GPU. With the feature `timestamp-query`, the GPU's own clock is read at the beginning and
 * the end of a compute pass. Browsers round the GPU's clock to steps of 65.5 µs, so a pass repeats its work
 * until the pass takes milliseconds. Without the feature, the page's clock is read around whole submits.
 */
import type { Gpu } from '../device.js';
import { SUBMIT_MS } from '../submits.js';
import type { Task } from '../task.js';

/** Work to be timed. */
export interface Work {
  /** Encodes the work once. A pass calls it several times, so the work must not read its own output. */
  readonly encode: (pass: GPUComputePassEncoder) => void;
  /** Estimated time in seconds, which keeps submits short until the work is measured. */
  readonly seconds: number;
}

/**
 * The clock with which work was timed. `timestamp-query`: the GPU's clock. `submits`: the page's clock before
 * and after each submit, so a part of the cost of a submit is included.
 */
export type Timer = 'timestamp-query' | 'submits';

/**
 * With the GPU's clock, the repeats in one pass must take at least this many seconds: 30 steps of the rounded
 * clock.
 */
const PASS_SECONDS = 0.002;
/**
 * With the page's clock, the repeats must take at least this many seconds: an empty submit takes about half a
 * millisecond.
 */
const SUBMIT_SECONDS = 0.02;
/** Largest number of repeats in one measurement. */
const MAX_REPEATS = 4096;
/**
 * If a measurement with this many repeats still takes zero time, the GPU's clock does not work. More repeats
 * could block the GPU for seconds.
 */
const CLOCKLESS_REPEATS = 256;
/**
 * After this many rounds of measurements, every measurement is accepted, because the times of this adapter
 * do not become steady.
 */
const MAX_ROUNDS = 32;
/** Number of accepted measurements of each `Work`. The result is the median of these measurements. */
const SAMPLES = 3;
/** Largest number of passes whose timestamps share a query set. */
const MAX_PASSES = 512;

/** A `Work` with its measurements so far. */
export interface Timing {
  readonly work: Work;
  /** Number of times that a measurement repeats the work. */
  repeats: number;
  /** Seconds of one repeat in the last measurement. Before the first measurement: an estimate. */
  seconds: number;
  /** Seconds of one repeat, from each measurement that was long enough. */
  readonly samples: number[];
}

/**
 * Measures the time of each `Work`.
 *
 * @returns the seconds of each `Work`, in the order of `works`, and the clock that was used
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
      // Some drivers report zeros. In that case, the page's clock is used.
      if (seconds.every((each) => each > 0)) return { seconds, timer: 'timestamp-query' };
    }
    const seconds = await timeAll(works, (timings) => submitSeconds(task, timings), SUBMIT_SECONDS);
    return { seconds, timer: 'submits' };
  });
}

/**
 * Runs each `Work` `repeats` times. Resolves to the seconds that all repeats of each `Work` took together.
 */
export type Measure = (timings: readonly Timing[]) => Promise<readonly number[]>;

/**
 * Increases the repeats of each `Work` until they take `enough` seconds, then makes `SAMPLES` measurements.
 * After the first accepted measurement, shorter times are accepted too: the GPU's clock rate may rise, so
 * that the same repeats take less time.
 */
export async function timeAll(works: readonly Work[], measure: Measure, enough: number): Promise<number[]> {
  const timings = works.map((work): Timing => ({ work, repeats: 1, seconds: work.seconds, samples: [] }));
  await measure(timings); // warm-up: the result is not used, because clock rates rise and drivers compile
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
      // A single measurement of very long work is precise enough, and more measurements would take too much
      // time.
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

/**
 * Measures with the GPU's clock: one compute pass for each `Work`, and as many passes in a submit as
 * `SUBMIT_MS` allows.
 */
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
    // The difference of two timestamps fits into a float64. If the clock ran backwards, the difference is 0.
    return timings.map(
      (_, i) => Math.max(0, Number(BigInt.asIntN(64, stamps[2 * i + 1]! - stamps[2 * i]!))) / 1e9,
    );
  } finally {
    querySet.destroy();
    task.burst((burst) => burst.free(buffer));
  }
}

/**
 * Measures with the page's clock: the time of one submit for each `Work`, minus the time of an empty submit.
 */
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

/** Returns the median. For an even number of values: the mean of the two middle values. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
