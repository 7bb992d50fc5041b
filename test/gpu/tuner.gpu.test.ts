// Tunings without measurements. The tuner selects among tiled kernels, so the tests' device reports a GPU.
// tuner.full.test.ts measures.
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DINOv2, type TuningStore } from '../../src/index.ts';
import { parseTuning } from '../../src/gpu/measure/tuner.ts';
import { sharedDevice, sharedTiles } from './sharedDevice.ts';
import { pixelsOf, tiny } from './tiny.ts';

const bitsOf = (values: Float32Array): Uint32Array =>
  new Uint32Array(values.buffer, values.byteOffset, values.length);

const sizesPx = [28, 84];

test('a software adapter has nothing to tune', async () => {
  using model = await DINOv2.synthetic(tiny, { device: await sharedDevice(), selfTest: false });
  expect(await model.tune({ sizesPx, store: false })).toMatchObject({
    source: 'nothing to choose',
    tuning: undefined,
  });
});

test('parseTuning accepts only complete, valid tunings', () => {
  const tuning = {
    wantedLanes: 1,
    operands: 'f32',
    wantedLanesTall: undefined,
    wantedLanesWidest: 2,
    wantedLanesNarrow: undefined,
    wantedLanesAttention: 3,
  } as const;
  expect(parseTuning(tuning)).toEqual(tuning);
  expect(parseTuning(JSON.parse(JSON.stringify(tuning)))).toEqual(tuning);
  expect(parseTuning({ wantedLanes: 1, operands: 'f16' })).toEqual({
    wantedLanes: 1,
    operands: 'f16',
    wantedLanesTall: undefined,
    wantedLanesWidest: undefined,
    wantedLanesNarrow: undefined,
    wantedLanesAttention: undefined,
  });
  for (const wrong of [
    undefined,
    'f32',
    {},
    { ...tuning, operands: 'f64' },
    { ...tuning, wantedLanes: -1 },
    { ...tuning, wantedLanesNarrow: 'many' },
    { ...tuning, wantedLanesAttention: null },
  ]) {
    expect(parseTuning(wrong)).toBeUndefined();
  }
});

test('an image alone on the narrow tile and in a batch of 8 on the wide tile has the same bits', async () => {
  const kept: TuningStore = {
    get: () => Promise.resolve({ wantedLanes: 500, operands: 'f32' }),
    set: () => Promise.reject(new Error('full')),
  };
  using model = await DINOv2.synthetic(tiny, { device: await sharedTiles(), selfTest: false });
  expect(await model.tune({ sizesPx, store: kept })).toMatchObject({
    source: 'kept',
    tuning: { wantedLanes: 500 },
  });
  const qkvOf = async (batch: number): Promise<string> =>
    (await model.describe({ height: 84, width: 84, batch }))
      .split('\n')
      .find((line) => line.includes('blocks.0.attn.qkv'))!;
  expect(await qkvOf(1)).toMatch(/^linear_narrow\.linear /);
  expect(await qkvOf(8)).toMatch(/^linear /);
  const one = 3 * 84 * 84;
  const pixels = pixelsOf(84, 84, 8);
  using together = await model.forward(pixels, { height: 84, width: 84, batch: 8 });
  const all = bitsOf(await together.lastHiddenState());
  for (const image of [0, 7]) {
    using alone = await model.forward(pixels.slice(image * one, (image + 1) * one), {
      height: 84,
      width: 84,
    });
    const bits = bitsOf(await alone.lastHiddenState());
    expect(bits).toEqual(all.slice(image * bits.length, (image + 1) * bits.length));
  }
});

test('Node stores tunings in a file, and overwrites a corrupt one', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tuning-'));
  const { defaultStore } = await import('../../src/gpu/measure/tuningStore.ts');
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
