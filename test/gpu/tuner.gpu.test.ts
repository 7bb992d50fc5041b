// The tuner's choices are among the tiled kernels, so the test's device says that it is a GPU.
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { DINOv2, type TuningStore } from '../../src/index.ts';
import { parseTuning } from '../../src/gpu/tuner.ts';
import { asGpu, bitsOfForward, pixelsOf, requestDevice, tiny } from './tiny.ts';

const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

class MemoryStore implements TuningStore {
  readonly values = new Map<string, unknown>();
  get = (key: string): Promise<unknown> => Promise.resolve(this.values.get(key));
  set = (key: string, value: unknown): Promise<void> => Promise.resolve(void this.values.set(key, value));
}

const software = await requestDevice();
/** Of all tests, so that its kernels are compiled once. */
const device = asGpu(await requestDevice());
/** Whether the tiles that only a tuning asks for were compiled there. */
const compiled = { widest: false, small: false, fewQueries: false };
const create = device.createShaderModule.bind(device);
device.createShaderModule = (descriptor) => {
  if (descriptor.code.includes('const LANES_X = 16u;')) compiled.widest = true;
  if (descriptor.label?.startsWith('linear_small')) compiled.small = true;
  if (descriptor.code.includes('const QUERY_GROUPS = 4u;')) compiled.fewQueries = true;
  return create(descriptor);
};
afterAll(() => [software, device].forEach((each) => each.destroy()));
const sizesPx = [28, 84];

test('on a processor there is nothing to choose', async () => {
  using model = await DINOv2.synthetic(tiny, { device: software, selfTest: false });
  expect(await model.tune({ sizesPx, store: false })).toMatchObject({ source: 'nothing to choose', tuning: undefined });
});

test('measures every kernel at every shape, keeps the result, and changes no bit', { timeout: 900_000 }, async () => {
  const store = new MemoryStore();
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  const before = await bitsOfForward(model, 84, 84);
  const bytes = model.gpuBytes;
  expect(compiled).toEqual({ widest: false, small: false, fewQueries: false });
  const { source, tuning, samples, leftOut } = await model.tune({ sizesPx, store });
  expect(source).toBe('measured');
  expect(leftOut).toEqual([]);
  expect(compiled).toEqual({ widest: true, small: true, fewQueries: true });
  // At two sizes, four linear layers of a block on four tiles each, and its attention on two.
  expect(samples.length).toBe(36);
  expect(samples.filter(({ kernel, rows }) => kernel === 'attention' && rows === 37).map(({ workgroups }) => workgroups)).toEqual([2, 3]);
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

test('what was kept is read strictly', () => {
  const tuning = { wantedLanes: 1, operands: 'f32', wantedLanesWidest: 2, wantedLanesNarrow: undefined, wantedLanesAttention: 3 } as const;
  expect(parseTuning(tuning)).toEqual(tuning);
  expect(parseTuning(JSON.parse(JSON.stringify(tuning)))).toEqual(tuning);
  expect(parseTuning({ wantedLanes: 1, operands: 'f16' })).toEqual({ wantedLanes: 1, operands: 'f16', wantedLanesWidest: undefined, wantedLanesNarrow: undefined, wantedLanesAttention: undefined });
  for (const wrong of [undefined, 'f32', {}, { ...tuning, operands: 'f64' }, { ...tuning, wantedLanes: -1 }, { ...tuning, wantedLanesNarrow: 'many' }, { ...tuning, wantedLanesAttention: null }]) {
    expect(parseTuning(wrong)).toBeUndefined();
  }
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

test('the tiles that only a tuning asks for run where a kept one does, change no bit, and go with it', async () => {
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  const before = await bitsOfForward(model, 84, 84);
  const linesOf = async (): Promise<string[]> => (await model.describe({ height: 84, width: 84 })).split('\n').filter((line) => line.includes('→ blocks.0.'));
  const usual = await linesOf();
  const keeping = (kept: unknown): Promise<unknown> => model.tune({ sizesPx, store: { get: () => Promise.resolve(kept), set: () => Promise.reject(new Error('full')) } });
  expect(await keeping({ wantedLanes: 1e6, operands: 'f32', wantedLanesNarrow: 1e6, wantedLanesAttention: 1e6 })).toMatchObject({ source: 'kept', tuning: { wantedLanesNarrow: 1e6, wantedLanesAttention: 1e6 } });
  const smallest = await linesOf();
  expect(smallest.filter((line) => line.startsWith('linear_small.')).length).toBe(4);
  expect(smallest.find((line) => line.startsWith('attention'))).toMatch(/ 3×1×1 /); // 37 tokens
  expect(await bitsOfForward(model, 84, 84)).toEqual(before);
  // Enough lanes for the first tile of each: the others are allowed, and are not used.
  await keeping({ wantedLanes: 1, operands: 'f32', wantedLanesWidest: 1, wantedLanesNarrow: 1, wantedLanesAttention: 1 });
  const largest = await linesOf();
  expect(largest.filter((line) => /^linear_(narrow|small)|^attention .* 3×/.test(line))).toEqual([]);
  expect(largest.find((line) => line.includes('attn.qkv'))).toMatch(/^linear +2×1×1 /); // 192 columns, 128 a workgroup
  expect(await bitsOfForward(model, 84, 84)).toEqual(before);
  await keeping({ wantedLanes: 1e6, operands: 'f32' });
  expect(await linesOf()).toEqual(usual);
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
