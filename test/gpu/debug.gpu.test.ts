// The option `debug`: a check of every kernel's output, a trace of every task, and the labels of GPU objects.
import { afterEach, describe, expect, test, vi } from 'vitest';
import { correspondences, DINOv2, PCA, type TracedTask } from '../../src/index.ts';
import { wrongDevice, type Mistake } from './sabotage.ts';
import { watchLabels } from './labels.ts';
import { sharedDevice } from './sharedDevice.ts';
import { bitsOfForward, pixelsOf, requestDevice, settled, tiny } from './tiny.ts';

const device = await sharedDevice();
afterEach(() => void vi.restoreAllMocks());

describe("debug: 'check'", () => {
  test('gives the same bits, also for hidden states, masks and batches, and leaves no buffer', async () => {
    using plain = await DINOv2.synthetic(tiny, { device });
    using checked = await DINOv2.synthetic(tiny, { device, debug: 'check' });
    const before = plain.gpuBytes;
    for (const batch of [1, 2])
      expect(await bitsOfForward(checked, 42, 28, batch)).toEqual(await bitsOfForward(plain, 42, 28, batch));
    const options = { layers: [1], attentions: [0], maskedPatches: [true, false, false, true] };
    const size = { height: 28, width: 28 };
    using a = await plain.forward(pixelsOf(28, 28), size, options);
    using b = await checked.forward(pixelsOf(28, 28), size, options);
    expect(await b.hiddenState(1)).toEqual(await a.hiddenState(1));
    expect(await b.attention(0)).toEqual(await a.attention(0));
    checked.dispose();
    await settled();
    expect(plain.gpuBytes).toBeLessThan(before + 2_000_000);
  });

  test('features of a model with debug and of one without can be used together', async () => {
    using plain = await DINOv2.synthetic(tiny, { device });
    using checked = await DINOv2.synthetic(tiny, { device, debug: 'check' });
    using a = await plain.forward(pixelsOf(56, 56), { height: 56, width: 56 });
    using b = await checked.forward(pixelsOf(56, 42), { height: 56, width: 42 });
    const pca = await PCA.fit([a, b]);
    expect(await pca.rgb(b)).toHaveLength(4 * 4 * 3);
    using map = await a.similarity({ x: 3, y: 3 }, { against: b });
    expect(map.rows).toBe(4);
  });

  const mistakes: readonly (readonly [where: string, message: RegExp, mistake: Mistake[]])[] = [
    [
      'the first linear layer of the MLP',
      /^Kernel linear\w*\.linear_gelu, block 0, operation blocks\.0\.mlp\.fc1, on .*: blocks\.0\.mlp\.fc1 \(13, 256\): expected finite values, found \d+ NaN and 0 infinite, the first at row 0, column 0\. /,
      [['return 0.5 * x * (1.0 + erf);', 'return x * bitcast<f32>(0x7fc00000u | size.batch);']],
    ],
    [
      'the tokens',
      /^Kernel assemble_tokens, operation tokens, on .*: tokens \(13, 64\): expected finite values, found 0 NaN and 64 infinite, the first at row 5, column 0\. All tensors before it are finite\./,
      [
        [
          'let position = positions[token * VECTORS + vector];',
          'let position = select(positions[token * VECTORS + vector], vec4f(bitcast<f32>(0x7f800000u * size.batch)), token == 5u);',
        ],
      ],
    ],
  ];
  test.each(mistakes)('the error names %s', async (_, message, mistake) => {
    const { device: wrong, changed } = await wrongDevice(mistake);
    using model = await DINOv2.synthetic(tiny, { device: wrong, debug: 'check', selfTest: false });
    expect(changed()).toBeGreaterThan(0);
    const idle = model.gpuBytes;
    const failing = model.forward(pixelsOf(42, 56), { height: 42, width: 56 }).then(() => 'features');
    await expect(failing).rejects.toMatchObject({
      code: 'KERNEL_NOT_FINITE',
      message: expect.stringMatching(message),
    });
    const after = model.gpuBytes; // the activations of this size stay
    await expect(model.forward(pixelsOf(42, 56), { height: 42, width: 56 })).rejects.toThrow(message);
    expect(model.gpuBytes).toBe(after);
    expect(after).toBeGreaterThan(idle);
    wrong.destroy();
  });

  test('on a slow adapter, whose forward passes are cut into submits', async () => {
    using model = await DINOv2.synthetic(tiny, { device, debug: 'check' });
    const { Gpu } = await import('../../src/gpu/device.ts');
    vi.spyOn(Gpu.prototype, 'flopsPerSecond', 'get').mockReturnValue(1e6);
    const cut = await bitsOfForward(model, 42, 42);
    vi.restoreAllMocks();
    expect(cut).toEqual(await bitsOfForward(model, 42, 42));
  });
});

