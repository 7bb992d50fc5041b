/** The worker's side of `live`. */
import { acquireGpu } from '../gpu/device.js';
import type { DINOv2 } from '../index.js';
import { loadPart } from '../platform/part.js';

/** Prepares the upload of video frames on the device of a model. @throws DeviceError, SourceError */
export async function prepareLive(model: DINOv2): Promise<void> {
  const gpu = await acquireGpu(model.device);
  try {
    const { prepareFrames } = await loadPart(import('../image/frameUpload.js'));
    await prepareFrames(gpu);
  } finally {
    gpu.release();
  }
}

/**
 * Resolves when the GPU has finished all work that was submitted to the device of a model. Reads nothing
 * back.
 * @throws DeviceError; the signal's reason
 */
export async function computed(model: DINOv2, { signal }: { readonly signal: AbortSignal }): Promise<void> {
  const gpu = await acquireGpu(model.device);
  try {
    await gpu.task('live', signal, (task) => task.computed(true));
  } finally {
    gpu.release();
  }
}
