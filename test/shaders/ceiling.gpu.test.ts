import { expect, test } from 'vitest';
import { CEILING_WORKGROUP, copy, multiplyAdd } from '../../src/gpu/kernels/ceilingKernels.ts';
import type { Kernel, KernelVariant } from '../../src/gpu/kernels/kernel.ts';
import { Random } from '../random.ts';
import { multiplyAdd as multiplyAddTwin } from '../reference/ceiling.ts';
import { bitsOf } from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

const gpu = await sharedGpu();

/** Runs a kernel with an input and an output binding. Returns the whole output buffer, guards included. */
async function run(
  kernel: Kernel,
  constants: KernelVariant['constants'],
  input: Float32Array<ArrayBuffer>,
  output: Float32Array<ArrayBuffer>,
  [x, y]: readonly [number, number],
): Promise<Float32Array> {
  const compiled = await gpu.pipelines.compile({ kernel, constants });
  const buffers = [gpu.memory.storageOf('input', input), gpu.memory.storageOf('output', output)] as const;
  try {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(compiled.pipeline);
    pass.setBindGroup(
      0,
      gpu.pipelines.bind(
        compiled,
        buffers.map((buffer) => ({ buffer })),
      ),
    );
    pass.dispatchWorkgroups(x, y);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    return new Float32Array(await gpu.read(buffers[1], 0, output.byteLength));
  } finally {
    for (const buffer of buffers) gpu.memory.destroy(buffer);
  }
}

/**
 * Relative tolerance. Each step shrinks earlier errors, so a chain accumulates at most some 500 roundings.
 */
const TOLERANCE = 1e-5;
const GUARD = -7;

test.each([
  ['true', 1, 1, 1],
  ['true', 3, 5, 2],
  ['false', 2, 7, 3],
  ['false', 32, 2, 1],
])('multiply_add, fused %s, %i rounds on %i × %i workgroups', async (FUSED, ROUNDS, x, y) => {
  const random = new Random(ROUNDS);
  const parameters = random.uniform(2).map((value) => 0.5 + Math.abs(value) / 4);
  const lanes = x * y * CEILING_WORKGROUP;
  const found = await run(
    multiplyAdd,
    { ROUNDS, FUSED },
    parameters,
    new Float32Array(lanes + 64).fill(GUARD),
    [x, y],
  );
  const expected = multiplyAddTwin(lanes, ROUNDS, parameters[0]!, parameters[1]!);
  for (let at = 0; at < lanes; at++) expect(Math.abs(found[at]! / expected[at]! - 1)).toBeLessThan(TOLERANCE);
  expect([...found.subarray(lanes)]).toEqual(Array.from({ length: 64 }, () => GUARD));
});

test.each([
  [1, 1],
  [5, 3],
])('copy, %i × %i workgroups: exact', async (x, y) => {
  const count = x * y * CEILING_WORKGROUP * 4;
  const source = new Random(count).uniform(count);
  const found = await run(
    copy,
    { ROUNDS: 1, FUSED: 'false' },
    source,
    new Float32Array(count + 64).fill(GUARD),
    [x, y],
  );
  expect(bitsOf(found.slice(0, count))).toEqual(bitsOf(source));
  expect([...found.subarray(count)]).toEqual(Array.from({ length: 64 }, () => GUARD));
});
