/**
 * Flags of the WebGPU specification. Browsers define these flags as globals; Node does not.
 * (https://www.w3.org/TR/webgpu/#buffer-usage, #typedefdef-gpumapmodeflags, #typedefdef-gputextureusageflags,
 * #typedefdef-gpushaderstageflags)
 */

/** The flags of `GPUBufferUsage`. */
export const BufferUsage = {
  MAP_READ: 0x0001,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  QUERY_RESOLVE: 0x0200,
} as const;

/** The flags of `GPUTextureUsage`. */
export const TextureUsage = {
  COPY_SRC: 0x01,
  COPY_DST: 0x02,
  TEXTURE_BINDING: 0x04,
  RENDER_ATTACHMENT: 0x10,
} as const;

/** The flag `GPUMapMode.READ`. */
export const MAP_READ = 0x0001;

/** The flag `GPUShaderStage.COMPUTE`. */
export const SHADER_STAGE_COMPUTE = 0x4;

/** The flag `GPUShaderStage.FRAGMENT`. */
export const SHADER_STAGE_FRAGMENT = 0x2;
