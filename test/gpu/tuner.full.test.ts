// The tuner at work, on a device that says that it is a GPU: a software adapter takes a minute and more to
// compile what it tries there.
import { afterAll, expect, test } from 'vitest';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import { DINOv2, type TuningStore } from '../../src/index.ts';
import { asGpu, bitsOfForward, requestDevice, tiny } from './tiny.ts';

class MemoryStore implements TuningStore {
  readonly values = new Map<string, unknown>();
  get = (key: string): Promise<unknown> => Promise.resolve(this.values.get(key));
  set = (key: string, value: unknown): Promise<void> => Promise.resolve(void this.values.set(key, value));
}

/** Of all tests but the last, so that its kernels are compiled once. */
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
afterAll(() => device.destroy());
const sizesPx = [28, 84];

test(
  'measures every kernel at every shape, keeps the result, and changes no bit',
  { timeout: 900_000 },
  async () => {
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
    expect(
      samples
        .filter(({ kernel, rows }) => kernel === 'attention' && rows === 37)
        .map(({ workgroups }) => workgroups),
    ).toEqual([2, 3]);
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
    await expect(model.tune({ sizesPx: [13] })).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    const stopped = AbortSignal.abort(new Error('enough'));
    await expect(model.tune({ sizesPx, store: false, signal: stopped })).rejects.toThrow('enough');
    // A store that fails costs the next visit a measurement, and no more.
    const broken: TuningStore = {
      get: () => Promise.reject(new Error('locked')),
      set: () => Promise.reject(new Error('full')),
    };
    expect(await model.tune({ sizesPx: [28], store: broken })).toMatchObject({
      source: 'measured',
      storeError: 'Error: locked',
    });
  },
);

test('the tiles that only a tuning asks for run where a kept one does, change no bit, and go with it', async () => {
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  const before = await bitsOfForward(model, 84, 84);
  const linesOf = async (): Promise<string[]> =>
    (await model.describe({ height: 84, width: 84 }))
      .split('\n')
      .filter((line) => line.includes('→ blocks.0.'));
  const usual = await linesOf();
  const keeping = (kept: unknown): Promise<unknown> =>
    model.tune({
      sizesPx,
      store: { get: () => Promise.resolve(kept), set: () => Promise.reject(new Error('full')) },
    });
  expect(
    await keeping({ wantedLanes: 1e6, operands: 'f32', wantedLanesNarrow: 1e6, wantedLanesAttention: 1e6 }),
  ).toMatchObject({ source: 'kept', tuning: { wantedLanesNarrow: 1e6, wantedLanesAttention: 1e6 } });
  const smallest = await linesOf();
  expect(smallest.filter((line) => line.startsWith('linear_small.')).length).toBe(4);
  expect(smallest.find((line) => line.startsWith('attention'))).toMatch(/ 3×1×1 /); // 37 tokens
  expect(await bitsOfForward(model, 84, 84)).toEqual(before);
  // Enough lanes for the first tile of each: the others are allowed, and are not used.
  await keeping({
    wantedLanes: 1,
    operands: 'f32',
    wantedLanesWidest: 1,
    wantedLanesNarrow: 1,
    wantedLanesAttention: 1,
  });
  const largest = await linesOf();
  expect(largest.filter((line) => /^linear_(narrow|small)|^attention .* 3×/.test(line))).toEqual([]);
  expect(largest.find((line) => line.includes('attn.qkv'))).toMatch(/^linear +2×1×1 /); // 192 columns, 128 a workgroup
  expect(await bitsOfForward(model, 84, 84)).toEqual(before);
  await keeping({ wantedLanes: 1e6, operands: 'f32' });
  expect(await linesOf()).toEqual(usual);
});

const half = (await requestAdapter()).features.has('shader-f16');

// Only where the adapter has f16 are there weights that can be staged as f16; elsewhere the model stores them
// packed, and has no such candidate.
test(
  'a kernel that computes something wrong, or other bits than the one that it stands for, does not win',
  { timeout: 900_000 },
  async () => {
    const device = await requestDevice(half ? ['shader-f16'] : []);
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = ({ code, ...rest }) => {
      const doubled = code.includes('alias Operand4 = vec4<f16>;')
        ? code.replaceAll('Operand4(weights4(', 'Operand4(2.0 * weights4(')
        : code;
      const masked = doubled.includes('const QUERY_GROUPS = 4u;')
        ? doubled.replace('const MASKED = -1e30;', 'const MASKED = 0.0;')
        : doubled;
      const doubledToo = masked.includes('const LANES_X = 16u;')
        ? masked.replace('tile.left5 + bias_left', '2.0 * tile.left5 + bias_left')
        : masked;
      // Of a lane's second row, in the small tile alone: right, but rounded differently. (Every fourth row of
      // the canary is one number alone, which no order changes.)
      return create({
        ...rest,
        code: doubledToo.replace(
          'fma(vec4f(x3.y), weight3, fma(vec4f(x2.y), weight2, ',
          'fma(vec4f(x2.y), weight2, fma(vec4f(x3.y), weight3, ',
        ),
      });
    };
    asGpu(device);
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp16', selfTest: false });
    const kept = {
      wantedLanes: 0,
      operands: 'f32',
      wantedLanesWidest: 0,
      wantedLanesNarrow: 1e6,
      wantedLanesAttention: 1e6,
    };
    const { source, tuning, samples, leftOut } = await model.tune({
      sizesPx: [28],
      store: { get: () => Promise.resolve(kept), set: () => Promise.resolve() },
    });
    expect(source).toBe('measured');
    expect(tuning).toMatchObject({
      operands: 'f32',
      wantedLanesWidest: undefined,
      wantedLanesNarrow: undefined,
      wantedLanesAttention: undefined,
    });
    expect(samples.map(({ kernel }) => kernel)).toEqual([
      'linear',
      'linear_narrow.linear',
      'attention',
      ...['linear_scale_residual', 'linear_gelu', 'linear_scale_residual'].flatMap((form) => [
        `linear.${form}`,
        `linear_narrow.${form}`,
      ]),
    ]);
    expect(samples.every(({ operands }) => operands === 'f32')).toBe(true);
    expect(leftOut[0]).toMatch(/^wantedLanesWidest: Self-test of kernel linear(\.\w+)? with/);
    expect(leftOut[1]).toMatch(
      /^wantedLanesNarrow: Self-test of kernel linear_small\.\w+: expected the same bits as another kernel/,
    );
    expect(leftOut[2]).toMatch(/^wantedLanesAttention: Self-test of kernel attention/);
    expect(leftOut.slice(3).join()).toMatch(
      half ? /^f16 weights in workgroup memory: Self-test of kernel linear/ : /^$/,
    );
    device.destroy();
  },
);
