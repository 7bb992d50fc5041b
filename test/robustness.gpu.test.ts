// Failures around a forward: wrong input, aborts, failed allocations, and the page's own errors on the shared
// device.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DINOv2, type DINOv2Config } from '../src/index.ts';
import { full } from './full.ts';
import { sharedTiles } from './gpu/sharedDevice.ts';
import { requestDevice, tiny } from './gpu/tiny.ts';
import { maxError } from './parity.ts';

const config: DINOv2Config = {
  embedDim: 64,
  depth: 1,
  numHeads: 1,
  headDim: 64,
  patchSize: 14,
  imageSize: 28,
  numChannels: 3,
  numRegisterTokens: 0,
  ffn: 'mlp',
  hiddenFeatures: 128,
  layerNormEps: 1e-6,
  posEmbed: 'plain',
};
/** The self-test is off because it has its own tests. */
const selfTest = false;
const size = { height: 14, width: 14 };
const pixels = Float32Array.from({ length: 588 }, (_, i) => Math.sin(i));

let device: GPUDevice;
let model: DINOv2;
beforeAll(async () => {
  device = await requestDevice();
  model = await DINOv2.synthetic(config, { device, selfTest });
});
afterAll(() => {
  model.dispose();
  device.destroy();
});

const tokens = async (of: DINOv2): Promise<Float32Array> => {
  using features = await of.forward(pixels, size);
  return features.lastHiddenState();
};

