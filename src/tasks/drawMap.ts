/** Draws a map on a texture or canvas, on the GPU: nothing is read back. */
import type { Gpu } from '../gpu/device.js';
import { mapColors, mapRange } from '../gpu/kernels/mapKernels.js';
import type { Kernel } from '../gpu/kernels/kernel.js';
import type { Lease } from '../gpu/lease.js';
import type { CompiledKernel } from '../gpu/pipelines.js';
import { F32_BYTES } from '../graph/constants.js';
import { prepareDraw, type DrawTarget } from './drawTarget.js';
import { checkRange, stopsOf, wrong, type PatchMapColorOptions } from './patchMap.js';

/** Options of `GpuPatchMap.drawTo`. */
export interface MapDrawOptions extends Pick<PatchMapColorOptions, 'colormap' | 'range'> {
  /**
   * True: the colours are interpolated between the centres of the patches (bilinear). False: each patch is a
   * rectangle. Default: true.
   */
  readonly smooth?: boolean | undefined;
  /** Aborts the call: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Number of values that a workgroup of `map_colors` computes. */
const VALUES_AT_ONCE = 64;

/** The map that is drawn. `GpuPatchMap` implements it. */
export interface DrawnMap {
  readonly gpu: Gpu;
  readonly lease: Lease;
  readonly rows: number;
  readonly cols: number;
  readonly buffer: GPUBuffer;
}

/** Implements `GpuPatchMap.drawTo`. */
export async function drawMap(map: DrawnMap, target: DrawTarget, options: MapDrawOptions): Promise<void> {
  const where = 'GpuPatchMap.drawTo';
  const { colormap = 'viridis', range, smooth = true, signal } = options;
  const { gpu, rows, cols, buffer } = map;
  const stops = stopsOf(where, colormap);
  if (range) checkRange(where, range);
  if (typeof smooth !== 'boolean') throw wrong(`${where}: smooth`, 'true or false', smooth);
  signal?.throwIfAborted();
  const compile = (kernel: Kernel): Promise<CompiledKernel> =>
    gpu.pipelines.compile({ kernel, constants: {} });
  const [ends, colors, draw] = await Promise.all([
    range ? undefined : compile(mapRange),
    compile(mapColors),
    prepareDraw(where, gpu, target, smooth),
  ]);
  const count = rows * cols;
  await gpu.task('draw map', signal, (task) => {
    task.use(map.lease);
    task.burst((burst) => {
      const size = burst.uniformOf('map size', [count, stops.length]);
      const limits = range
        ? burst.storageOf('map range', Float32Array.from(range))
        : burst.storage('map range', 2 * F32_BYTES);
      if (ends) burst.dispatch(ends, [size, buffer, limits], [1]);
      const table = burst.storageOf('colour map', Float32Array.from(stops.flatMap((stop) => [...stop, 255])));
      const rgba = burst.storage('map colours', count * F32_BYTES);
      burst.dispatch(colors, [size, buffer, limits, table, rgba], [Math.ceil(count / VALUES_AT_ONCE)]);
      draw(burst, rgba, rows, cols);
    });
  });
}
