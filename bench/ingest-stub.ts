/**
 * What a GPU does with whole photographs does nothing: textures for them, copies of
 * bitmaps, and the passes that resize them.
 * Where a processor plays the GPU these take longer than decoding, and hide what the rest costs.
 */
const LARGE_PX = 1_000_000;

export function stubLargeGpuWork(): void {
  const { copyExternalImageToTexture, writeTexture, writeBuffer } = GPUQueue.prototype;
  GPUQueue.prototype.copyExternalImageToTexture = function (source, destination, size) {
    const { width, height } = source.source as ImageBitmap;
    if (width * height < LARGE_PX) copyExternalImageToTexture.call(this, source, destination, size);
  };
  GPUQueue.prototype.writeTexture = function (destination, data, layout, size) {
    if (data.byteLength < LARGE_PX) writeTexture.call(this, destination, data as BufferSource, layout, size);
  };
  GPUQueue.prototype.writeBuffer = function (this: GPUQueue, ...given: Parameters<typeof writeBuffer>) {
    if (given[2].byteLength < LARGE_PX) writeBuffer.apply(this, given);
  } as typeof writeBuffer;
  const { createTexture } = GPUDevice.prototype;
  GPUDevice.prototype.createTexture = function (descriptor) {
    const [width = 1, height = 1] = descriptor.size as number[];
    return createTexture.call(this, width * height < LARGE_PX ? descriptor : { ...descriptor, size: [1, 1] });
  };
  const { beginComputePass } = GPUCommandEncoder.prototype;
  GPUCommandEncoder.prototype.beginComputePass = function (descriptor) {
    const pass = beginComputePass.call(this, descriptor);
    if (/pixels|resize/.test(descriptor?.label ?? '')) pass.dispatchWorkgroups = () => undefined;
    return pass;
  };
}
