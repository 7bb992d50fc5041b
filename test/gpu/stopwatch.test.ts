// Which repeats are chosen, and when measuring ends, with clocks that the test plays.
import { expect, it } from 'vitest';
import { timeAll, type Measure, type Work } from '../../src/gpu/measure/stopwatch.js';

const work: Work = { encode: () => undefined, seconds: 1e-3 };
const ENOUGH = 0.02;

/** Measures a work that takes `secondsOf(round)` a repeat; gives up after 200 rounds. */
async function timed(
  secondsOf: (round: number, repeats: number) => number,
): Promise<{ seconds: number; rounds: number; repeats: number }> {
  let rounds = 0;
  let repeats = 1;
  const measure: Measure = async (timings) => {
    rounds += 1;
    if (rounds > 200) throw new Error('it does not end');
    repeats = timings[0]!.repeats;
    return timings.map((timing) => secondsOf(rounds, timing.repeats) * timing.repeats);
  };
  const [seconds] = await timeAll([work], measure, ENOUGH);
  return { seconds: seconds!, rounds, repeats };
}

it('a steady clock: repeats until it is long enough, then three samples', async () => {
  const { seconds, rounds, repeats } = await timed(() => 1e-3);
  expect(seconds).toBeCloseTo(1e-3, 12);
  expect(repeats * 1e-3).toBeGreaterThanOrEqual(ENOUGH);
  expect(rounds).toBeLessThan(10);
});

it("a GPU's clock that rises: one sample is long enough, and the later ones never are", async () => {
  // Idle at first: the warm run and the first sample take 30 ms, what follows 10 µs.
  const { seconds, rounds } = await timed((round) => (round <= 2 ? 0.03 : 1e-5));
  expect(seconds).toBeCloseTo(1e-5, 12);
  expect(rounds).toBeLessThan(10);
});

it('a clock that falls: throttled in the middle', async () => {
  const { seconds, rounds } = await timed((round) => (round < 4 ? 1e-4 : 1e-2));
  expect(seconds).toBeCloseTo(1e-2, 12);
  expect(rounds).toBeLessThan(40);
});

it('a clock that stands still is given up, as 0', async () => {
  const { seconds, repeats } = await timed(() => 0);
  expect(seconds).toBe(0);
  expect(repeats).toBeLessThanOrEqual(4096);
});

it('a clock without any order ends all the same', async () => {
  let state = 7;
  const { rounds } = await timed((_, repeats) => {
    state = (state * 16807) % 2147483647;
    return ((state % 1000) / 1000) * (0.0199 / repeats); // always short of enough
  });
  expect(rounds).toBeLessThanOrEqual(40);
});

it('a long work is measured once', async () => {
  const { seconds, rounds } = await timed(() => 1.5);
  expect(seconds).toBe(1.5);
  expect(rounds).toBe(2);
});

it('a clock that never answers is the device, which is lost: the error ends it', async () => {
  await expect(timeAll([work], () => Promise.reject(new Error('lost')), ENOUGH)).rejects.toThrow('lost');
});
