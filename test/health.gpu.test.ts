// model.health() and model.report().
import { afterEach, expect, test, vi } from 'vitest';
import { DINOv2 } from '../src/index.ts';
import { families, weightsOf } from './families/fixture.ts';
import { wrongDevice } from './gpu/sabotage.ts';
import { sharedDevice } from './gpu/sharedDevice.ts';
import { requestDevice, tiny } from './gpu/tiny.ts';

const device = await sharedDevice();
const timm = families.find(({ name }) => name === 'timm-plain')!;
const [weights, timmConfig] = [weightsOf(timm), timm.config!];
afterEach(() => vi.unstubAllGlobals());

test('a healthy model', async () => {
  using model = await DINOv2.synthetic(tiny, { device });
  const { dtypeReason } = model;
  expect(await model.health()).toEqual({
    selfTest: 'passed',
    selfTestMs: expect.any(Number) as number,
    dtype: 'fp32',
    dtypeReason,
    preprocessing: expect.stringMatching(
      /^resize \{"shortestEdge":256\}, crop \{"height":224,"width":224\}, bicubic, .*, which is the default.*status 403.*the features are wrong\.$/,
    ) as string,
    rejected: [],
    lost: undefined,
    losses: [],
    fallbacks: [],
    uncaughtError: undefined,
  });
  expect(model.loaded.loadMs).toBeGreaterThan(0);
});

test.each([
  [
    { config: timmConfig },
    /^resize \{"shortestEdge":98\}, crop \{"height":98,"width":98\}, bicubic, .*, rounded as in timm, from timm's pretrained_cfg in config\.json/,
  ],
  [
    { config: timmConfig, preprocessor: { do_normalize: false } },
    /^resize \{"shortestEdge":224\}, .*"mean":\[0,0,0\].*, from preprocessor_config\.json, or from the option preprocessor\.$/,
  ],
  [{ config: timmConfig, preprocessor: null }, /^resize \{"shortestEdge":256\}, .*, which is the default/],
])('health and report say how images are prepared, and why', async (files, expected) => {
  using model = await DINOv2.fromFiles({ ...files, weights }, { device, selfTest: false });
  const { preprocessing } = await model.health();
  expect(preprocessing).toMatch(expected);
  expect(await model.report()).toContain(`\n- Preprocessing: ${preprocessing}\n`);
});

test('the report has all parts on a line each, no address and no path', async () => {
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  Object.assign(model.loaded, {
    cacheReason:
      'GET https://user:secret@host.example/a/b.safetensors?token=secret failed (/home/secret name/hub, C:\\secret\\hub)\n- Injected: line',
  });
  const report = await model.report();
  const lines = report.split('\n');
  expect(lines.map((line) => /^- ([^:]+): ./.exec(line)?.[1])).toEqual([
    'Library',
    'Browser',
    'Adapter',
    'Features',
    'Limits',
    'Model',
    'Preprocessing',
    'Weights',
    'Kernels',
    'Self-test',
    'Rejected',
    'Device',
    'Losses',
    'Fallbacks',
    'GPU error',
    'GPU memory',
    'Load',
    'Forward',
  ]);
  expect(lines[0]).toMatch(/^- Library: dinov2-webgpu \d+\.\d+\.\d+, without a page$/);
  expect(report).toContain('- Model: 2 blocks, 64 channels, 1 heads, patches of 14, 0 registers, mlp');
  expect(report).toContain('- Self-test: switched off');
  expect(report).toMatch(/- Kernels: patch_embed, .*linear_scale_residual/);
  expect(lines.at(-1)).toMatch(/^- Forward: 224 × 224: [\d.]+, [\d.]+, [\d.]+ ms$/);
  expect(report).toContain('(none: GET [address] failed ([path], [path]) - Injected: line)');
  expect(report).not.toMatch(/secret|:\/\//);
});

test('a kernel that computes wrongly, and what was used in its place', async () => {
  const { device: wrong } = await wrongDevice([
    ['unpack2x16float(stored.x)', 'unpack2x16float(stored.x).yx'],
  ]);
  using model = await DINOv2.synthetic(tiny, { device: wrong, dtype: 'auto' });
  const { rejected, dtype } = await model.health();
  if (dtype === 'fp32') {
    expect(rejected).toMatchObject([
      { code: 'KERNEL_WRONG', message: expect.stringMatching(/f16-packed weights, run 1 of 3/) as string },
    ]);
    expect(await model.report()).toContain('- Rejected: KERNEL_WRONG: Self-test of kernel ');
  } else expect(rejected).toEqual([]); // the adapter has shader-f16, whose kernels do not unpack
  wrong.destroy();
});

test('a lost device, and a report after the loss', async () => {
  const own = await requestDevice();
  using model = await DINOv2.synthetic(tiny, { device: own });
  own.destroy();
  await own.lost;
  expect((await model.health()).lost).toMatch(/^The GPU device was lost \(destroyed\)/);
  const report = await model.report();
  expect(report).toMatch(/\n- Device: The GPU device was lost/);
  expect(report).toMatch(/\n- Forward: 224 × 224: failed: DEVICE_LOST: /);
  expect((await model.health()).losses).toMatchObject([
    { reason: 'destroyed', adapter: expect.stringMatching(/./) as string },
  ]);
  expect(JSON.parse(JSON.stringify(await model.health()))).toBeTypeOf('object');
});

test('what works in a slower way is named', async () => {
  using model = await DINOv2.synthetic(tiny, { device, selfTest: false });
  await model.tune({
    sizesPx: [28],
    store: { get: () => Promise.reject(new Error('no store')), set: () => Promise.resolve() },
  });
  Object.assign(model.loaded, { fetchedBytes: 5, cacheReason: 'the quota is exceeded' });
  const { fallbacks } = await model.health();
  expect(fallbacks).toContain(
    'The checkpoint is not cached, so the next load downloads it again: the quota is exceeded.',
  );
});

test('a disposed model has no health', async () => {
  const model = await DINOv2.synthetic(tiny, { device });
  model.dispose();
  await expect(model.health()).rejects.toMatchObject({ code: 'DISPOSED' });
  await expect(model.report()).rejects.toMatchObject({ code: 'DISPOSED' });
});
