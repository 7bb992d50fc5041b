/**
 * Measures the highest rates that an adapter reaches: multiply-adds in registers, and bytes copied per
 * second.
 */
import { CEILING_WORKGROUP, copy, multiplyAdd, MULTIPLY_ADDS_A_ROUND } from '../kernels/ceilingKernels.js';
import type { Gpu } from '../device.js';
import { time, type Work } from './stopwatch.js';

/** The highest rates that this adapter reaches in simple kernels. */
export interface Ceilings {
  /** Floating-point operations per second: f32 multiply-adds in registers, each counted as two. */
  readonly flopsPerSecond: number;
  /** Bytes per second of a shader that copies a buffer: bytes read plus bytes written. */
  readonly bytesPerSecond: number;
}

/**
 * Size in bytes of the buffer that is copied. Source and destination together exceed most caches. Every
 * device allows buffers of this size.
 */
const COPY_BYTES = 64 * 1024 * 1024;
/**
 * Size in bytes of the copied buffer on a software adapter, where a smaller copy takes long enough to be
 * timed.
 */
const COPY_BYTES_SOFTWARE = 16 * 1024 * 1024;
const ROUNDS = 32;
const known = new WeakMap<Gpu, Ceilings>();

/**
 * Measures the highest rates ("ceilings") of a device. Later calls return the first result.
 *
 * @throws DeviceError; the signal's reason
 */
export async function measureCeilings(gpu: Gpu, signal?: AbortSignal): Promise<Ceilings> {
  const measured = known.get(gpu) ?? (await measure(gpu, signal));
  known.set(gpu, measured);
  return measured;
}

async function measure(gpu: Gpu, signal: AbortSignal | undefined): Promise<Ceilings> {
  const { pipelines } = gpu;
  const compiled = await Promise.all([
    pipelines.compile({ kernel: multiplyAdd, constants: { ROUNDS, FUSED: 'true' } }),
    pipelines.compile({ kernel: multiplyAdd, constants: { ROUNDS, FUSED: 'false' } }),
    pipelines.compile({ kernel: copy, constants: { ROUNDS, FUSED: 'false' } }),
  ]);
  // A GPU gets enough lanes to fill a large GPU many times. A software adapter is slow, so few lanes already
  // take long enough to be timed.
  const groups = gpu.software ? 64 : 4096;
  const lanes = groups * CEILING_WORKGROUP;
  const flops = 2 * lanes * MULTIPLY_ADDS_A_ROUND * ROUNDS;
  const copyBytes = gpu.software ? COPY_BYTES_SOFTWARE : COPY_BYTES;
  const copyGroups = copyBytes / 16 / CEILING_WORKGROUP;
  return gpu.task('ceilings', signal, async (task) => {
    const [parameters, sums, source, copied] = task.burst((burst) => [
      burst.storageOf('ceiling parameters', new Float32Array([0.999, 0.001])), // results of all steps stay near 1
      burst.storage('ceiling sums', lanes * 4),
      burst.storage('ceiling source', copyBytes),
      burst.storage('ceiling copy', copyBytes),
    ]);
    await task.settled();
    const works = compiled.map((kernel): Work => {
      const buffers = kernel.variant.kernel === copy ? [source!, copied!] : [parameters!, sums!];
      const group = pipelines.bind(
        kernel,
        buffers.map((buffer) => ({ buffer })),
      );
      const [x, y] = kernel.variant.kernel === copy ? [copyGroups / 256, 256] : [groups, 1];
      return {
        seconds: kernel.variant.kernel === copy ? 0.01 : flops / gpu.flopsPerSecond,
        encode: (pass) => {
          pass.setPipeline(kernel.pipeline);
          pass.setBindGroup(0, group);
          pass.dispatchWorkgroups(x, y);
        },
      };
    });
    const { seconds } = await time(gpu, works, signal);
    return {
      flopsPerSecond: flops / Math.min(seconds[0]!, seconds[1]!),
      bytesPerSecond: (2 * copyBytes) / seconds[2]!,
    };
  });
}
