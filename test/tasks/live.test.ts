// The loop of live video with a fake model and fake frames: order, bounds, dropped frames, and how it ends.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { DeviceError } from '../../src/errors.ts';
import { Random } from '../random.ts';
import { FakeFrame, received, sleep, World } from './liveWorld.ts';

afterEach(() => void vi.restoreAllMocks());

/** A function that returns promises, and a function that resolves the oldest of them. */
function gate(): { wait: () => Promise<void>; open: () => void } {
  const waiting: (() => void)[] = [];
  return {
    wait: () => new Promise((resolve) => waiting.push(resolve)),
    open: () => waiting.shift()?.(),
  };
}

test('the newest frame wins: while two frames are in flight, a new frame replaces the waiting one', async () => {
  const world = new World();
  const { wait, open } = gate();
  world.featuresTake = wait;
  const live = world.start();
  for (let i = 0; i < 6; i++) {
    world.push();
    await received(live, i + 1);
  }
  expect(world.inFlight).toBe(2);
  expect(world.frames.map(({ closed }) => closed)).toEqual([0, 0, 1, 1, 1, 0]);
  expect([live.framesIn, live.framesDropped]).toEqual([6, 3]);
  for (let i = 0; i < 3; i++) {
    open();
    await vi.waitFor(() => expect(world.delivered).toHaveLength(i + 1), { interval: 1 });
  }
  expect(world.delivered).toEqual([0, 1, 5]);
  live.stop();
  await live.finished;
  world.expectFreed(live);
});

test('maxInFlight 1: the second frame waits', async () => {
  const world = new World();
  const { wait } = gate();
  world.computedTakes = wait;
  const live = world.start({ maxInFlight: 1 });
  world.push();
  world.push();
  await received(live, 2);
  expect(world.delivered).toEqual([0]);
  expect(world.frames.map(({ closed }) => closed)).toEqual([1, 0]); // the first is closed before the GPU has finished
  expect(world.mostInFlight).toBe(1);
  live.stop();
});

test('the end of a stream: the last frame is delivered before `finished` resolves', async () => {
  const world = new World();
  world.featuresTake = () => sleep(5);
  const live = world.start();
  for (let i = 0; i < 5; i++) world.push();
  world.controller.close();
  await live.finished;
  expect(world.delivered.at(-1)).toBe(4);
  expect(world.delivered.length + live.framesDropped).toBe(5);
  expect(world.cancelled).toEqual([]);
  expect(world.stream.locked).toBe(false);
  world.expectFreed(live);
});

test('onFrame: index, time and frame; calls do not overlap although two frames are in flight', async () => {
  const world = new World();
  const seen: unknown[] = [];
  world.onFrameTakes = async (features, { index, timestampMs, frame }) => {
    seen.push([index, timestampMs, frame === (features.frame as unknown)]);
    await sleep(3);
  };
  const live = world.start();
  for (let i = 0; i < 3; i++) world.push();
  world.controller.close();
  await live.finished;
  expect(seen).toEqual([
    [0, 0, true],
    [1, 1, true],
    [2, 2, true],
  ]);
  expect([world.mostInFlight, world.mostInOnFrame]).toEqual([2, 1]);
});

test('info.keep() leaves the features to the caller', async () => {
  const world = new World();
  world.onFrameTakes = (_, { keep }) => keep();
  const live = world.start();
  world.push();
  world.controller.close();
  await live.finished;
  expect(world.made.map(({ disposed }) => disposed)).toEqual([0]);
});

test('stop: `finished` resolves, the stream is cancelled, and onFrame is not called again', async () => {
  const world = new World();
  const { wait, open } = gate();
  world.featuresTake = wait;
  const live = world.start();
  for (let i = 0; i < 3; i++) world.push();
  await received(live, 3);
  live.stop();
  live[Symbol.dispose]();
  expect(world.frames[2]!.closed).toBe(1);
  open();
  open();
  await live.finished;
  expect(world.delivered).toEqual([]);
  expect(world.cancelled).toHaveLength(1);
  world.expectFreed(live);
});

test('stop within onFrame', async () => {
  const world = new World();
  world.onFrameTakes = () => live.stop();
  const live = world.start();
  for (let i = 0; i < 3; i++) world.push();
  await live.finished;
  expect(world.delivered).toEqual([0]);
  world.expectFreed(live);
});

describe('an error', () => {
  test.each(['features', 'onFrame', 'computed', 'source'])('of %s', async (where) => {
    const world = new World();
    const error = new DeviceError('DEVICE_FAILED', 'The device failed.');
    const fail = (): Promise<void> => Promise.reject(error);
    if (where === 'features') world.featuresTake = fail;
    if (where === 'onFrame') world.onFrameTakes = fail;
    if (where === 'computed') world.computedTakes = fail;
    const live = world.start();
    live.finished.catch(() => undefined); // awaited below
    for (let i = 0; i < 3; i++) world.push();
    if (where === 'source') await received(live, 3);
    if (where === 'source') world.controller.error(error);
    await expect(live.finished).rejects.toBe(error);
    if (where === 'source') expect(live.framesIn).toBe(3);
    world.expectFreed(live);
  });

  test.each(['features', 'onFrame', 'computed'])(
    'of %s: losses of the device cost three frames in a row at most',
    async (where) => {
      const world = new World();
      const error = new DeviceError('DEVICE_LOST', 'The device was lost.');
      let failures = 3;
      const fail = (): Promise<void> => (failures-- > 0 ? Promise.reject(error) : Promise.resolve());
      if (where === 'features') world.featuresTake = fail;
      if (where === 'onFrame') world.onFrameTakes = fail;
      if (where === 'computed') world.computedTakes = fail;
      const live = world.start();
      live.finished.catch(() => undefined); // awaited below
      const push = async (): Promise<void> => {
        const { framesIn } = live;
        world.push();
        await received(live, framesIn + 1);
        await sleep(5);
      };
      for (let i = 0; i < 4; i++) await push();
      expect(live.framesDropped).toBe(3);
      expect(world.delivered.at(-1)).toBe(3);
      failures = 4;
      for (let i = 0; i < 4; i++) await push();
      await expect(live.finished).rejects.toBe(error);
      world.expectFreed(live);
    },
  );

  test('only the first one counts', async () => {
    const world = new World();
    world.featuresTake = async () => {
      await sleep(world.made.length + 1);
      throw new Error('first');
    };
    const live = world.start();
    world.push();
    world.push();
    await sleep(1);
    world.controller.error(new Error('second'));
    await expect(live.finished).rejects.toThrow(/first|second/);
    world.expectFreed(live);
  });
});

