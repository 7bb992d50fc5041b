/**
 * The entry `dinov2-webgpu/node`: the library in Node. It sets up the GPU (package `webgpu`), decodes more
 * image formats (package `sharp`), keeps downloads on disk, and stores search indexes in folders. Everything
 * that `dinov2-webgpu` and `dinov2-webgpu/search` export is exported here too.
 * @module dinov2-webgpu/node
 */
export * from './index.js';
export * from './search.js';
export { imageFiles, type ImageFilesOptions } from './node/files.js';
export {} from './node/setUp.js';
