// Timing functions of read.firefox.test.ts, run in Firefox and in Node on the same driver.
import { DINOv2 } from '../../src/index.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { syntheticTensor } from '../../src/weights/synthetic.ts';

/** Milliseconds of successive 4-byte reads: with the library (20), and with a bare `mapAsync` (5). */
export async function timeReads(): Promise<{ ours: number[]; bare: number[] }> {
  const device = await (await requestAdapter()).requestDevice();
  try {
    const gpu = await acquireGpu(device);
    const buffer = gpu.memory.storageOf('four bytes', Uint32Array.of(7));
    const ours = await timesOf(20, async () => {
      const [value] = new Uint32Array(await gpu.read(buffer, 0, 4));
      if (value !== 7) throw new Error(`expected 7, found ${value}`);
    });
    const bare = await timesOf(5, async () => {
      const staging = device.createBuffer({ size: 4, usage: 0x9 });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, 4);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      staging.destroy();
    });
    return { ours, bare };
  } finally {
    device.destroy();
  }
}

/**
 * Loads ViT-S on a device without optional features, so that Node and Firefox run the same kernels. `run`
 * times one forward at 224 × 224 including its read-back, and counts its non-empty submits.
 */
export async function loadForward(): Promise<{
  run: () => Promise<{ ms: number; submits: number }>;
  end: () => void;
}> {
  const device = await (await requestAdapter()).requestDevice();
  const model = await DINOv2.synthetic('small', { device, selfTest: false });
  const pixels = syntheticTensor('pixel_values.224x224', [1, 3, 224, 224]);
  let submits = 0;
  const submit = device.queue.submit.bind(device.queue);
  device.queue.submit = (buffers) => {
    const given = [...buffers];
    submits += given.length > 0 ? 1 : 0;
    return submit(given);
  };
  const run = async (): Promise<{ ms: number; submits: number }> => {
    submits = 0;
    const startMs = performance.now();
    const features = await model.forward(pixels, { height: 224, width: 224 });
    await features.lastHiddenState();
    const ms = performance.now() - startMs;
    features.dispose();
    return { ms, submits };
  };
  const end = (): void => {
    model.dispose();
    device.destroy();
  };
  return { run, end };
}

async function timesOf(runs: number, run: () => Promise<void>): Promise<number[]> {
  const ms: number[] = [];
  for (let i = 0; i < runs; i++) {
    const startMs = performance.now();
    await run();
    ms.push(performance.now() - startMs);
  }
  return ms;
}
