import { afterAll, describe, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { defineKernel, type Kernel } from '../../src/gpu/kernels/kernel.ts';
import { Program } from '../../src/gpu/program.ts';
import { Random } from '../random.ts';
import { bitsOfForward, pixelsOf, requestDevice, tiny } from './tiny.ts';

const device = await requestDevice();
const gpu = await acquireGpu(device);
const model = await DINOv2.synthetic(tiny, { device });
afterAll(() => device.destroy());

describe('a forward', () => {
  test('with another image size compiles no pipeline', async () => {
    await bitsOfForward(model, 28, 28);
    const { size } = gpu.pipelines;
    for (const [height, width, batch] of [
      [56, 14, 1],
      [42, 70, 2],
      [14, 14, 5],
    ] as const)
      await bitsOfForward(model, height, width, batch);
    expect(gpu.pipelines.size).toBe(size);
  });

  test('with an image size seen before takes one submit and creates no bind groups', async () => {
    await bitsOfForward(model, 28, 28);
    const submit = vi.spyOn(device.queue, 'submit');
    const createBindGroup = vi.spyOn(device, 'createBindGroup');
    const features = await model.forward(pixelsOf(28, 28), { height: 28, width: 28 });
    expect(submit).toHaveBeenCalledTimes(1);
    expect(createBindGroup).not.toHaveBeenCalled();
    vi.restoreAllMocks();
    features.dispose();
  });

  test('of decoded pixels is submitted without waiting for the GPU; a read waits until all errors are known', async () => {
    const image = { data: new Uint8Array(3 * 28 * 28).fill(99), width: 28, height: 28 };
    const options = { resize: 'fit', longestSide: 28 } as const;
    const read = async (): Promise<Uint32Array> => {
      using features = await model.features(image, options);
      return new Uint32Array((await features.lastHiddenState()).buffer);
    };
    const expected = await read();
    const answers: (() => void)[] = [];
    const pop = device.popErrorScope.bind(device);
    const later = <T>(made: Promise<T>): Promise<T> =>
      new Promise((resolve, reject) => answers.push(() => void made.then(resolve, reject)));
    const spies = [
      vi.spyOn(device, 'popErrorScope').mockImplementation(() => later(pop())),
      vi.spyOn(device.queue, 'onSubmittedWorkDone').mockReturnValue(new Promise(() => undefined)),
    ];
    const submit = vi.spyOn(device.queue, 'submit');
    // Two frames are submitted before the first one's error scopes have resolved.
    using first = await model.features(image, options);
    using second = await model.features(image, options);
    expect(submit.mock.calls.length).toBeGreaterThanOrEqual(4); // two frames, each with a submit for its pixels and one for its forward
    let known = false;
    const reading = Promise.all([first.lastHiddenState(), second.lastHiddenState()]).finally(() => {
      known = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(known).toBe(false);
    for (const spy of [...spies, submit]) spy.mockRestore();
    for (const answer of answers) answer();
    for (const state of await reading) expect(new Uint32Array(state.buffer)).toEqual(expected);
  });

  test('gives the same bits 20 times, with other sizes in between', async () => {
    const first = await bitsOfForward(model, 42, 56);
    for (let round = 0; round < 20; round++) {
      if (round % 5 === 0) await bitsOfForward(model, 14 * (1 + round), 28);
      expect(await bitsOfForward(model, 42, 56)).toEqual(first);
    }
  });

  test('gives the same bits for an image alone and at each position of a batch of 3', async () => {
    const [height, width] = [56, 70];
    const pixels = pixelsOf(height, width, 3);
    const perImage = pixels.length / 3;
    using together = await model.forward(pixels, { height, width, batch: 3 }, { layers: [1] });
    const [all, hidden] = await Promise.all([together.lastHiddenState(), together.hiddenState(1)]);
    for (let image = 0; image < 3; image++) {
      using alone = await model.forward(
        pixels.slice(image * perImage, (image + 1) * perImage),
        { height, width },
        { layers: [1] },
      );
      const count = alone.numTokens * alone.embedDim;
      expect(await alone.lastHiddenState()).toEqual(all.slice(image * count, (image + 1) * count));
      expect(await alone.hiddenState(1)).toEqual(hidden.slice(image * count, (image + 1) * count));
    }
  });

  test('gives the same bits concurrently with other sizes as one after the other', async () => {
    const sizes: [number, number, number][] = [
      [28, 28, 1],
      [42, 56, 2],
      [14, 14, 1],
      [70, 28, 1],
      [28, 28, 1],
    ];
    const apart: Uint32Array[] = [];
    for (const size of sizes) apart.push(await bitsOfForward(model, ...size));
    expect(await Promise.all(sizes.map((size) => bitsOfForward(model, ...size)))).toEqual(apart);
  });

  test('that fails does not affect the next forward', async () => {
    const before = await bitsOfForward(model, 28, 28);
    const aborted = model.forward(
      pixelsOf(28, 28),
      { height: 28, width: 28 },
      { signal: AbortSignal.abort(new Error('never mind')) },
    );
    const next = bitsOfForward(model, 28, 28);
    await expect(aborted).rejects.toThrow('never mind');
    expect(await next).toEqual(before);
  });

  test('cut into one submit per dispatch, as on a slow adapter, gives the same bits', async () => {
    const whole = await bitsOfForward(model, 42, 42);
    const slow = vi.spyOn(gpu, 'flopsPerSecond', 'get').mockReturnValue(1);
    const submit = vi.spyOn(device.queue, 'submit');
    using features = await model.forward(pixelsOf(42, 42), { height: 42, width: 42 });
    const submits = submit.mock.calls.length;
    expect(submits).toBeGreaterThan(8); // steps without a matrix product share a submit with others
    slow.mockRestore();
    submit.mockRestore();
    expect(new Uint32Array((await features.lastHiddenState()).buffer)).toEqual(whole);
  });

  test('cut for any throughput, between dispatches and inside them, gives the same bits and leaves no buffer', async () => {
    const random = new Random(7);
    const dispatches = 3 + 7 * tiny.depth; // the number in a forward that is not cut
    let cut = 0;
    for (let round = 0; round < 12; round++) {
      const size = [14 * random.integer(1, 8), 14 * random.integer(1, 8), random.integer(1, 3)] as const;
      const whole = await bitsOfForward(model, ...size);
      const buffers = gpu.memory.buffers;
      const slow = vi.spyOn(gpu, 'flopsPerSecond', 'get').mockReturnValue(10 ** random.integer(4, 7));
      const encode = vi.spyOn(Program.prototype, 'encode');
      expect(await bitsOfForward(model, ...size), `${size.join(' × ')}`).toEqual(whole);
      const encoded = encode.mock.calls.reduce((sum, [, some]) => sum + some.length, 0);
      expect(encoded).toBeGreaterThanOrEqual(dispatches);
      if (encoded > dispatches) cut += 1;
      slow.mockRestore();
      encode.mockRestore();
      expect(gpu.memory.buffers).toBe(buffers);
    }
    expect(cut).toBeGreaterThan(6);
  });

  test('is described by a line for every dispatch, and the bytes', async () => {
    const lines = (await model.describe({ height: 28, width: 42, batch: 2 })).split('\n');
    expect(lines.length).toBe(3 + 7 * tiny.depth + 1);
    expect(lines[0]).toMatch(/^patch_embed .* → patch_embed\.proj \(12, 64\) @\d$/);
    expect(lines.at(-1)).toMatch(/^17 dispatches; activations [\d.]+ MB → [\d.]+ MB in [34] buffers$/);
  });
});

describe('a kernel that does not compile', () => {
  const broken = (text: string): Kernel => defineKernel('broken', text, 'main', ['write out']);
  const compile = (kernel: Kernel): Promise<unknown> => gpu.pipelines.compile({ kernel, constants: {} });

  test('rejects with KERNEL_COMPILE, and names the kernel, the line and its text, and the adapter', async () => {
    const kernel = broken(
      '@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n\n@compute @workgroup_size(1) fn main() {\n  out[0] = missing;\n}',
    );
    const error: unknown = await compile(kernel).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'DeviceError', code: 'KERNEL_COMPILE' });
    const { message } = error as Error;
    expect(message).toContain('broken.main does not compile');
    expect(message).toMatch(/line 4:\d+ of broken\.wgsl: .*missing/);
    expect(message).toContain('out[0] = missing;');
    expect(message).toContain(gpu.info.description || gpu.info.vendor);
  });

  test('is compiled again at the next call: failures are not cached', async () => {
    const { size } = gpu.pipelines;
    const kernel = broken('nonsense');
    const compiled = vi.spyOn(device, 'createShaderModule');
    await expect(compile(kernel)).rejects.toMatchObject({ code: 'KERNEL_COMPILE' });
    await expect(compile(kernel)).rejects.toMatchObject({ code: 'KERNEL_COMPILE' });
    expect(compiled).toHaveBeenCalledTimes(2);
    compiled.mockRestore();
    expect(gpu.pipelines.size).toBe(size);
    expect(gpu.uncaptured).toBeUndefined(); // no error reached the device's uncapturederror event
  });

  test('is also rejected if its declared bindings differ from those of the shader', async () => {
    const kernel = defineKernel(
      'broken',
      '@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n@compute @workgroup_size(1) fn main() { out[0] = 1u; }',
      'main',
      ['read out'],
    );
    await expect(compile(kernel)).rejects.toMatchObject({ code: 'KERNEL_COMPILE' });
    expect(gpu.uncaptured).toBeUndefined();
  });

  test('two concurrent calls share one pipeline', async () => {
    const text =
      '@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n@compute @workgroup_size(1) fn main() { out[0] = 7u; }';
    const kernel = broken(text);
    const [a, b] = await Promise.all([compile(kernel), compile(kernel)]);
    expect(a).toBe(b);
  });
});
