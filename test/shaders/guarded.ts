// Runs a kernel outside of the forward pass, and checks guard words around each output.
import { expect } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import type { Kernel } from '../../src/gpu/kernels/kernel.ts';
import type { Data } from './harness.ts';

const GUARD = 0xdeadbeef;
/** 256 bytes, because a binding's offset must be a multiple of that. */
const GUARD_WORDS = 64;

/**
 * Runs a kernel and checks the guards. `data` holds the contents of each binding before the run. Returns the contents
 * of the written bindings.
 */
export async function runGuarded(
  gpu: Gpu,
  kernel: Kernel,
  constants: Record<string, number>,
  workgroups: readonly [number, number?],
  data: Readonly<Record<string, Data>>,
): Promise<Record<string, ArrayBuffer>> {
  const compiled = await gpu.pipelines.compile({ kernel, constants });
  const buffers = kernel.bindings.map(({ name, access }) => {
    const given = data[name]!;
    if (access === 'uniform') return { name, buffer: gpu.memory.uniformOf(name, [...given]), words: 0 };
    if (access === 'read') return { name, buffer: gpu.memory.storageOf(name, given), words: 0 };
    const all = new Uint32Array(given.length + 2 * GUARD_WORDS).fill(GUARD);
    all.set(new Uint32Array(given.buffer), GUARD_WORDS);
    return { name, buffer: gpu.memory.storageOf(name, all), words: given.length };
  });
  try {
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(compiled.pipeline);
    pass.setBindGroup(
      0,
      gpu.pipelines.bind(
        compiled,
        buffers.map(({ buffer, words }) => (words > 0 ? { buffer, offset: 4 * GUARD_WORDS } : { buffer })),
      ),
    );
    pass.dispatchWorkgroups(...workgroups);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    const out: Record<string, ArrayBuffer> = {};
    for (const { name, buffer, words } of buffers.filter((each) => each.words > 0)) {
      const all = new Uint32Array(await gpu.read(buffer, 0, 4 * (words + 2 * GUARD_WORDS)));
      const outside = [...all.subarray(0, GUARD_WORDS), ...all.subarray(GUARD_WORDS + words)];
      expect(
        outside.every((word) => word === GUARD),
        `no word outside ${name} is written`,
      ).toBe(true);
      out[name] = all.slice(GUARD_WORDS, GUARD_WORDS + words).buffer;
    }
    return out;
  } finally {
    for (const { buffer } of buffers) gpu.memory.destroy(buffer);
  }
}
