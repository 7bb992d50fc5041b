/** Says how many bytes the weights would take in a smaller element type. */
import { DeviceError } from '../errors.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import type { Parameter } from './huggingFace.js';

/** Returns the bytes of a parameter on the GPU: `parameterBytes` of weightMemory.ts. */
export type BytesOf = (parameter: Parameter, storage: WeightStorage) => number;

/** Text with the bytes of parameters on the GPU. */
export const stored = (parameters: readonly Parameter[], storage: WeightStorage, bytesOf: BytesOf): string =>
  megabytes(parameters.reduce((sum, parameter) => sum + bytesOf(parameter, storage), 0));

/** A number of bytes for messages. */
export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/**
 * Adds to an error for lack of memory what the weights would take in a smaller element type. Returns other errors
 * unchanged.
 */
export function withStorageAdvice(
  error: unknown,
  parameters: readonly Parameter[],
  storage: WeightStorage,
  bytesOf: BytesOf,
): unknown {
  if (!(error instanceof DeviceError) || error.code !== 'DEVICE_MEMORY' || storage === 'int8') return error;
  const half = storage === 'f32' ? `${stored(parameters, 'f16', bytesOf)} with dtype 'fp16' and ` : '';
  const advice = `The weights would take ${half}${stored(parameters, 'int8', bytesOf)} with dtype 'int8'.`;
  return new DeviceError(error.code, `${error.message} ${advice}`, { cause: error });
}
