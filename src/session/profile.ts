/** Profiles one forward pass of a model. */
import type { Gpu } from '../gpu/device.js';
import type { Profile } from '../gpu/measure/profile.js';
import { profileProgram } from '../gpu/measure/profiler.js';
import type { PixelOptions } from '../image/preprocess.js';
import type { ImageSource } from '../image/source.js';
import type { Grid } from '../model/vit.js';
import type { ProgramCache } from './programCache.js';
import type { Session } from './session.js';

/**
 * Times every dispatch of the forward pass of a batch of images.
 *
 * @throws the errors of `DINOv2.features`
 */
export function profileImages(
  { gpu, preprocessor, forwards }: Session,
  images: readonly ImageSource[],
  options: PixelOptions,
  patchSize: number,
): Promise<Profile> {
  const { signal } = options;
  return gpu.task('profile', signal, async (task) => {
    const { buffer, batch, height, width } = await preprocessor.batch(task, images, options);
    const grid = { batch, rows: height / patchSize, cols: width / patchSize };
    return forwards.withPrograms((programs) => profileForward(gpu, programs, grid, buffer, signal), signal);
  });
}

/**
 * Times every dispatch of a forward pass.
 *
 * @param pixels normalised pixels, (batch, 3, rows · patchSize, cols · patchSize)
 * @throws DeviceError; the signal's reason
 */
async function profileForward(
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
