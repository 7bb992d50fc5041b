/** Asks whether models can run here, before anything is downloaded. */
import { DeviceError, type DeviceCode } from './errors.js';
import { describeAdapter, requestAdapter, type AdapterDescription } from './gpu/adapter.js';

export interface Support {
  /** True if there is an adapter. */
  readonly ok: boolean;
  /** What is missing, and what to do: a sentence for the visitor. */
  readonly reason?: string;
  readonly code?: DeviceCode;
  readonly adapter?: AdapterDescription;
  /** Optional features that the adapter has, such as `shader-f16`. */
  readonly features?: readonly string[];
  readonly limits?: {
    readonly maxBufferSize: number;
    readonly maxStorageBufferBindingSize: number;
    readonly maxTextureDimension2D: number;
  };
}

/** Never throws and downloads nothing; a device is not made. */
export async function checkSupport(): Promise<Support> {
  try {
    const { info, features, limits } = await requestAdapter();
    const { maxBufferSize, maxStorageBufferBindingSize, maxTextureDimension2D } = limits;
    return {
      ok: true,
      adapter: describeAdapter(info),
      features: [...features].sort(),
      limits: { maxBufferSize, maxStorageBufferBindingSize, maxTextureDimension2D },
    };
  } catch (error) {
    if (error instanceof DeviceError) return { ok: false, reason: error.message, code: error.code };
    return {
      ok: false,
      reason: `WebGPU failed: ${String(error)}. Update the browser or the graphics driver.`,
    };
  }
}
