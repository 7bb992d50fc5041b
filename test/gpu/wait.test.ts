import { expect, test } from 'vitest';
import { PollingDelay, type Nudge } from '../../src/gpu/pollingDelay.ts';
import { nudgeOf } from '../../src/gpu/wait.ts';
import { chrome, firefox, withoutDelay, World, type Browser } from './waitWorld.ts';

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0';
const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36';
const SAFARI =
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15';

function start(browser: Browser, nudge: Nudge): { world: World; delay: PollingDelay } {
  const world = new World(browser);
  const device: Partial<GPUDevice> = world.device as never;
  return { world, delay: new PollingDelay(device as GPUDevice, nudge, world.clock) };
}

/** Starts a world and completes the delay measurement, which in Chrome begins after the first wait. */
async function measured(browser: Browser, nudge: Nudge): Promise<ReturnType<typeof start>> {
  const started = start(browser, nudge);
  const { world, delay } = started;
  await world.until(delay.waitFor(world.work(1), false));
  await world.until(1000);
  world.emptySubmitsMs.length = 0;
  world.scopes = 0;
  return started;
}

/** Runs waits for work of these lengths one after the other, with pauses, and returns how long each took. */
async function waits(
  { world, delay }: ReturnType<typeof start>,
  workMs: readonly number[],
  lastsLong = false,
): Promise<number[]> {
  const taken: number[] = [];
  for (const ms of workMs) {
    await world.until(13.7);
    taken.push(await world.until(delay.waitFor(world.work(ms), lastsLong)));
  }
  return taken;
}

const WORK_MS = [0.1, 0.5, 1, 3, 8, 15, 40, 90, 300];

test('nudgeOf gives the call that makes each browser check for finished work', () => {
  expect(nudgeOf(FIREFOX, '')).toBe('emptySubmits');
  expect(nudgeOf(CHROME, 'nvidia')).toBe('errorScopes');
  expect(nudgeOf(`${CHROME} Edg/156.0.0.0`, 'intel')).toBe('errorScopes');
  for (const [browser, vendor] of [
    [CHROME, 'apple'],
    [FIREFOX, 'apple'],
    [SAFARI, 'apple'],
    [SAFARI, ''],
    ['Node.js/22', 'google'],
    ['', ''],
  ] as const)
    expect(nudgeOf(browser, vendor), `${browser} ${vendor}`).toBeUndefined();
});

test("Firefox: the delay is found at the browser's first check, and waits end soon after their work", async () => {
  const { world, delay } = start(firefox, 'emptySubmits');
  expect(delay.hasDelay).toBeUndefined();
  await world.until(101);
  expect(delay.hasDelay).toBe(true);
  const taken = await waits({ world, delay }, WORK_MS);
  for (const [i, ms] of taken.entries()) {
    expect(ms).toBeGreaterThanOrEqual(WORK_MS[i]! - 1e-6);
    const late = WORK_MS[i]! < 20 ? 1.2 : Math.max(4.2, WORK_MS[i]! / 15);
    expect(ms).toBeLessThanOrEqual(WORK_MS[i]! + late);
  }
  expect(world.kernelsMs).toEqual([]);
  expect(world.scopes).toBe(0);
});

test('Firefox: a wait that is pending when the delay is found is shortened too', async () => {
  const { world, delay } = start(firefox, 'emptySubmits');
  await world.until(50);
  expect(await world.until(delay.waitFor(world.work(60), false))).toBeLessThan(65);
});

test('Firefox: the delay is found even if continuous waits disturb every round of the measurement', async () => {
  const { world, delay } = start(firefox, 'emptySubmits');
  await world.until(1);
  const taken: number[] = [];
  for (let i = 0; i < 10; i++) taken.push(await world.until(delay.waitFor(world.work(0.5), false)));
  expect(Math.max(...taken)).toBeGreaterThan(60);
  expect(taken.slice(2).every((ms) => ms < 2)).toBe(true);
});

test('Firefox without a delay: disturbed rounds do not count', async () => {
  const browser = { ...withoutDelay, looksAtSubmits: true };
  const { world, delay } = start(browser, 'emptySubmits');
  for (let i = 0; i < 10; i++) await world.until(delay.waitFor(world.work(0.5), false));
  await world.until(1);
  expect(delay.hasDelay).toBe(false);
  expect(world.emptySubmitsMs).toEqual([]);
});

test('Firefox: at most one empty submit per millisecond, few in long waits, and none without a wait', async () => {
  const { world, delay } = await measured(firefox, 'emptySubmits');
  await world.until(delay.waitFor(world.work(15), false));
  const { emptySubmitsMs: at } = world;
  expect(at.length).toBeGreaterThan(10);
  expect(at.every((ms, i) => i === 0 || ms - at[i - 1]! >= 1)).toBe(true);
  at.length = 0;
  await world.until(delay.waitFor(world.work(1000), false));
  expect(at.length).toBeLessThan(120);
  at.length = 0;
  await world.until(1000);
  expect(at).toEqual([]);
});

test('Firefox: a wait that is known to be long does not busy-wait', async () => {
  const { world, delay } = await measured(firefox, 'emptySubmits');
  let tasks = 0;
  const { nextTask } = world.clock;
  Object.assign(world.clock, { nextTask: () => ((tasks += 1), nextTask()) });
  const [taken] = await waits({ world, delay }, [100], true);
  expect(taken).toBeLessThan(106);
  expect(tasks).toBe(0);
  await waits({ world, delay }, [1]);
  expect(tasks).toBeGreaterThan(0);
});

