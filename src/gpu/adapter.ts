/** Requests a WebGPU adapter, and describes it as plain data. */
import { DeviceError } from '../errors.js';
import { host } from '../platform/host.js';

/** Describes a WebGPU adapter: the values of `GPUAdapterInfo`, and whether the adapter runs on the CPU. */
export interface AdapterDescription {
  /** `GPUAdapterInfo.vendor`, such as `nvidia`. Empty if the browser hides it. */
  readonly vendor: string;
  /** `GPUAdapterInfo.architecture`, such as `turing`. Empty if the browser hides it. */
  readonly architecture: string;
  /** `GPUAdapterInfo.description`. Empty if the browser hides it. */
  readonly description: string;
  /** `GPUAdapterInfo.isFallbackAdapter`: true if the browser marks the adapter as a fallback. */
  readonly isFallbackAdapter: boolean;
  /**
   * True if the adapter emulates a GPU on the CPU (SwiftShader, llvmpipe, WARP). Results are correct but
   * slow. For such an adapter, the library uses short submits, and special kernels if its subgroups have 4 or
   * 8 lanes.
   */
  readonly software: boolean;
}

/**
 * Requests the browser's high-performance WebGPU adapter.
 *
 * @throws DeviceError WEBGPU_MISSING, WEBGPU_INSECURE, ADAPTER_MISSING
 */
export async function requestAdapter(): Promise<GPUAdapter> {
  if (host.adapter) return host.adapter();
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu as GPU | undefined;
  if (!gpu) {
    if (globalThis.isSecureContext === false) {
      throw new DeviceError(
        'WEBGPU_INSECURE',
        'WebGPU needs a secure page. Open the page over https, or from localhost.',
      );
    }
    throw new DeviceError(
      'WEBGPU_MISSING',
      'WebGPU is not available (navigator.gpu is missing). Use a current version of Chrome, Edge, Safari or Firefox. In Node, import `dinov2-webgpu/node`.',
    );
  }
  const adapter = await gpu
    .requestAdapter({ powerPreference: 'high-performance' })
    .catch((cause: unknown) => {
      throw new DeviceError(
        'ADAPTER_MISSING',
        `The browser failed to provide a GPU adapter: ${String(cause)}. Restart the browser. If the error persists, update the browser and the graphics driver.`,
        { cause },
      );
    });
  if (adapter) return adapter;
  throw new DeviceError(
    'ADAPTER_MISSING',
    'WebGPU is available, but found no GPU adapter. Turn on hardware acceleration in the browser, update the graphics driver, and restart the browser. After several GPU crashes, browsers block the GPU until they are restarted.',
  );
}

/** Describes an adapter as plain data. `info` is undefined in old browsers. */
export function describeAdapter(info: GPUAdapterInfo | undefined): AdapterDescription {
  const { vendor = '', architecture = '', description = '', isFallbackAdapter = false } = info ?? {};
  const software =
    isFallbackAdapter ||
    /swiftshader|llvmpipe|lavapipe|\bwarp\b|basic render/i.test(`${vendor} ${architecture} ${description}`);
  return { vendor, architecture, description, isFallbackAdapter, software };
}
