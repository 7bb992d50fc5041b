/**
 * Numbers of the WebGPU specification. Browsers have them as globals, Node does not; with these the library
 * needs no globals. (https://www.w3.org/TR/webgpu/#buffer-usage, #typedefdef-gpumapmodeflags,
 * #typedefdef-gputextureusageflags, #typedefdef-gpushaderstageflags)
 */
export const BufferUsage = {
  MAP_READ: 0x0001,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
  QUERY_RESOLVE: 0x0200,
} as const;

export const TextureUsage = {
  COPY_SRC: 0x01,
  COPY_DST: 0x02,
  TEXTURE_BINDING: 0x04,
  RENDER_ATTACHMENT: 0x10,
} as const;

export const MAP_READ = 0x0001;

export const SHADER_STAGE_COMPUTE = 0x4;