describe('forward', () => {
  test.each([
    ['bytes', new Uint8Array(588)],
    ['doubles', new Float64Array(588)],
    ['a plain array', Array.from({ length: 588 }, () => 0)],
  ])('refuses %s instead of a Float32Array', async (_, wrong) => {
    await expect(model.forward(wrong as unknown as Float32Array, size)).rejects.toMatchObject({
      code: 'INPUT_SHAPE',
    });
  });

  test('copies its pixels before it returns, so the caller may reuse the array', async () => {
    const expected = await tokens(model);
    const mine = pixels.slice();
    const running = model.forward(mine, size);
    mine.fill(7);
    using features = await running;
    expect(maxError(await features.lastHiddenState(), expected)).toBe(0);
  });

  test.each([
    { height: 224.5, width: 14 },
    { height: 14, width: 14, batch: 0 },
    {} as { height: number; width: number },
  ])('refuses a size of %o', async (wrong) => {
    await expect(model.forward(pixels, wrong)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    await expect(model.describe(wrong)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  });

  test('an aborted forward leaves the queue before it runs', async () => {
    const controller = new AbortController();
    const first = model.forward(new Float32Array(3 * 140 * 140), { height: 140, width: 140 });
    let ended = false;
    void first.then(() => (ended = true));
    const second = model.forward(pixels, size, { signal: controller.signal });
    controller.abort();
    await expect(second).rejects.toMatchObject({ name: 'AbortError' });
    expect(ended).toBe(false);
    (await first).dispose();
  });

  test('refuses more tokens than the dispatch limit, and names the limit', async () => {
    const wide = { height: 14 * 300, width: 14 * 300 };
    await expect(model.forward(new Float32Array(3 * wide.height * wide.width), wide)).rejects.toMatchObject({
      code: 'DEVICE_LIMIT',
      message: expect.stringContaining('65535') as string,
    });
  });
});

test('an unknown dtype, and a hub id without its owner, are refused', async () => {
  await expect(DINOv2.synthetic(config, { device, dtype: 'float32' as 'fp32' })).rejects.toThrow(/dtype/);
  await expect(DINOv2.fromPretrained('dinov2_vits14', { device })).rejects.toMatchObject({
    code: 'SOURCE_URL',
    message: expect.stringContaining('facebook/dinov2-small') as string,
  });
});

test('an abort while the last kernels compile leaves no model and no buffer', async () => {
  const fresh = await requestDevice();
  const controller = new AbortController();
  const create = fresh.createComputePipelineAsync.bind(fresh);
  // The abort comes after the weights are uploaded, while pipelines still compile.
  fresh.createComputePipelineAsync = async (descriptor) => {
    const pipeline = await create(descriptor);
    await new Promise((resolve) => setTimeout(resolve, 200));
    controller.abort();
    return pipeline;
  };
  await expect(
    DINOv2.synthetic(config, { device: fresh, signal: controller.signal, selfTest }),
  ).rejects.toMatchObject({ name: 'AbortError' });
  fresh.createComputePipelineAsync = create;
  using later = await DINOv2.synthetic(config, { device: fresh, selfTest });
  const bytes = later.gpuBytes;
  await expect(
    DINOv2.synthetic(config, { device: fresh, signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({ name: 'AbortError' });
  expect(later.gpuBytes).toBe(bytes);
});

test('a failed allocation rejects, and the model keeps working', async () => {
  const expected = await tokens(model);
  const create = device.createBuffer.bind(device);
  // WebGPU reports a buffer that it cannot create asynchronously, not as an exception.
  device.createBuffer = (descriptor) =>
    create(/^slot|pixels/.test(descriptor.label ?? '') ? { ...descriptor, usage: 0 } : descriptor);
  try {
    await expect(
      model.forward(new Float32Array(3 * 350 * 350), { height: 350, width: 350 }),
    ).rejects.toMatchObject({ name: 'DeviceError' });
  } finally {
    device.createBuffer = create;
  }
  expect(maxError(await tokens(model), expected)).toBe(0);
  using larger = await model.forward(new Float32Array(3 * 350 * 350), { height: 350, width: 350 });
  expect(larger.numTokens).toBe(626);
});

test("errors that the page causes on its device do not fail the library's calls", async () => {
  const expected = await tokens(model);
  device.createBuffer({ size: 16, usage: 0 });
  await device.queue.onSubmittedWorkDone();
  expect(maxError(await tokens(model), expected)).toBe(0);
});

test('disposing of features while a norm is computed rejects instead of returning zeros', async () => {
  const features = await model.forward(pixels, { ...size }, { layers: [0] });
  const norm = features.hiddenState(0, { norm: true });
  features.dispose();
  await expect(norm).rejects.toMatchObject({ code: 'DISPOSED' });
});

test("a GPU error of one model rejects only that model's call", async () => {
  // Both models run on the library's own device.
  using broken = await DINOv2.synthetic(config, { selfTest });
  using whole = await DINOv2.synthetic(config, { selfTest });
  const expected = await tokens(whole);
  const original = broken.device.createBuffer.bind(broken.device);
  let broke = false;
  broken.device.createBuffer = (descriptor) => {
    // Breaks one result buffer: without COPY_DST, the copy into it fails.
    if (broke || !descriptor.label?.startsWith('features ')) return original(descriptor);
    broke = true;
    return original({ ...descriptor, usage: 0x80 });
  };
  try {
    const outcomes = await Promise.allSettled([tokens(broken), tokens(whole), tokens(whole)]);
    const reasons = outcomes.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
    expect(reasons).toMatchObject([{ code: 'DEVICE_FAILED' }]);
    for (const outcome of outcomes)
      if (outcome.status === 'fulfilled') expect(maxError(outcome.value, expected)).toBe(0);
  } finally {
    broken.device.createBuffer = original;
  }
  expect(maxError(await tokens(broken), expected)).toBe(0);
});

test('dispose() while an image is processed rejects with DISPOSED', async () => {
  const other = await DINOv2.synthetic(config, { selfTest });
  const running = other.features({
    data: new Uint8Array(300 * 300 * 3),
    width: 300,
    height: 300,
    channels: 3,
  });
  other.dispose();
  await expect(running).rejects.toMatchObject({ code: 'DISPOSED' });
});

test('a tuning store that never answers blocks no other call, and aborted tunings cause no GPU error', async () => {
  const tiles = await sharedTiles(); // A software adapter has nothing to tune; this device has tiled kernels.
  using tuned = await DINOv2.synthetic(tiny, { device: tiles, selfTest });
  const errors: string[] = [];
  const note = ({ error }: GPUUncapturedErrorEvent): void => void errors.push(error.message);
  tiles.addEventListener('uncapturederror', note);
  const never = (): Promise<never> => new Promise(() => undefined);
  const [first, second] = [new AbortController(), new AbortController()];
  const outcomeOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => 'done',
      (reason: unknown) => reason,
    );
  const waiting = [
    outcomeOf(tuned.tune({ sizesPx: [28], signal: first.signal, store: { get: never, set: never } })),
    // It measures every tile first, and a software adapter compiles each for a second.
    ...(full
      ? [
          outcomeOf(
            tuned.tune({
              sizesPx: [28],
              signal: second.signal,
              store: { get: async () => undefined, set: never },
            }),
          ),
        ]
      : []),
  ];
  const image = { data: new Uint8Array(28 * 28 * 3), width: 28, height: 28 };
  const square = { resize: 'square', size: 28 } as const;
  expect(await outcomeOf(tuned.features(image, square).then((features) => features.dispose()))).toBe('done');
  expect(await outcomeOf(tuned.features(image, { ...square, signal: AbortSignal.abort('late') }))).toBe(
    'late',
  );
  first.abort('not for ever');
  second.abort('enough');
  expect(await Promise.all(waiting)).toEqual(['not for ever', 'enough'].slice(0, waiting.length));
  await tuned.describe({ height: 28, width: 28 }); // runs after the aborted tunings
  await tiles.queue.onSubmittedWorkDone();
  tiles.removeEventListener('uncapturederror', note);
  expect(errors).toEqual([]);
});
