/**
 * Removes the GPU work on whole photographs: copying, uploading and resizing a bitmap. On a software adapter,
 * this work takes longer than decoding, so the cost of the other steps could not be measured.
 */
const LARGE_BYTES = 4_000_000;

/**
 * Number of GPU passes that were stubbed. If the number is 0, the library has renamed its passes, and
 * nothing was stubbed.
 */
export const stubbed: { passes: number } = { passes: 0 };

export function stubLargeGpuWork(): void {
  VideoFrame.prototype.copyTo = async () => [];
  const { copyExternalImageToTexture, writeBuffer } = GPUQueue.prototype;
  GPUQueue.prototype.copyExternalImageToTexture = function (source, destination, size) {
    const { width, height } = source.source as ImageBitmap;
    if (width * height * 4 < LARGE_BYTES) copyExternalImageToTexture.call(this, source, destination, size);
  };
  GPUQueue.prototype.writeBuffer = function (this: GPUQueue, ...given: Parameters<typeof writeBuffer>) {
    if (given[2].byteLength < LARGE_BYTES) writeBuffer.apply(this, given);
  } as typeof writeBuffer;
  const { createBuffer } = GPUDevice.prototype;
  GPUDevice.prototype.createBuffer = function (descriptor) {
    const isPicture = descriptor.label === 'picture';
    return createBuffer.call(this, isPicture ? { ...descriptor, size: 4 } : descriptor);
  };
  const { beginComputePass } = GPUCommandEncoder.prototype;
  GPUCommandEncoder.prototype.beginComputePass = function (descriptor) {
    const pass = beginComputePass.call(this, descriptor);
    if (descriptor?.label === 'image') {
      stubbed.passes += 1;
      pass.dispatchWorkgroups = () => undefined;
    }
    return pass;
  };
}
