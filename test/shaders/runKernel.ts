// Runs one kernel outside of the forward pass, with guard words around each buffer that it writes.
import { expect } from 'vitest';
import type { Gpu } from '../../src/gpu/device.ts';
import type { Kernel } from '../../src/gpu/kernels/kernel.ts';

const GUARD = 0xdeadbeef;
const GUARD_WORDS = 64;

type Data = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/**
 * Runs a kernel twice and checks the guards and that both results agree. `data` holds the contents of each binding
 * before the run, or its number of words, which the kernel must write. Returns the contents of the written bindings.
 */
export async function runKernel(
  gpu: Gpu,
  kernel: Kernel,
  constants: Record<string, number>,
  workgroups: readonly [number, number],
  data: Record<string, Data | number>,
): Promise<Record<string, ArrayBuffer>> {
  const compiled = await gpu.pipelines.compile({ kernel, constants });
  const once = async (): Promise<Record<string, Uint32Array<ArrayBuffer>>> => {
    const buffers = kernel.bindings.map(({ name, access }) => {
      const given = data[name]!;
      if (access === 'uniform')
        return { name, buffer: gpu.memory.uniformOf(name, [...(given as Uint32Array)]), words: 0 };
      if (access === 'read') return { name, buffer: gpu.memory.storageOf(name, given as Data), words: 0 };
      const words = typeof given === 'number' ? given : given.length;
      const all = new Uint32Array(words + 2 * GUARD_WORDS).fill(GUARD);
      if (typeof given !== 'number') all.set(new Uint32Array(given.buffer), GUARD_WORDS);
      return { name, buffer: gpu.memory.storageOf(name, all), words };
    });
    try {
      const resources = buffers.map(({ buffer, words }) =>
        words > 0 ? { buffer, offset: 4 * GUARD_WORDS } : { buffer },
      );
      const encoder = gpu.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(compiled.pipeline);
      pass.setBindGroup(0, gpu.pipelines.bind(compiled, resources));
      pass.dispatchWorkgroups(...workgroups);
      pass.end();
      gpu.device.queue.submit([encoder.finish()]);
      const out: Record<string, Uint32Array<ArrayBuffer>> = {};
      for (const { name, buffer, words } of buffers) {
        if (words === 0) continue;
        const all = new Uint32Array(await gpu.read(buffer, 0, 4 * (words + 2 * GUARD_WORDS)));
        all.forEach((word, i) => {
          const inside = i >= GUARD_WORDS && i < GUARD_WORDS + words;
          if ((word === GUARD) === inside)
            throw new Error(
              `${kernel.entryPoint}: ${inside ? 'left' : 'wrote'} word ${i - GUARD_WORDS} of ${words} of ${name}`,
            );
        });
        out[name] = all.slice(GUARD_WORDS, GUARD_WORDS + words);
      }
      return out;
    } finally {
      for (const { buffer } of buffers) gpu.memory.destroy(buffer);
    }
  };
  const first = await once();
  expect(await once(), `${kernel.entryPoint} run again`).toEqual(first);
  return Object.fromEntries(Object.entries(first).map(([name, words]) => [name, words.buffer]));
}
