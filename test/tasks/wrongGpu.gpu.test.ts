// Tasks on devices that compute wrongly: they use the kernels that the self-test accepted, or report the error.
import { expect, test } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import { targetOf } from '../../src/gpu/lowering.ts';
import { applyNorm } from '../../src/model/finalNorm.ts';
import { correspondences } from '../../src/tasks/correspondences.ts';
import type { PatchFeatures } from '../../src/tasks/patchMatrix.ts';
import { full } from '../full.ts';
import { gpuOf, wrongDevice, type Mistake } from '../gpu/sabotage.ts';
import { Random } from '../random.ts';
import { cosines, nearestInRows } from '../reference/nearest_patch.ts';

const DIM = 64;
const [rowsA, rowsB, cols] = [9, 11, 8];
const tokensA = new Random(1).uniform(rowsA * cols * DIM);
const tokensB = new Random(2).uniform(rowsB * cols * DIM);

/** Features without a cls token would start at row 0, so one token is before the patches. */
function featuresOf(gpu: Gpu, patches: Float32Array, rows: number): PatchFeatures {
  const all = new Float32Array(DIM + patches.length);
  all.set(patches, DIM);
  const buffer = gpu.memory.storageOf('features', all);
  return {
    gpu,
    buffer,
    batch: 1,
    numTokens: 1 + rows * cols,
    numRegisterTokens: 0,
    rows,
    cols,
    embedDim: DIM,
  };
}

/** Runs `use` with the features of two images on a device that makes mistakes. */
async function onWrongDevice(
  mistakes: readonly Mistake[],
  use: (a: PatchFeatures, b: PatchFeatures) => Promise<void>,
  software?: boolean,
): Promise<void> {
  const { device } = await wrongDevice(mistakes);
  const gpu = await gpuOf(device, software);
  const [a, b] = [featuresOf(gpu, tokensA, rowsA), featuresOf(gpu, tokensB, rowsB)];
  await use(a, b);
  for (const { buffer } of [a, b]) gpu.memory.destroy(buffer);
  expect(gpu.memory.buffers).toBe(0);
  device.destroy();
}

/** For each family of kernels, mistakes in the usual kernel of a matrix product. */
const usualProducts: readonly (readonly [family: string, software: boolean | undefined, Mistake[]])[] = [
  [
    'lane kernels',
    undefined,
    [
      ['subgroupBroadcast(mine0, 1u)', 'subgroupBroadcast(mine0, 0u)'],
      ['subgroupShuffle(mine.x, 1u)', 'subgroupShuffle(mine.x, 0u)'],
    ],
  ],
  ['tiled kernels', false, [['const LANES_X = 8u;', 'const LANES_X = 4u;']]],
];

test.each(full ? usualProducts : usualProducts.slice(0, 1))(
  '%s: correspondences use other kernels if the self-test rejects the usual matrix product',
  async (_, software, mistakes) => {
    const exact = cosines(tokensA, tokensB, rowsA * cols, rowsB * cols, DIM);
    const expected = nearestInRows(exact, rowsA * cols, rowsB * cols);
    await onWrongDevice(
      mistakes,
      async (a, b) => {
        for (let call = 0; call < 2; call++) {
          const found = await correspondences(a, b, { mutual: false });
          for (const { a: from, b: to, score } of found.matches) {
            const best = expected[from.row * cols + from.col]!;
            expect(to.row * cols + to.col).toBe(best.index);
            expect(Math.abs(score - best.score)).toBeLessThanOrEqual(1e-6);
          }
        }
      },
      software,
    );
  },
);

test.each<[what: string, mistake: Mistake]>([
  ['scales the tokens wrongly', ['select(0.0, 1.0 / length,', 'select(0.0, 0.9 / length,']],
  ['omits the last rows', ['min((id.y + 1u) * length, size.rows)', 'min(id.y * length + 1u, size.rows)']],
  ['omits the last columns', ['min((id.y + 1u) * length, vectors)', 'min(id.y * length + 1u, vectors)']],
  ['omits parts', ['part < PARTS; part++', 'part < PARTS; part += 2u']],
  ['finds nothing', ['let higher = found > best;', 'let higher = found < best;']],
  ['numbers the patches wrongly', ['vec4u(size.first_row)', 'vec4u(size.first_row + 1u)']],
])('correspondences find that a GPU %s', async (_, mistake) => {
  await onWrongDevice([mistake], async (a, b) => {
    await expect(correspondences(a, b)).rejects.toMatchObject({
      name: 'DeviceError',
      code: 'KERNEL_WRONG',
      message: expect.stringMatching(/^correspondences on .+: expected .+, found .+\. This GPU/) as string,
    });
  });
});

test('the final norm uses the kernels of the forward pass', async () => {
  const { device } = await wrongDevice([
    [
      'let variance = dot(squares, vec4f(1.0)) / f32(EMBED_DIM);',
      'let variance = 4.0 * dot(squares, vec4f(1.0)) / f32(EMBED_DIM);',
    ],
  ]); // in the kernel for software adapters
  const gpu = await gpuOf(device);
  const target = { ...targetOf(gpu, 'f32'), laneKernels: undefined };
  const size = { batch: 1, rows: 1, cols: 2, numTokens: 3 };
  const x = new Random(3).uniform(3 * DIM);
  const normed = await gpu.task('test', undefined, async (task) => {
    const [buffer, weight, bias] = task.burst((burst) => [
      burst.storageOf('x', x),
      burst.storageOf('weight', new Float32Array(DIM).fill(1)),
      burst.storageOf('bias', new Float32Array(DIM)),
    ]);
    const norm = { weight: weight!, bias: bias!, eps: 1e-6, target };
    const out = await applyNorm(gpu, task, norm, buffer!, size, DIM);
    return new Float32Array(await task.read(out, 0, x.byteLength));
  });
  for (let row = 0; row < 3; row++) {
    const values = normed.subarray(row * DIM, (row + 1) * DIM);
    expect(values.reduce((sum, value) => sum + value ** 2, 0) / DIM).toBeCloseTo(1, 4);
  }
  expect(gpu.memory.buffers).toBe(0);
  device.destroy();
});
