/**
 * What a GPU does with whole photographs does nothing: the copy of a bitmap on its way there, the upload, and
 * the passes that resize it. Where a processor plays the GPU these take longer than decoding, and hide what
 * the rest costs.
 */
const LARGE_BYTES = 4_000_000;

/** Passes of photographs that did nothing: none, if the library calls them by another name. */
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