test('Firefox without a delay: the measurement ends within 10 ms, and no empty submit follows', async () => {
  const { world, delay } = start(withoutDelay, 'emptySubmits');
  await world.until(10);
  expect(delay.hasDelay).toBe(false);
  expect(await waits({ world, delay }, WORK_MS)).toEqual(WORK_MS.map((ms) => expect.closeTo(ms, 6)));
  expect(world.emptySubmitsMs).toEqual([]);
});

test('Chrome: the delay is found while no wait is pending, and waits end soon after their work', async () => {
  const { world, delay } = start(chrome, 'errorScopes');
  await world.until(1000);
  expect(world.kernelsMs).toEqual([]); // the measurement does not start before the first wait
  await world.until(delay.waitFor(world.work(1), false));
  const overMs = world.nowMs;
  await world.until(100);
  expect(delay.hasDelay).toBe(true);
  expect(world.kernelsMs[0]! - overMs).toBeGreaterThanOrEqual(40);
  expect(world.scopes).toBe(0);
  const taken = await waits({ world, delay }, WORK_MS);
  for (const [i, ms] of taken.entries()) {
    expect(ms).toBeGreaterThanOrEqual(WORK_MS[i]! - 1e-6);
    expect(ms).toBeLessThanOrEqual(WORK_MS[i]! + (WORK_MS[i]! < 20 ? 0.1 : 2.2));
  }
  expect(world.openScopes).toBe(0);
  expect(world.emptySubmitsMs).toEqual([]);
});

test('Chrome: no error scopes after 20 ms, nor for a wait that is known to be long', async () => {
  const { world, delay } = await measured(chrome, 'errorScopes');
  await waits({ world, delay }, [2000]);
  expect(world.scopes).toBeLessThanOrEqual(20 / 0.03 + 1);
  world.scopes = 0;
  await waits({ world, delay }, [100], true);
  expect(world.scopes).toBe(0);
});

test('Chrome without a delay: the measurement takes 20 kernels, and no error scope follows', async () => {
  const { world, delay } = await measured(withoutDelay, 'errorScopes');
  expect(delay.hasDelay).toBe(false);
  expect(world.kernelsMs).toHaveLength(20);
  expect(await waits({ world, delay }, WORK_MS)).toEqual(WORK_MS.map((ms) => expect.closeTo(ms, 6)));
  expect(world.scopes).toBe(0);
});

test('Chrome: a round of the measurement does not count if a wait disturbs it', async () => {
  // The pause of 40.15 ms between waits is long enough for a round to begin, but not for it to end.
  const { world, delay } = start(withoutDelay, 'errorScopes');
  for (let i = 0; i < 20; i++) {
    const wait = delay.waitFor(world.work(30), false);
    await world.until(wait);
    await world.until(40.15);
  }
  expect(world.kernelsMs.length).toBeGreaterThan(0);
  expect(delay.hasDelay).toBeUndefined();
  await world.until(1000);
  expect(delay.hasDelay).toBe(false);
});

test('the calls to the browser end if the device is lost or a promise never settles', async () => {
  for (const [browser, nudge] of [
    [firefox, 'emptySubmits'],
    [chrome, 'errorScopes'],
  ] as const) {
    const lost = await measured(browser, nudge);
    void lost.delay.waitFor(new Promise(() => undefined), false);
    await lost.world.until(5);
    lost.world.lose();
    await lost.world.until(0);
    const calls = lost.world.emptySubmitsMs.length + lost.world.scopes;
    expect(calls).toBeGreaterThan(0);
    await lost.world.until(1000);
    expect(lost.world.emptySubmitsMs.length + lost.world.scopes).toBeLessThanOrEqual(calls + 1);

    const never = await measured(browser, nudge);
    void never.delay.waitFor(new Promise(() => undefined), false);
    await never.world.until(10_000);
    never.world.emptySubmitsMs.length = never.world.scopes = 0;
    await never.world.until(10_000);
    expect(never.world.emptySubmitsMs.length + never.world.scopes).toBe(0);
  }
});

test('the buffer of the measurement is destroyed at its end, and when the device is lost before', async () => {
  expect((await measured(chrome, 'errorScopes')).world.buffers.size).toBe(0);
  // Lost while a round runs, and while a wait has interrupted the measurement.
  for (const waiting of [false, true]) {
    const { world, delay } = start(withoutDelay, 'errorScopes');
    await world.until(delay.waitFor(world.work(1), false));
    while (world.buffers.size === 0) await world.until(1);
    if (waiting) void delay.waitFor(new Promise(() => undefined), false);
    await world.until(waiting ? 100 : 0);
    expect(delay.hasDelay).toBeUndefined();
    world.lose();
    await world.until(100);
    expect(world.buffers.size).toBe(0);
  }
});

test('a wait settles as its promise does', async () => {
  const { world, delay } = await measured(firefox, 'emptySubmits');
  const value = {};
  expect(await delay.waitFor(Promise.resolve(value), false)).toBe(value);
  const reason = new Error('unmapped');
  await expect(delay.waitFor(Promise.reject(reason), false)).rejects.toBe(reason);
  expect(world.emptySubmitsMs.length).toBeLessThanOrEqual(2);
});
