import { afterAll, expect, test, vi } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { bitsOfForward, requestDevice, tiny } from './tiny.ts';

const adapter = await requestAdapter();
const features = adapter.features.has('timestamp-query') ? (['timestamp-query'] as const) : [];
const devices = [await requestDevice([...features]), await requestDevice()] as const;
afterAll(() => devices.forEach((device) => device.destroy()));

const image = {
  data: Uint8Array.from({ length: 3 * 70 * 84 }, (_, i) => (i * 37) % 256),
  width: 84,
  height: 70,
};
const options = { resize: 'fit', longestSide: 84 } as const;

test.each([
  [features.length > 0 ? 'timestamp-query' : 'submits', 0],
  ['submits', 1],
] as const)('with %s: every dispatch is measured, and no buffer remains', async (timer, which) => {
  const model = await DINOv2.synthetic(
    { ...tiny, imageSize: 84 },
    { device: devices[which], selfTest: false },
  );
  const before = await bitsOfForward(model, 70, 84);
  await model.pixels(image, options); // the tables of the resize stay cached
  const bytes = model.gpuBytes;
  performance.clearMeasures();
  const profile = await model.profile(image, options);
  expect(model.gpuBytes).toBe(bytes);
  expect(profile.timer).toBe(timer);
  expect(profile.size).toEqual({ batch: 1, rows: 5, cols: 6 });

  const described = (await model.describe({ height: 70, width: 84 })).split('\n').slice(0, -1);
  expect(profile.dispatches.length).toBe(described.length);
  for (const { ms, share, bytes: moved } of profile.dispatches) {
    expect(ms).toBeGreaterThan(0);
    expect(share).toBeGreaterThan(0);
    expect(moved).toBeGreaterThan(0);
  }
  const tokens = 1 + 5 * 6;
  const qkv = profile.dispatches.find(({ label }) => label === 'blocks.1.attn.qkv')!;
  expect(qkv.flops).toBe(2 * tokens * 64 * 192);
  expect(qkv.gflopsPerSecond).toBeCloseTo(qkv.flops / qkv.ms / 1e6, 9);
  expect(profile.kernels.find(({ label }) => label === 'blocks.*.attn.qkv')).toMatchObject({
    dispatches: 2,
    flops: 2 * qkv.flops,
  });
  expect(profile.kernels.reduce((sum, { ms }) => sum + ms, 0)).toBeCloseTo(profile.total.ms, 9);
  // The machine's speed under load is unknown. The bound only finds units that are wrong by a factor of 1000.
  expect(profile.ceilings.flopsPerSecond).toBeGreaterThan(1e7);
  expect(profile.ceilings.bytesPerSecond).toBeGreaterThan(1e7);

  const entries = performance.getEntriesByType('measure');
  expect(entries.map(({ name }) => name)).toEqual(profile.dispatches.map(({ label }) => `DINOv2 ${label}`));
  expect(entries.reduce((sum, { duration }) => sum + duration, 0)).toBeCloseTo(profile.total.ms, 3);
  expect(profile.toString().split('\n').length).toBe(profile.kernels.length + 5);
  expect(await bitsOfForward(model, 70, 84)).toEqual(before);
  model.dispose();
});

test('an abort ends the profile, and no buffer remains', async () => {
  const model = await DINOv2.synthetic(tiny, { device: devices[0], selfTest: false });
  await model.profile(image, options);
  const bytes = model.gpuBytes;
  const abort = new AbortController();
  const submit = vi.spyOn(devices[0].queue, 'submit').mockImplementation(function (this: GPUQueue, buffers) {
    submit.mockRestore();
    this.submit(buffers);
    abort.abort(new Error('enough'));
  });
  await expect(model.profile(image, { ...options, signal: abort.signal })).rejects.toThrow('enough');
  expect(model.gpuBytes).toBe(bytes);
  model.dispose();
});
