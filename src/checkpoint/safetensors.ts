/**
 * The safetensors format, for those who want nothing else: the published entry `dinov2-webgpu/safetensors`.
 * No GPU, no fetch.
 */
export { SafetensorsError, type SafetensorsCode } from '../errors.js';
export { DEFAULT_MAX_HEADER_BYTES, MAX_HEADER_BYTES, dtypeBits, inFileOrder } from './safetensorsFormat.js';
export type {
  SafetensorsDtype,
  SafetensorsHeader,
  SafetensorsHeaderOptions,
  SafetensorsOptions,
  TensorInfo,
  TensorSpec,
} from './safetensorsFormat.js';
export { headerLength, parseSafetensors, parseSafetensorsHeader } from './safetensorsReader.js';
export { encodeSafetensors, encodeSafetensorsHeader } from './safetensorsWriter.js';
