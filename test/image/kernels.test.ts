// Validates the image kernels without a GPU: Dawn's null backend checks everything against WebGPU's default limits
// and computes nothing.
import { create } from 'webgpu';
import { expect, it } from 'vitest';
import { Gpu } from '../../src/gpu/device.js';
import { Preprocessor } from '../../src/image/preprocess.js';

// Must outlive the test: dawn.node crashes if this object is garbage-collected while it has devices.
const webgpu = create(['backend=null']);

it('the kernels compile, and their bindings, usages and workgroups are valid, inside the default limits', async () => {
  const adapter = await webgpu.requestAdapter();
  const gpu = new Gpu(
    await adapter!.requestDevice(),
    { vendor: 'null', architecture: '', description: '', isFallbackAdapter: false, software: false },
    true,
  );
  gpu.retain();
  gpu.device.pushErrorScope('validation');
  const preprocessor = await Preprocessor.create(gpu);
  for (const [width, height, options] of [
    [1, 1, {}],
    [8192, 3, {}],
    [3, 8192, { resize: 'fit' }],
    [20, 8192, { resize: 'fit', longestSide: 8192 }],
  ] as const) {
    const image = await preprocessor.prepare(
      { data: new Uint8Array(width * height * 4), width, height },
      options,
    );
    await gpu.task('test', undefined, (task) =>
      task.burst((burst) => preprocessor.write(burst, image, burst.storage('pixels', image.bytes))),
    );
  }
  preprocessor.dispose();
  expect(await gpu.device.popErrorScope()).toBeNull();
  expect(gpu.uncaptured).toBeUndefined();
  expect(gpu.memory.bytes).toBe(0);
  gpu.release();
});
