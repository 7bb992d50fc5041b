import { describe, expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { targetOf } from '../../src/gpu/lowering.ts';
import { selfTest } from '../../src/gpu/checks/selfTest.ts';
import { configOf, type DINOv2Config } from '../../src/model/config.ts';
import { full } from '../full.ts';
import { gpuOf, wrongDevice, type Mistake } from './sabotage.ts';
import { everyNode, nodesOf, tiny } from './tiny.ts';

// model/parity.gpu.test.ts also runs the self-test, in fp32.
test("this adapter's kernels pass with every weight storage, and no buffer remains", async () => {
  const { device, changed } = await wrongDevice([]);
  const gpu = await gpuOf(device);
  const all = full || !gpu.software;
  const storages: WeightStorage[] = [
    'int8',
    ...(all ? (['f32', 'f16-packed'] as const) : []),
    ...(all && device.features.has('shader-f16') ? ['f16' as const] : []),
  ];
  const report: string[] = [];
  for (const storage of storages)
    report.push(`${storage} ${(await selfTest(gpu, everyNode(tiny), targetOf(gpu, storage))).toFixed(0)} ms`);
  console.log(`self-test: ${report.join(', ')}`);
  expect(changed()).toBe(0);
  expect(gpu.memory.buffers).toBe(0);
  device.destroy();
});

/**
 * Compiler mistakes, and exactly the kernels that the self-test must report. A mistake has one line for each form
 * that its text takes in the families of kernels. A round combines several mistakes, because each round compiles all
 * kernels on a new device.
 */
const rounds: readonly (readonly [
  storage: WeightStorage,
  found: readonly string[],
  mistakes: readonly Mistake[],
])[] = [
  [
    'f32',
    [
      'linear_gelu',
      'linear_swiglu',
      'linear_scale_residual',
      'attention',
      'layer_norm',
      'patch_embed',
      'assemble_tokens',
      'assemble_tokens_registers',
      'mask_patches',
    ],
    [
      ['0.7978842258453369', '0.7979'], // the fourth digit of a constant of gelu
      ['silu(gate) * up', 'silu(up) * gate'],
      ['fma(gamma[left], a,', 'fma(gamma[left + 1u], a,'],
      ['fma(gamma[vector], value,', 'fma(gamma[vector + 1u], value,'],
      ['0.18033688011112042', '0.1804'], // the scale of the attention scores
      ['let distance = x[first + i] - mean;', 'let distance = x[first + i];'], // computes the variance as E[x²] - E[x]²
      [
        'let variance = dot(squares, vec4f(1.0)) / f32(EMBED_DIM);',
        'let variance = dot(squares, vec4f(1.0)) / f32(EMBED_DIM) - mean * mean;',
      ],
      [
        'let variance = workgroup_sum(lane, squares) / f32(EMBED_DIM);',
        'let variance = workgroup_sum(lane, squares) / f32(EMBED_DIM) - mean * mean;',
      ],
      ['index % size.cols', 'index % size.rows'],
      ['positions[token * VECTORS', 'positions[(token + 1u) * VECTORS'],
      ['mask[patch_row] != 0u', 'mask[patch_row] == 0u'],
    ],
  ],
  [
    'f32',
    ['linear', 'linear_gelu', 'linear_scale_residual', 'attention', 'layer_norm'],
    [
      [
        'out[row * OUT_VECTORS + left] = a;',
        'if (row + 1u < size.batch * size.num_tokens) { out[row * OUT_VECTORS + left] = a; }',
      ], // the last row is not written
      [
        'out[row * OUT_VECTORS + vector] = value;',
        'if (row + 1u < size.batch * size.num_tokens) { out[row * OUT_VECTORS + vector] = value; }',
      ],
      [
        'out_scaled[at + left] = fma(gamma[left], a, residual[at + left]);',
        'out_scaled[at + left] = quantizeToF16(fma(gamma[left], a, residual[at + left]));',
      ],
      [
        'out_scaled[at] = fma(gamma[vector], value, residual[at]);',
        'out_scaled[at] = quantizeToF16(fma(gamma[vector], value, residual[at]));',
      ],
      ['min(LANES, size.num_tokens - token)', 'min(LANES, size.num_tokens - 1u - token)'], // omits the last key
      [
        'out[first + i] = fma((x[first + i] - mean) * scale, weight[i], bias[i]);',
        'out[first + i] = quantizeToF16(fma((x[first + i] - mean) * scale, weight[i], bias[i]));',
      ],
    ],
  ],
  [
    'f16-packed',
    ['linear', 'linear_gelu', 'linear_swiglu', 'linear_scale_residual', 'patch_embed'],
    [['unpack2x16float(stored.x)', 'unpack2x16float(stored.x).yx']],
  ],
  [
    'int8',
    ['linear', 'linear_gelu', 'linear_swiglu', 'linear_scale_residual', 'patch_embed'],
    [['vec4f(vec4i(vec4u(stored) <<', 'vec4f((vec4u(stored) <<']],
  ], // drops the sign of the int8 weights
];

test.each(full ? rounds : rounds.slice(0, 1))(
  '%s: the self-test detects mistakes in %j',
  async (storage, kernels, mistakes) => {
    const { device, changed } = await wrongDevice(mistakes);
    const gpu = await gpuOf(device, true);
    const error = await selfTest(gpu, everyNode(tiny), targetOf(gpu, storage)).then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(error).toMatchObject({ name: 'DeviceError', code: 'KERNEL_WRONG' });
    expect(error!.message).toMatch(
      /^Self-test of kernel [\w.]+.*, run 1 of 3: expected -?[\d.e+-]+ ± [\d.e-]+ at row \d+, column \d+, found .+ on .+\. .*This GPU/,
    );
    const [, first, others = ''] = error!.message.match(/kernel ([\w.]+).*?(?:Also wrong: (.*?)\. |$)/)!;
    expect(
      [first!, ...others.split(', ').filter(Boolean)]
        .map((name) => name.split('.').at(-1)!.replace('_direct', ''))
        .sort(),
    ).toEqual([...kernels].sort());
    expect(changed()).toBeGreaterThan(0);
    expect(gpu.memory.buffers).toBe(0);
    device.destroy();
  },
);

// A compiler mistake may affect only one matrix width, and only its last columns.
test.each<[DINOv2Config, string, string, Mistake]>([
  [
    tiny,
    'linear_scale_residual',
    'blocks.1.mlp.fc2',
    ['const IN_FEATURES = 256u;', 'const IN_FEATURES = 252u;'],
  ],
  [
    configOf('small'),
    'linear',
    'blocks.11.attn.qkv',
    ['const OUT_FEATURES = 1152u;', 'const OUT_FEATURES = 1148u;'],
  ],
  [
    { ...configOf('giant'), depth: 1 },
    'linear_swiglu',
    'blocks.0.mlp.w12',
    ['const OUT_FEATURES = 8192u;', 'const OUT_FEATURES = 8188u;'],
  ],
])(
  'the self-test detects a mistake for the dimensions of one model, %#',
  async (config, name, label, mistake) => {
    const { device, changed } = await wrongDevice([mistake]);
    const gpu = await gpuOf(device);
    const node = nodesOf(config).find((each) => each.label === label)!;
    await expect(selfTest(gpu, [node], targetOf(gpu, 'f32'))).rejects.toMatchObject({
      code: 'KERNEL_WRONG',
      message: expect.stringMatching(new RegExp(`^Self-test of kernel linear\\w*\\.${name} `)),
    });
    expect(changed()).toBe(1);
    device.destroy();
  },
);

// Both software adapters of these tests use lane kernels; a GPU uses none.
test('the self-test detects lanes that receive the wrong value from a subgroup operation', async () => {
  const { device, changed } = await wrongDevice([
    ['let key0 = subgroupShuffle(k0, other);', 'let key0 = k0;'],
    ['subgroupBroadcast(mine0, 1u)', 'subgroupBroadcast(mine0, 0u)'],
    ['subgroupShuffle(mine.x, 1u)', 'subgroupShuffle(mine.x, 0u)'],
  ]);
  const gpu = await gpuOf(device);
  if (gpu.laneKernels === undefined) {
    await selfTest(gpu, everyNode(tiny), targetOf(gpu, 'f32'));
    expect(changed()).toBe(0);
  } else {
    const error = await selfTest(gpu, everyNode(tiny), targetOf(gpu, 'f32')).then(
      () => undefined,
      (reason: Error) => reason,
    );
    expect(error!.message).toMatch(
      new RegExp(
        `kernel linear_lanes${gpu.laneKernels.lanes}\\.linear with f32 weights, run 1 .*Also wrong: .*attention_lanes\\.attention`,
      ),
    );
  }
  device.destroy();
});

describe('a model on a device that computes wrongly', () => {
  const halves: Mistake[] = [
    ['return vec4f(stored);', 'return 1.01 * vec4f(stored);'],
    ['unpack2x16float(stored.y)', 'unpack2x16float(stored.x)'],
  ];
  const gated = { ...tiny, ffn: 'swiglu' } as const;
  const sums: Mistake[] = [
    ['fn silu(x: vec4f) -> vec4f {', 'fn silu(x: vec4f) -> vec4f { if (x.x > 1.0) { return x; }'],
  ];

  test("with wrong f16 conversions, 'auto' selects fp32 and gives the reason, fp16 is rejected, and int8 works", async () => {
    const { device } = await wrongDevice(halves);
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'auto' });
    expect(model.dtype).toBe('fp32');
    expect(model.dtypeReason).toMatch(
      /^fp32, stored as f32, chosen by 'auto': passed the self-test in \d+ ms\. A preferred form was rejected: Self-test of kernel [\w.]+ with f16.* weights, run 1 of 3: expected/,
    );
    await expect(DINOv2.synthetic(tiny, { device, dtype: 'fp16' })).rejects.toMatchObject({
      code: 'KERNEL_WRONG',
      message: expect.stringMatching(/dtype: 'auto'\.$/),
    });
    if (full) {
      using small = await DINOv2.synthetic(tiny, { device, dtype: 'int8' });
      expect(small.dtype).toBe('int8');
    }
    device.destroy();
  });

  test.each(full ? (['auto', 'int8'] as const) : (['auto'] as const))(
    'with a wrong silu, %s is rejected and no buffer remains; with selfTest: false the model loads, and dtypeReason says that the self-test was off',
    async (dtype) => {
      const { device } = await wrongDevice(sums);
      await expect(DINOv2.synthetic(gated, { device, dtype })).rejects.toMatchObject({
        name: 'DeviceError',
        code: 'KERNEL_WRONG',
        message: expect.stringContaining('linear_swiglu'),
      });
      const gpu = await acquireGpu(device);
      expect(gpu.memory.buffers).toBe(0);
      using model = await DINOv2.synthetic(gated, { device, selfTest: false });
      expect(model.dtypeReason).toBe('fp32, stored as f32, as requested; the self-test was switched off.');
      device.destroy();
    },
  );

  // A slow variant of the first test above: fp32 replaces f16, here after a compile error. The full tier runs both.
  if (full) {
    test("if f16 kernels do not compile, 'auto' selects fp32", async () => {
      const { device } = await wrongDevice([
        ['alias Weights4 = vec2<u32>', 'alias Weights4 = vec2<nothing>'],
        ['enable f16;', 'enable nothing;'],
      ]);
      using model = await DINOv2.synthetic(tiny, { device, dtype: 'auto' });
      expect([model.dtype, model.dtypeReason]).toEqual([
        'fp32',
        expect.stringContaining('does not compile on'),
      ]);
      await expect(DINOv2.synthetic(tiny, { device, dtype: 'fp16' })).rejects.toMatchObject({
        code: 'KERNEL_COMPILE',
        message: expect.stringMatching(/dtype: 'auto'\.$/),
      });
      device.destroy();
    });
  }
});

test('a device runs the self-test once for each weight storage', async () => {
  const { device } = await wrongDevice([]);
  const create = device.createBuffer.bind(device);
  let tested = 0;
  device.createBuffer = (descriptor) => {
    if (descriptor.label === 'self-test results') tested += 1;
    return create(descriptor);
  };
  for (const dtype of full
    ? (['fp32', 'fp32', 'auto', 'fp16'] as const)
    : (['fp16', 'auto', 'fp16'] as const))
    (await DINOv2.synthetic(tiny, { device, dtype })).dispose();
  expect(tested).toBe(full ? 2 : 1);
  device.destroy();
});

test('an unknown dtype is rejected, and the error names it', async () => {
  const dtype = 'q4' as 'auto';
  await expect(DINOv2.synthetic(tiny, { dtype })).rejects.toMatchObject({
    code: 'OPTION_VALUE',
    message: expect.stringContaining('\'int8\', found "q4"'),
  });
});
