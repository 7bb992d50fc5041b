// The self-test of the tiled kernels on every adapter. A software adapter takes a minute to compile them.
import { expect, test } from 'vitest';
import { DINOv2 } from '../../src/dinov2.ts';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { targetOf } from '../../src/gpu/lowering.ts';
import { selfTest } from '../../src/gpu/checks/selfTest.ts';
import { correspondences } from '../../src/tasks/correspondences.ts';
import { asGpu, everyNode, pixelsOf, requestDevice, tiny } from './tiny.ts';
import { gpuOf, wrongDevice, type Mistake } from './sabotage.ts';

const TIMEOUT = { timeout: 300_000 };

test('tiled kernels pass with every weight storage', TIMEOUT, async () => {
  const { device } = await wrongDevice([]);
  const gpu = await gpuOf(device, false);
  const storages: WeightStorage[] = [
    'f32',
    'f16-packed',
    'int8',
    ...(device.features.has('shader-f16') ? ['f16' as const] : []),
  ];
  for (const storage of storages) await selfTest(gpu, everyNode(tiny), targetOf(gpu, storage));
  expect(gpu.memory.buffers).toBe(0);
  device.destroy();
});

// The mistakes are in shared shader helpers, so that these tests survive the rewrite of a kernel.
test.each<[WeightStorage, RegExp, Mistake[]]>([
  [
    'f32',
    /linear\.linear_gelu .*Also wrong: linear_narrow\.linear_gelu, linear\.linear_swiglu, linear_narrow\.linear_swiglu\. /,
    [
      ['0.7978842258453369', '0.7979'],
      ['fn silu(x: vec4f) -> vec4f {', 'fn silu(x: vec4f) -> vec4f { if (x.x > 1.0) { return x; }'],
    ],
  ],
  [
    'int8',
    /patch_embed with int8 .*Also wrong: linear, linear_narrow\.linear, .*linear_narrow\.linear_scale_residual/,
    [['SCALES_AT + 4u * group', 'SCALES_AT + 4u * group + 4u']],
  ],
])('%s: the self-test detects wrong tiled kernels', TIMEOUT, async (storage, found, mistakes) => {
  const { device } = await wrongDevice(mistakes);
  const wrong = await gpuOf(device, false);
  await expect(selfTest(wrong, everyNode(tiny), targetOf(wrong, storage))).rejects.toMatchObject({
    code: 'KERNEL_WRONG',
    message: expect.stringMatching(found),
  });
  device.destroy();
});

test(
  'alternatives that are correct but round differently pass, and the input size no longer selects between them',
  TIMEOUT,
  async () => {
    // Changes the order of the sum in a lane's second row. In every fourth row of the test data only one term is not
    // zero, so the order would not matter there.
    const { device, changed } = await wrongDevice([
      [
        'fma(vec4f(x3.y), left3, fma(vec4f(x2.y), left2, ',
        'fma(vec4f(x2.y), left2, fma(vec4f(x3.y), left3, ',
      ],
    ]);
    const gpu = await gpuOf(device, false);
    expect(targetOf(gpu, 'f32').wantedLanes).toBeGreaterThan(0);
    await selfTest(gpu, everyNode(tiny), targetOf(gpu, 'f32'));
    expect(changed()).toBeGreaterThan(0);
    expect(gpu.alternativesAgree).toBe(false);
    expect(targetOf(gpu, 'f32').wantedLanes).toBe(0);
    device.destroy();
  },
);

/** Results of the tiny model on a device, for an image of 56 × 56 pixels. */
async function resultsOn(model: DINOv2): Promise<number[]> {
  using features = await model.forward(pixelsOf(56, 56), { height: 56, width: 56 }, { layers: [1] });
  const { matches } = await correspondences(features, features);
  return [
    ...(await features.lastHiddenState()),
    ...(await features.hiddenState(1, { norm: true })),
    ...(await features.getIntermediateLayers([0]))[0]!,
    ...matches.map(({ score }) => score),
  ];
}

// For each case: the kernels that the driver fails to compile, and the kernels that replace them.
test.each<[string, boolean, Mistake[], RegExp, RegExp]>([
  [
    'the lane kernels, one of which does not compile',
    false,
    [
      ['subgroupBroadcast(mine0, 1u)', 'nothing(mine0, 1u)'],
      ['subgroupShuffle(mine.x, 1u)', 'nothing(mine.x, 1u)'],
      // The layer norm compiles, but is wrong: the final norm of hidden states must not use it.
      ['dot(squares, vec4f(1.0)) / f32(EMBED_DIM);', 'dot(squares, vec4f(4.0)) / f32(EMBED_DIM);'],
    ],
    /^KERNEL_COMPILE: Kernel linear_lanes/,
    /(?!.*lanes).*\blinear, attention\b/,
  ],
  [
    'the wide tile, and attention with 32 queries a workgroup',
    true,
    [
      ['const LANES_X = 8u;', 'const LANES_X = nothing;'],
      ['const QUERY_GROUPS = 8u;', 'const QUERY_GROUPS = nothing;'],
    ],
    /^KERNEL_COMPILE: Kernel (linear|attention)/,
    /.*\blinear_narrow\.linear, /,
  ],
])(
  'a fixed dtype on a GPU whose driver cannot build %s: other kernels of the same dtype',
  TIMEOUT,
  async (_, tiles, mistakes, rejected, used) => {
    const { device, changed } = await wrongDevice(mistakes);
    if (tiles) asGpu(device);
    using model = await DINOv2.synthetic(tiny, { device, dtype: 'fp32' });
    expect(model.dtype).toBe('fp32');
    const health = await model.health();
    if (changed() > 0) {
      expect(model.dtypeReason).toMatch(
        /^fp32, stored as f32, as requested, with other kernels than usual: passed the self-test in \d+ ms\. The usual kernels were rejected: Kernel/,
      );
      expect(health.rejected.map(({ code, message }) => `${code}: ${message}`)).toEqual([
        expect.stringMatching(rejected),
      ]);
      expect(await model.report()).toMatch(new RegExp(`- Kernels: ${used.source}`));
    } else expect(health.rejected).toEqual([]); // an adapter without lane kernels
    const right = await requestDevice();
    using usual = await DINOv2.synthetic(tiny, { device: right, dtype: 'fp32' });
    const [found, expected] = [await resultsOn(model), await resultsOn(usual)];
    const worst = Math.max(...found.map((value, i) => Math.abs(value - expected[i]!)));
    expect(found.length).toBe(expected.length);
    expect(worst).toBeLessThan(1e-4); // both are within the tolerance of the parity tests
    if (tiles) expect((await model.tune({ sizesPx: [28], store: false })).source).toBe('nothing to choose');
    device.destroy();
    right.destroy();
  },
);
