// Members of GPU objects, for applications with shaders of their own.
import { DINOv2 } from 'dinov2-webgpu';

export async function onGpu(file: File): Promise<number> {
  const model = await DINOv2.fromPretrained('facebook/dinov2-small');
  const features = await model.features(file);
  const bytes: number = features.buffer.size;
  return Math.min(bytes, model.device.limits.maxBufferSize);
}
