// Reads that share a copy and a map, and submits that follow each other without a pause.
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
  test('asked for together: one submit, one map, each its own bytes', async () => {
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

  test('of one result: its tokens come with one map', async () => {
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

  test('a buffer that is destroyed just after: its bytes, and those of the others', async () => {
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

  test('more than a buffer may hold: in several, and what is too much alone is refused alone', async () => {
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

  test("a copy that the device refuses is an error on a caller's device, and not zeros", async () => {
    const a = memory.storageOf('a', numbers(1, 4));
    a.destroy();
    await expect(gpu.read(a, 0, 16)).rejects.toMatchObject({
      code: 'DEVICE_FAILED',
      message: expect.stringContaining('failed to copy results back') as unknown,
    });
    memory.destroy(a);
    expect(memory.buffers).toBe(0);
  });
});

describe('a forward in several submits', () => {
  /** How many submits of the forward the GPU had not finished at each of them, itself included. */
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

  test('two are under way, never three, and none when it is over', async () => {
    const model = await DINOv2.synthetic(tiny, { device, selfTest: false });
    const whole = await bitsOfForward(model, 42, 42);
    let features!: Awaited<ReturnType<typeof model.forward>>;
    const saw = vi.spyOn(gpu.throughput, 'record');
    const counts = await underWay(async () => {
      features = await model.forward(pixelsOf(42, 42), { height: 42, width: 42 });
      await vi.waitFor(() => expect(saw).toHaveBeenCalledTimes(1)); // nobody waits for it
    });
    expect(counts.length).toBeGreaterThan(8);
    expect(Math.max(...counts)).toBe(2);
    expect(counts.slice(1).every((count) => count === 2)).toBe(true);
    expect(new Uint32Array((await features.lastHiddenState()).buffer)).toEqual(whole);
    features.dispose();
    model.dispose();
  });

  test('an abort is heeded between them', async () => {
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