describe("debug: 'trace'", () => {
  test('reports each task with its submits and bytes', async () => {
    const traced: TracedTask[] = [];
    using model = await DINOv2.synthetic(tiny, {
      device,
      debug: 'trace',
      onTrace: (task) => void traced.push(task),
    });
    expect(traced.map(({ label }) => label)).toContain('self-test');
    expect(traced.reduce((sum, { uploadedBytes }) => sum + uploadedBytes, 0)).toBeGreaterThan(100_000);
    traced.length = 0;
    using features = await model.forward(pixelsOf(42, 56), { height: 42, width: 56 });
    const forward = traced.at(-1)!;
    expect(forward).toMatchObject({
      label: 'forward',
      submits: 1,
      uploadedBytes: 4 * 3 * 42 * 56,
      readBytes: 0,
    });
    expect(forward.allocatedBytes).toBe(4 * 13 * 64);
    expect(forward.ms).toBeGreaterThan(0);
    traced.length = 0;
    await features.clsToken();
    expect(traced).toMatchObject([{ submits: 0, readBytes: 4 * 64, error: undefined }]);
    traced.length = 0;
    await PCA.fit([features]);
    expect(traced.length).toBeGreaterThan(0);
  });

  test('an exception of onTrace changes neither results nor errors', async () => {
    const error = vi.spyOn(console, 'error').mockReturnValue();
    using model = await DINOv2.synthetic(tiny, {
      device,
      debug: 'trace',
      onTrace: () => {
        throw new TypeError('of the callback');
      },
    });
    using features = await model.forward(pixelsOf(28, 28), { height: 28, width: 28 });
    expect(await features.clsToken()).toHaveLength(64);
    expect(error).toHaveBeenCalled();
    const aborted = model.forward(
      pixelsOf(28, 28),
      { height: 28, width: 28 },
      { signal: AbortSignal.abort(7) },
    );
    await expect(aborted).rejects.toBe(7);
    error.mockRestore();
  });

  test('logs one line for each task by default, and reports tasks that fail', async () => {
    const debug = vi.spyOn(console, 'debug').mockReturnValue();
    using model = await DINOv2.synthetic(tiny, { device, debug: 'trace' });
    debug.mockClear();
    const abort = new AbortController();
    const running = model.forward(pixelsOf(28, 28), { height: 28, width: 28 }, { signal: abort.signal });
    await running.then((features) => features.dispose());
    expect(debug.mock.lastCall).toEqual([
      expect.stringMatching(
        /^\[dinov2-webgpu\] forward: [\d.]+ ms, 1 submits, \d+ B allocated, 9408 B uploaded$/,
      ),
    ]);
    const source = { data: new Uint8Array(4), width: 1, height: 1, channels: 3 } as const;
    await expect(model.features(source)).rejects.toThrow(/./);
    expect(debug.mock.lastCall).toEqual([expect.stringMatching(/, failed: [A-Z_]+$/)]);
  });
});

test('another value is refused, and the device is released', async () => {
  const wrong = 'all' as 'trace';
  await expect(DINOv2.synthetic(tiny, { device, debug: wrong })).rejects.toMatchObject({
    code: 'OPTION_VALUE',
    message: `debug: expected 'check' or 'trace', found "all".`,
  });
});

test('every GPU object has a label: buffers, kernels, pipelines, bind groups, encoders, passes, queries', async () => {
  const own = await requestDevice(['timestamp-query']);
  const { unlabelled, made } = watchLabels(own);
  using model = await DINOv2.synthetic(tiny, { device: own });
  const image = { data: new Uint8Array(3 * 60 * 50).fill(99), width: 60, height: 50, channels: 3 } as const;
  using a = await model.features(image, { resize: 'square', size: 56, attentions: [0] });
  using b = await model.features(image, { resize: 'square', size: 56 });
  await Promise.all([a.patchTokens(), a.attention(0), a.attentionMap(0)]);
  const pca = await PCA.fit([a, b]);
  await pca.rgb(a);
  using map = await a.similarity({ x: 3, y: 3 }, { against: b });
  await map.read();
  await correspondences(a, b);
  await model.profile(image, { resize: 'square', size: 28 });
  await model.fingerprint();
  expect(unlabelled).toEqual([]);
  for (const what of [
    'Buffer',
    'BindGroup',
    'BindGroupLayout',
    'PipelineLayout',
    'ShaderModule',
    'CommandEncoder',
  ])
    expect(made.get(`create${what}`), what).toBeGreaterThan(0);
  expect(made.get('createComputePipelineAsync')).toBeGreaterThan(10);
  expect(made.get('beginComputePass')).toBeGreaterThan(0);
  expect(made.get('finish')).toBeGreaterThan(0);
  if (own.features.has('timestamp-query')) expect(made.get('createQuerySet')).toBeGreaterThan(0);
  own.destroy();
});
