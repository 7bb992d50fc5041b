/** Profiles one forward pass of a model. */
import type { Gpu } from '../gpu/device.js';
import type { Profile } from '../gpu/measure/profile.js';
import { profileProgram } from '../gpu/measure/profiler.js';
import type { Grid } from '../model/vit.js';
import type { ProgramCache } from './programCache.js';

/**
 * Times every dispatch of a forward pass.
 *
 * @param pixels normalised pixels, (batch, 3, rows · patchSize, cols · patchSize)
 * @throws DeviceError; the signal's reason
 */
export async function profileForward(
  gpu: Gpu,
  programs: ProgramCache,
  grid: Grid,
  pixels: GPUBuffer,
  signal?: AbortSignal,
): Promise<Profile> {
  const { program } = await programs.get(grid);
  await gpu.task('profile', signal, (task) =>
    task.burst((burst) => burst.copy(pixels, 0, programs.pool.get('pixels')!, 0, pixels.size)),
  );
  return profileProgram(gpu, program, grid, signal);
}
