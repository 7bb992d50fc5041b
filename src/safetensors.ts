/**
 * The public entry `dinov2-webgpu/safetensors`: reads and writes the safetensors format. Uses no GPU or
 * network.
 * @module dinov2-webgpu/safetensors
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
