// The prediction of GPU memory against what is allocated, and the advice of errors when memory runs out.
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import type { DINOv2Config } from '../../src/model/config.ts';
import type { MemoryInput } from '../../src/index.ts';
import { pixelsOf, requestDevice, tiny } from '../gpu/tiny.ts';

/** Largest relative error of a prediction. The small uniforms and tables of a call are not predicted. */
const BOUND = 0.001;

const device = await requestDevice();
const config: DINOv2Config = { ...tiny, depth: 3 };
const create = device.createBuffer.bind(device);
let live = 0;
let peak = 0;
device.createBuffer = (described) => {
  const buffer = create(described);
  const destroy = buffer.destroy.bind(buffer);
  live += described.size;
  peak = Math.max(peak, live);
  buffer.destroy = () => {
    live -= described.size;
    return destroy();
  };
  return buffer;
};
const counting = device.createBuffer;
const model = await DINOv2.synthetic(config, { device, selfTest: false });
afterEach(() => {
  device.createBuffer = counting;
});
afterAll(() => {
  model.dispose();
  device.destroy();
});

async function expectPeak(predicted: number, run: () => Promise<void>): Promise<void> {
  peak = live;
  await run();
  expect(Math.abs(predicted / peak - 1), `predicted ${predicted}, measured ${peak}`).toBeLessThan(BOUND);
}

// Each size twice: the first call of a larger size makes the buffers of activations grow.
describe.each<MemoryInput>([
  { height: 224, width: 224 },
  { height: 98, width: 56, batch: 5 },
  { height: 140, width: 280, layers: [0, 1, 2, 3], attentions: [-1] },
  { height: 252, width: 252, batch: 2 },
  { height: 224, width: 224, layers: [2] },
])('%o', ({ layers = [], attentions = [], ...size }) => {
  test.each(['first', 'second'])('the %s call of forward() is predicted', async () => {
    const { forwardPeakBytes, heldBytes, outputBytes, activationBytes, growthBytes } = await model.memory({
      ...size,
      layers,
      attentions,
    });
    expect(heldBytes).toBe(model.gpuBytes);
    await expectPeak(forwardPeakBytes, async () => {
      const pixels = pixelsOf(size.height, size.width, size.batch ?? 1);
      using features = await model.forward(pixels, size, { layers, attentions });
      await features.lastHiddenState();
    });
    const after = await model.memory({ ...size, layers, attentions });
    expect(after).toMatchObject({ growthBytes: 0, activationBytes, outputBytes });
    expect(after.heldBytes - heldBytes).toBeGreaterThanOrEqual(growthBytes);
  });
});

test('features() of images is predicted, from an allocation of nothing', async () => {
  using fresh = await DINOv2.synthetic(config, { device, selfTest: false });
  const image = { data: new Uint8Array(64 * 64 * 3).fill(90), width: 64, height: 64 };
  for (const side of [112, 336, 224]) {
    const { peakBytes, weightBytes } = await fresh.memory({ height: side, width: side, batch: 2 });
    expect(weightBytes).toBeGreaterThan(4 * 3 * 12 * 64 * 64);
    await expectPeak(peakBytes, async () => {
      using features = await fresh.features([image, image], { resize: 'square', size: side });
      await features.lastHiddenState();
    });
  }
});

test('wrong sizes and layers are refused', async () => {
  await expect(model.memory({ height: 10, width: 224 })).rejects.toMatchObject({ code: 'OPTION_VALUE' });
  await expect(model.memory({ height: 224, width: 224, layers: [9] })).rejects.toMatchObject({
    code: 'OPTION_VALUE',
  });
  await expect(model.memory(null as never)).rejects.toMatchObject({ code: 'OPTION_VALUE' });
});

class GPUOutOfMemoryError {
  readonly message = 'injected';
}

/** Makes the allocation of buffers with this label fail for lack of memory. */
function runOutOfMemory(label: RegExp): () => void {
  const pop = device.popErrorScope.bind(device);
  let failed = false;
  device.createBuffer = (described) => {
    if (!label.test(described.label ?? '')) return counting(described);
    failed = true;
    return create(described);
  };
  // The scope for out-of-memory is the second of three to be closed.
  let pops = 0;
  device.popErrorScope = async () => {
    const isMemory = pops++ % 3 === 1;
    const found = await pop();
    return isMemory && failed ? (new GPUOutOfMemoryError() as unknown as GPUError) : found;
  };
  return () => {
    device.createBuffer = counting;
    device.popErrorScope = pop;
  };
}

describe('an error says what was asked for, and what would need less', () => {
  test('activations that do not fit', async () => {
    const restore = runOutOfMemory(/^slot|^pixels/);
    const size = { height: 560, width: 560, batch: 4 };
    const error = await model.forward(pixelsOf(560, 560, 4), size).catch((thrown: unknown) => thrown);
    restore();
    expect(error).toMatchObject({
      name: 'DeviceError',
      code: 'DEVICE_MEMORY',
      message: expect.stringMatching(
        /^activations: the GPU ran out of memory when asked for [\d.]+ MB, in addition to the [\d.]+ MB .* of 4 images of 560 × 560 need [\d.]+ MB\. To compare: a batch of 2 would need [\d.]+ MB; images of 280 × 280 would need [\d.]+ MB; with dtype 'fp16' the weights would take [\d.]+ MB instead of/,
      ) as string,
    });
    using features = await model.forward(pixelsOf(56, 56), { height: 56, width: 56 });
    expect((await features.clsToken()).every(Number.isFinite)).toBe(true);
  });

  test('weights that do not fit', async () => {
    const restore = runOutOfMemory(/^blocks\.2\.mlp/);
    const error = await DINOv2.synthetic(config, { device, selfTest: false }).catch(
      (thrown: unknown) => thrown,
    );
    restore();
    expect(error).toMatchObject({
      code: 'DEVICE_MEMORY',
      message: expect.stringMatching(
        /^weights: the GPU ran out of memory when asked for 0\.8 MB.* The weights would take 0\.4 MB with dtype 'fp16' and 0\.2 MB with dtype 'int8'\.$/,
      ) as string,
    });
    using next = await DINOv2.synthetic(config, { device, selfTest: false });
    expect(next.dtype).toBe('fp32');
  });

  test('an image that exceeds the limits of the device', async () => {
    const side = 14 * 250;
    const error = await model
      .forward(new Float32Array(3 * side * side), { height: side, width: side })
      .catch((thrown: unknown) => thrown);
    const most = /This device allows images of at most (\d+) × (\d+)\.$/.exec((error as Error).message);
    expect(error).toMatchObject({ code: 'DEVICE_LIMIT' });
    const allowed = Number(most?.[1]);
    expect(allowed).toBeGreaterThan(14 * 200);
    const { activationBytes } = await model.memory({ height: allowed, width: allowed });
    expect(activationBytes).toBeGreaterThan(device.limits.maxStorageBufferBindingSize);
  });
});