test('an abort: `finished` rejects with the reason, also if nothing handles it', async () => {
  const world = new World();
  const unhandled = vi.fn();
  process.on('unhandledRejection', unhandled);
  const controller = new AbortController();
  const live = world.start({ signal: controller.signal });
  for (let i = 0; i < 3; i++) world.push();
  await received(live, 3);
  const reason = new Error('enough');
  controller.abort(reason);
  await sleep(5);
  process.off('unhandledRejection', unhandled);
  expect(unhandled).not.toHaveBeenCalled();
  await expect(live.finished).rejects.toBe(reason);
  expect(() => world.start({ signal: controller.signal }, new ReadableStream())).toThrow(reason);
  world.expectFreed(live);
});

test('random schedules: every frame is closed once, order and bounds hold, and `finished` settles', async () => {
  const run = async (seed: number): Promise<void> => {
    const random = new Random(seed);
    const world = new World();
    const some = (most: number): Promise<void> => sleep(random.integer(0, most));
    const failing = random.integer(0, 5);
    const ending = random.pick(['stop', 'abort', 'close', 'error', 'onFrame', 'features', 'computed']);
    const count = random.integer(1, 20);
    const failure = new Error(`seed ${seed}`);
    const failIf = (where: string): void => {
      if (ending === where && world.delivered.length >= failing) throw failure;
    };
    world.featuresTake = async () => (await some(4), failIf('features'));
    world.onFrameTakes = async () => (await some(2), failIf('onFrame'));
    world.computedTakes = async () => (await some(4), failIf('computed'));
    const maxInFlight = random.pick([1, 2] as const);
    const aborter = new AbortController();
    const live = world.start({ maxInFlight, signal: aborter.signal });
    const outcome = live.finished.then(
      () => 'resolved',
      (error: unknown) => error,
    );
    for (let i = 0; i < count; i++) {
      if (world.cancelled.length > 0) break;
      world.push();
      if (random.next() < 0.8) await some(3);
    }
    if (ending === 'abort') aborter.abort(failure);
    else if (ending === 'error') world.controller.error(failure);
    else if (ending === 'close') world.controller.close();
    else live.stop();
    const settled = await outcome;
    if (['stop', 'close'].includes(ending)) expect(settled).toBe('resolved');
    if (['abort', 'error'].includes(ending)) expect(settled).toBe(failure);
    expect(['resolved', failure]).toContain(settled);
    await sleep(1);
    world.expectFreed(live);
    expect(world.delivered).toEqual([...world.delivered].sort((a, b) => a - b));
    expect(world.mostInFlight).toBeLessThanOrEqual(maxInFlight);
    expect(world.mostInOnFrame).toBeLessThanOrEqual(1);
    if (ending === 'close') {
      expect(world.delivered.length + live.framesDropped).toBe(count);
      expect(world.delivered.at(-1)).toBe(count - 1);
    }
  };
  await Promise.all(Array.from({ length: 200 }, (_, seed) => run(seed)));
});

test('fps: frames delivered per second, over the last two seconds', async () => {
  let nowMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  const world = new World();
  const live = world.start();
  expect(live.fps).toBe(0);
  for (let i = 0; i < 40; i++) {
    world.push();
    await vi.waitFor(() => expect(world.made[i]?.disposed).toBe(1), { interval: 1 });
    if (i === 10) expect(live.fps).toBeCloseTo(10);
    nowMs += 100;
  }
  expect(live.fps).toBeCloseTo(9.5); // 19 frames in the last two seconds, the last one 0.1 s ago
  nowMs += 1000;
  expect(live.fps).toBeCloseTo(4.5);
  nowMs += 1000;
  expect(live.fps).toBe(0);
  live.stop();
  await live.finished;
});

test('a stream that always has a frame leaves the page time for other tasks', async () => {
  const world = new World();
  let index = 0;
  const stream = new ReadableStream({
    pull: (controller) => {
      const frame = new FakeFrame(index++);
      world.frames.push(frame);
      controller.enqueue(frame);
    },
  });
  world.computedTakes = () => sleep(2);
  const live = world.start({}, stream);
  // Never ends if the loop does not let timers run.
  await vi.waitFor(() => expect(live.framesIn).toBeGreaterThan(2), { interval: 1, timeout: 10_000 });
  live.stop();
  await live.finished;
  world.expectFreed(live);
});
