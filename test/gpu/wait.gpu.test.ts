// Batching of reads into one copy and one map, and pipelining of consecutive submits.
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { GpuMemory } from '../../src/gpu/memory.ts';
import { bitsOfForward, pixelsOf, requestDevice, tiny } from './tiny.ts';

const device = await requestDevice();
const gpu = await acquireGpu(device);
const { memory } = gpu;
afterAll(() => device.destroy());
afterEach(() => vi.restoreAllMocks());

const numbers = (from: number, count: number): Uint32Array<ArrayBuffer> =>
  Uint32Array.from({ length: count }, (_, i) => from + i);
const read = async (buffer: GPUBuffer, first: number, count: number): Promise<number[]> => [
  ...new Uint32Array(await gpu.read(buffer, 4 * first, 4 * count)),
];

describe('reads', () => {
  test('made together take one submit and one map, and each gets its own bytes', async () => {
    const a = memory.storageOf('a', numbers(100, 9));
    const b = memory.storageOf('b', numbers(200, 5));
    const submit = vi.spyOn(device.queue, 'submit');
    const create = vi.spyOn(device, 'createBuffer');
    const found = await Promise.all([read(a, 0, 3), read(b, 1, 4), read(a, 8, 1), read(a, 0, 9)]);
    expect(found).toEqual([[100, 101, 102], [201, 202, 203, 204], [108], [...numbers(100, 9)]]);
    expect(submit).toHaveBeenCalledTimes(1);
    expect(create).toHaveBeenCalledTimes(1);
    expect(create.mock.calls[0]![0].size).toBe(4 * 17);
    memory.destroy(a);
    memory.destroy(b);
    expect(memory.bytes).toBe(0);
  });

  test('of the tokens of one result take one map', async () => {
    const model = await DINOv2.synthetic(tiny, { device, selfTest: false });
    const features = await model.forward(pixelsOf(28, 42), { height: 28, width: 42 });
    const all = await features.lastHiddenState();
    const create = vi.spyOn(device, 'createBuffer');
    const [cls, patches] = await Promise.all([features.clsToken(), features.patchTokens()]);
    expect(create).toHaveBeenCalledTimes(1);
    expect(cls).toEqual(all.slice(0, 64));
    expect(patches).toEqual(all.slice(64));
    features.dispose();
    model.dispose();
    await expect.poll(() => memory.bytes).toBe(0);
  });

  test('of a buffer that is destroyed right afterwards still give its bytes, and those of other buffers', async () => {
    const a = memory.storageOf('a', numbers(1, 4));
    const b = memory.storageOf('b', numbers(5, 4));
    const both = Promise.all([read(a, 0, 4), read(b, 0, 4)]);
    memory.destroy(b);
    memory.destroy(a);
    expect(await both).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ]);
    expect(memory.buffers).toBe(0);
  });

  test('larger than the maximum buffer size are split over several copies; a single read that is too large is rejected', async () => {
    const limits = { maxBufferSize: 32, maxStorageBufferBindingSize: 32 };
    const small = new GpuMemory(
      new Proxy(device, {
        get: (target, name): unknown => {
          const value: unknown = name === 'limits' ? limits : Reflect.get(target, name);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
    );
    const a = small.storageOf('a', numbers(0, 8));
    const create = vi.spyOn(device, 'createBuffer');
    const found = await Promise.allSettled(
      [16, 16, 36, 32, 4].map(async (bytes) => new Uint32Array(await small.read(a, 0, bytes)).length),
    );
    expect(found).toEqual([
      { status: 'fulfilled', value: 4 },
      { status: 'fulfilled', value: 4 },
      { status: 'rejected', reason: expect.objectContaining({ code: 'DEVICE_LIMIT' }) as unknown },
      { status: 'fulfilled', value: 8 },
      { status: 'fulfilled', value: 1 },
    ]);
    expect(create.mock.calls.map(([{ size }]) => size)).toEqual([32, 32, 4]);
    small.destroy(a);
    expect(small.buffers).toBe(0);
  });

  test('reject if the device rejects the copy, instead of returning zeros', async () => {
    const a = memory.storageOf('a', numbers(1, 4));
    a.destroy();
    await expect(gpu.read(a, 0, 16)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringContaining('a (read back): the GPU rejected an operation') as unknown,
    });
    memory.destroy(a);
    expect(memory.buffers).toBe(0);
  });
});

describe('a forward in several submits', () => {
  /** For each submit of `run`, the number of unfinished submits, itself included. */
  async function underWay(run: () => Promise<unknown>): Promise<number[]> {
    vi.spyOn(gpu, 'flopsPerSecond', 'get').mockReturnValue(1);
    const { queue } = device;
    const submit = queue.submit.bind(queue);
    const done = queue.onSubmittedWorkDone.bind(queue);
    const counts: number[] = [];
    let unfinished = 0;
    vi.spyOn(queue, 'submit').mockImplementation((commands) => {
      counts.push((unfinished += 1));
      submit(commands);
    });
    vi.spyOn(queue, 'onSubmittedWorkDone').mockImplementation(async () => {
      await done();
      await new Promise((resolve) => setTimeout(resolve, 5));
      unfinished -= 1;
      return undefined;
    });
    await run();
    vi.restoreAllMocks();
    return counts;
  }

  test('keeps two submits unfinished at a time, never three', async () => {
    const model = await DINOv2.synthetic(tiny, { device, selfTest: false });
    const whole = await bitsOfForward(model, 42, 42);
    let features!: Awaited<ReturnType<typeof model.forward>>;
    const saw = vi.spyOn(gpu.throughput, 'record');
    const counts = await underWay(async () => {
      features = await model.forward(pixelsOf(42, 42), { height: 42, width: 42 });
      await vi.waitFor(() => expect(saw).toHaveBeenCalledTimes(1)); // the forward does not wait for its last measurement
    });
    expect(counts.length).toBeGreaterThan(8);
    expect(Math.max(...counts)).toBe(2);
    expect(counts.slice(1).every((count) => count === 2)).toBe(true);
    expect(new Uint32Array((await features.lastHiddenState()).buffer)).toEqual(whole);
    features.dispose();
    model.dispose();
  });

  test('stops between two submits after an abort', async () => {
    const model = await DINOv2.synthetic(tiny, { device, selfTest: false });
    const whole = await bitsOfForward(model, 42, 42);
    const controller = new AbortController();
    const reason = new Error('the visitor left');
    const counts = await underWay(async () => {
      const forward = model.forward(
        pixelsOf(42, 42),
        { height: 42, width: 42 },
        { signal: controller.signal },
      );
      setTimeout(() => controller.abort(reason), 15);
      await expect(forward).rejects.toBe(reason);
    });
    expect(counts.length).toBeGreaterThanOrEqual(2);
    expect(counts.length).toBeLessThan(9);
    expect(await bitsOfForward(model, 42, 42)).toEqual(whole);
    model.dispose();
  });
});
