/** Requests a WebGPU adapter, and describes it as plain data. */
import { DeviceError } from '../errors.js';

/** What is known of an adapter, as plain data. */
export interface AdapterDescription {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly isFallbackAdapter: boolean;
  /**
   * The adapter runs on the CPU (SwiftShader, llvmpipe, WARP): right, and slow. It gets kernels of its own if
   * its subgroups have 4 or 8 lanes, and short submits.
   */
  readonly software: boolean;
}

/** @throws DeviceError WEBGPU_MISSING, WEBGPU_INSECURE or ADAPTER_MISSING, each with what to do. */
export async function requestAdapter(): Promise<GPUAdapter> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu as GPU | undefined;
  if (!gpu) {
    if (globalThis.isSecureContext === false) {
      throw new DeviceError(
        'WEBGPU_INSECURE',
        'WebGPU needs a secure page. Open it over https, or from localhost.',
      );
    }
    throw new DeviceError(
      'WEBGPU_MISSING',
      'There is no WebGPU here (navigator.gpu is absent). Use a current Chrome, Edge, Safari or Firefox; in Node, the package `webgpu`.',
    );
  }
  const adapter = await gpu
    .requestAdapter({ powerPreference: 'high-performance' })
    .catch((cause: unknown) => {
      throw new DeviceError(
        'ADAPTER_MISSING',
        `WebGPU failed when it was asked for a GPU: ${String(cause)}. Restart the browser; update it or the graphics driver if it happens again.`,
        { cause },
      );
    });
  if (adapter) return adapter;
  throw new DeviceError(
    'ADAPTER_MISSING',
    'WebGPU is here, but offers no GPU. Turn on hardware acceleration in the browser, update the graphics driver, and restart the browser: it may also have blocked the GPU after crashes.',
  );
}

export function describeAdapter(info: GPUAdapterInfo | undefined): AdapterDescription {
  const { vendor = '', architecture = '', description = '', isFallbackAdapter = false } = info ?? {};
  const software =
    isFallbackAdapter ||
    /swiftshader|llvmpipe|lavapipe|\bwarp\b|basic render/i.test(`${vendor} ${architecture} ${description}`);
  return { vendor, architecture, description, isFallbackAdapter, software };
}
