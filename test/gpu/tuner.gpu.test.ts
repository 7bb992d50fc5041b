// The tuner's choices are among the tiled kernels, so the test's device says that it is a GPU.
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { DINOv2, type TuningStore } from '../../src/index.ts';
import { requestAdapter } from '../../src/gpu/device.ts';
import { bitsOfForward, pixelsOf, requestDevice, tiny } from './tiny.ts';

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** A device whose adapter calls itself a GPU: it gets a GPU's kernels, on whatever computes here. */
function asGpu(device: GPUDevice): GPUDevice {
  return Object.defineProperty(device, 'adapterInfo', { value: { vendor: 'test', architecture: 'tiles', description: 'a GPU for the test' } });
}

class MemoryStore implements TuningStore {
  readonly values = new Map<string, unknown>();
  get = (key: string): Promise<unknown> => Promise.resolve(this.values.get(key));
  set = (key: string, value: unknown): Promise<void> => Promise.resolve(void this.values.set(key, value));
}

const software = await requestDevice();
/** Of all tests, so that its kernels are compiled once. */
const device = asGpu(await requestDevice());
const others: GPUDevice[] = [];
afterAll(() => [software, device, ...others].forEach((each) => each.destroy()));
const sizesPx = [28, 84];

test('on a processor there is nothing to choose', async () => {
  using model = await DINOv2.synthetic(tiny, { device: software, selfTest: false });
  expect(await model.tune({ sizesPx, store: false })).toMatchObject({ source: 'nothing to choose', tuning: undefined });
});

test('measures every kernel at every shape, keeps the result, and changes no bit', async () => {
  const store = new MemoryStore();
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  const before = await bitsOfForward(model, 84, 84);
  const bytes = model.gpuBytes;
  const { source, tuning, samples, leftOut } = await model.tune({ sizesPx, store });
  expect(source).toBe('measured');
  expect(leftOut).toEqual([]);
  // Four layers of a block at two sizes, two tiles each.
  expect(samples.length).toBe(16);
  expect(new Set(samples.map(({ rows }) => rows))).toEqual(new Set([1 + 2 * 2, 1 + 6 * 6]));
  expect(samples.every(({ ms }) => ms > 0)).toBe(true);
  expect(tuning!.operands).toBe('f32');
  expect(model.gpuBytes).toBeLessThanOrEqual(bytes);

  expect(await bitsOfForward(model, 84, 84)).toEqual(before);
  expect(await model.tune({ sizesPx, store })).toMatchObject({ source: 'kept', tuning, samples: [] });
  expect((await model.tune({ sizesPx: [56], store })).source).toBe('measured');
  // What is not a tuning is not taken for one.
  for (const key of store.values.keys()) store.values.set(key, { wantedLanes: 'many' });
  expect((await model.tune({ sizesPx, store })).source).toBe('measured');
  await expect(model.tune({ sizesPx: [13] })).rejects.toMatchObject({ code: 'INPUT_SHAPE' });
  const stopped = AbortSignal.abort(new Error('enough'));
  await expect(model.tune({ sizesPx, store: false, signal: stopped })).rejects.toThrow('enough');
});

test('an image alone on the narrow tile, and in a batch of 8 on the wide one: the same bits', async () => {
  const kept: TuningStore = { get: () => Promise.resolve({ wantedLanes: 500, operands: 'f32' }), set: () => Promise.reject(new Error('full')) };
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  expect(await model.tune({ sizesPx, store: kept })).toMatchObject({ source: 'kept', tuning: { wantedLanes: 500 } });
  const qkvOf = async (batch: number): Promise<string> => (await model.describe({ height: 84, width: 84, batch })).split('\n').find((line) => line.includes('blocks.0.attn.qkv'))!;
  expect(await qkvOf(1)).toMatch(/^linear_narrow\.linear /);
  expect(await qkvOf(8)).toMatch(/^linear /);
  const one = 3 * 84 * 84;
  const pixels = pixelsOf(84, 84, 8);
  using together = await model.forward(pixels, { height: 84, width: 84, batch: 8 });
  const all = bitsOf(await together.lastHiddenState());
  for (const image of [0, 7]) {
    using alone = await model.forward(pixels.slice(image * one, (image + 1) * one), { height: 84, width: 84 });
    const bits = bitsOf(await alone.lastHiddenState());
    expect(bits).toEqual(all.slice(image * bits.length, (image + 1) * bits.length));
  }
  // A store that fails costs the next visit a measurement, and no more.
  const broken: TuningStore = { get: () => Promise.reject(new Error('locked')), set: () => Promise.reject(new Error('full')) };
  expect(await model.tune({ sizesPx: [28], store: broken })).toMatchObject({ source: 'measured', storeError: 'Error: locked' });
});

const half = (await requestAdapter()).features.has('shader-f16');

// Only where the adapter has f16 are there weights that can be staged as f16; elsewhere the model stores them packed, and has no such candidate.
test(half ? 'staged as f16, a kernel that computes something wrong does not win' : 'without shader-f16, nothing is staged as f16', async () => {
  const device = await requestDevice(half ? ['shader-f16'] : []);
  others.push(device);
  const create = device.createShaderModule.bind(device);
  device.createShaderModule = ({ code, ...rest }) =>
    create({ ...rest, code: code.includes('alias Operand4 = vec4<f16>;') ? code.replaceAll('Operand4(weights4(', 'Operand4(2.0 * weights4(') : code });
  asGpu(device);
  using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16', selfTest: false });
  const { tuning, samples, leftOut } = await model.tune({ sizesPx: [28], store: false });
  expect(tuning!.operands).toBe('f32');
  expect(samples.every(({ operands }) => operands === 'f32')).toBe(true);
  expect(leftOut.join()).toMatch(half ? /staged as f16: Self-test of kernel linear/ : /^$/);
});

test('in Node it is kept in a file, whatever stood there', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tuning-'));
  const { defaultStore } = await import('../../src/gpu/tuningStore.ts');
  const cacheHome = process.env['XDG_CACHE_HOME'];
  process.env['XDG_CACHE_HOME'] = folder;
  try {
    const store = defaultStore()!;
    expect(await store.get('a')).toBeUndefined();
    await store.set('a', { wantedLanes: 1, operands: 'f32' });
    await store.set('b', 2);
    expect(await store.get('a')).toEqual({ wantedLanes: 1, operands: 'f32' });
    const file = join(folder, 'dinov2-webgpu', 'tuning.json');
    expect(Object.keys(JSON.parse(await readFile(file, 'utf8')) as object)).toEqual(['a', 'b']);
    await writeFile(file, '{"a": tor');
    expect(await store.get('a')).toBeUndefined();
    await store.set('a', 3);
    expect(await store.get('a')).toBe(3);
  } finally {
    if (cacheHome === undefined) delete process.env['XDG_CACHE_HOME'];
    else process.env['XDG_CACHE_HOME'] = cacheHome;
  }
});
