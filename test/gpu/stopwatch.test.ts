// timeAll with simulated clocks: the number of repeats that it chooses, and when measuring ends.
import { expect, it } from 'vitest';
import { timeAll, type Measure, type Work } from '../../src/gpu/measure/stopwatch.js';

const work: Work = { encode: () => undefined, seconds: 1e-3 };
const ENOUGH = 0.02;

/** Measures work that takes `secondsOf(round)` seconds per repeat; gives up after 200 rounds. */
async function timed(
  secondsOf: (round: number, repeats: number) => number,
): Promise<{ seconds: number; rounds: number; repeats: number }> {
  let rounds = 0;
  let repeats = 1;
  const measure: Measure = async (timings) => {
    rounds += 1;
    if (rounds > 200) throw new Error('measuring does not end');
    repeats = timings[0]!.repeats;
    return timings.map((timing) => secondsOf(rounds, timing.repeats) * timing.repeats);
  };
  const [seconds] = await timeAll([work], measure, ENOUGH);
  return { seconds: seconds!, rounds, repeats };
}

it('constant speed: the repeats grow until a sample is long enough, then three samples are taken', async () => {
  const { seconds, rounds, repeats } = await timed(() => 1e-3);
  expect(seconds).toBeCloseTo(1e-3, 12);
  expect(repeats * 1e-3).toBeGreaterThanOrEqual(ENOUGH);
  expect(rounds).toBeLessThan(10);
});

it('a GPU that speeds up: measuring ends although only the first sample is long enough', async () => {
  // The GPU is idle at first: the warm-up and the first sample take 30 ms, later repeats 10 µs.
  const { seconds, rounds } = await timed((round) => (round <= 2 ? 0.03 : 1e-5));
  expect(seconds).toBeCloseTo(1e-5, 12);
  expect(rounds).toBeLessThan(10);
});

it('a GPU that slows down while it is measured gives the slower time', async () => {
  const { seconds, rounds } = await timed((round) => (round < 4 ? 1e-4 : 1e-2));
  expect(seconds).toBeCloseTo(1e-2, 12);
  expect(rounds).toBeLessThan(40);
});

it('a timer that always shows 0 gives 0 after at most 4096 repeats', async () => {
  const { seconds, repeats } = await timed(() => 0);
  expect(seconds).toBe(0);
  expect(repeats).toBeLessThanOrEqual(4096);
});

it('random times that are always too short: measuring ends', async () => {
  let state = 7;
  const { rounds } = await timed((_, repeats) => {
    state = (state * 16807) % 2147483647;
    return ((state % 1000) / 1000) * (0.0199 / repeats); // always shorter than ENOUGH
  });
  expect(rounds).toBeLessThanOrEqual(40);
});

it('long work is measured once', async () => {
  const { seconds, rounds } = await timed(() => 1.5);
  expect(seconds).toBe(1.5);
  expect(rounds).toBe(2);
});

it('an error of the timer, such as a device loss, ends the measurement', async () => {
  await expect(timeAll([work], () => Promise.reject(new Error('lost')), ENOUGH)).rejects.toThrow('lost');
});
