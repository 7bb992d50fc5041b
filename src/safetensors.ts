/**
 * The published entry `dinov2-webgpu/safetensors`: a reader and a writer of the safetensors format, without
 * GPU and fetch.
 */
export { SafetensorsError, type SafetensorsCode } from './errors.js';
export { DEFAULT_MAX_HEADER_BYTES, MAX_HEADER_BYTES, dtypeBits, inFileOrder } from './safetensors/format.js';
export type {
  SafetensorsDtype,
  SafetensorsHeader,
  SafetensorsHeaderOptions,
  SafetensorsOptions,
  TensorInfo,
  TensorSpec,
} from './safetensors/format.js';
export { headerLength, parseSafetensors, parseSafetensorsHeader } from './safetensors/reader.js';
export { encodeSafetensors, encodeSafetensorsHeader } from './safetensors/writer.js';
