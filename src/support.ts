/**
 * Provides `checkSupport`, which checks whether the browser can run a model before anything is downloaded.
 */
import { DeviceError, type DeviceCode } from './errors.js';
import { describeAdapter, requestAdapter, type AdapterDescription } from './gpu/adapter.js';

/** The result of `checkSupport`. */
export interface Support {
  /** True if WebGPU offers an adapter. */
  readonly ok: boolean;
  /** If not `ok`: what is missing and what the visitor can do, as text. */
  readonly reason?: string;
  /** If not `ok`: the code of the `DeviceError`. Undefined if WebGPU failed with an unknown error. */
  readonly code?: DeviceCode;
  /** If `ok`: a description of the adapter. */
  readonly adapter?: AdapterDescription;
  /** If `ok`: the optional features of the adapter, such as `shader-f16`. */
  readonly features?: readonly string[];
  /** If `ok`: limits of the adapter that bound the size of models and images. */
  readonly limits?: {
    /** Largest buffer, in bytes. */
    readonly maxBufferSize: number;
    /** Largest storage buffer that a shader can use, in bytes. */
    readonly maxStorageBufferBindingSize: number;
    /** Longest side of a texture, in pixels. */
    readonly maxTextureDimension2D: number;
  };
}

/**
 * Checks whether this browser can run a model. Requests an adapter, but no device. Downloads nothing and
 * never throws.
 * @example
 * ```js
 * const { ok, reason } = await checkSupport();
 * if (!ok) document.body.textContent = reason;
 * ```
 */
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
