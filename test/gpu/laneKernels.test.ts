import { afterEach, expect, test, vi } from 'vitest';
import { Gpu } from '../../src/gpu/device.ts';
import { describeAdapter } from '../../src/gpu/adapter.ts';
import { alternatives, targetOf } from '../../src/gpu/lowering.ts';
import { configOf } from '../../src/model/config.ts';
import { buildForward } from '../../src/model/vit.ts';

afterEach(() => {
  vi.doUnmock('../../src/gpu/kernels/laneKernels.ts');
  vi.resetModules();
});

interface Subgroups {
  readonly min: number;
  readonly max: number;
  readonly feature?: boolean;
}

/** A fake device with the properties that `Gpu.of` reads. It computes nothing. */
function played(architecture: string, { min, max, feature = true }: Subgroups): GPUDevice {
  return {
    features: new Set(feature ? ['subgroups'] : []),
    adapterInfo: { vendor: 'played', architecture, subgroupMinSize: min, subgroupMaxSize: max },
    lost: new Promise(() => undefined),
  } as unknown as GPUDevice;
}

/** Names of the kernels that a device gets for ViT-S. */
async function kernelsOn(device: GPUDevice, make: typeof Gpu.of = Gpu.of.bind(Gpu)): Promise<string[]> {
  const gpu = await make(device, describeAdapter(device.adapterInfo), false);
  const { nodes } = buildForward(configOf('small'), { batch: 1, rows: 2, cols: 3 }).graph;
  const variants = nodes.flatMap((node) => alternatives(node, targetOf(gpu, 'f32')));
  return [...new Set(variants.map(({ variant }) => variant.kernel.name))].sort();
}

const everywhere = ['assemble_tokens', 'patch_embed'];
const oneTile = ['attention', 'layer_norm', 'linear'];

test.each<[what: string, architecture: string, subgroups: Subgroups, kernels: string[]]>([
  [
    'software, subgroups of 4',
    'swiftshader',
    { min: 4, max: 4 },
    ['attention_lanes', 'layer_norm_direct', 'linear_lanes4'],
  ],
  [
    'software, subgroups of 8',
    'llvmpipe',
    { min: 8, max: 8 },
    ['attention_lanes', 'layer_norm_direct', 'linear_lanes8'],
  ],
  ['software, subgroups of 16', 'llvmpipe', { min: 16, max: 16 }, oneTile],
  ['software, subgroups of 4 to 8', 'llvmpipe', { min: 4, max: 8 }, oneTile],
  ['software, without the feature', 'llvmpipe', { min: 8, max: 8, feature: false }, oneTile],
  ['a GPU, subgroups of 8', 'xe', { min: 8, max: 8 }, ['attention', 'layer_norm', 'linear', 'linear_narrow']],
])('%s', async (_, architecture, subgroups, kernels) => {
  expect(await kernelsOn(played(architecture, subgroups))).toEqual([...everywhere, ...kernels].sort());
});

test('a software adapter uses the tiled kernels if its own kernels cannot be loaded', async () => {
  vi.resetModules();
  vi.doMock('../../src/gpu/kernels/laneKernels.ts', () => {
    throw new TypeError('Failed to fetch dynamically imported module');
  });
  const device = await import('../../src/gpu/device.ts');
  const make = device.Gpu.of.bind(device.Gpu);
  expect(await kernelsOn(played('swiftshader', { min: 4, max: 4 }), make)).toEqual(
    [...everywhere, ...oneTile].sort(),
  );
});
