// Devices with a faulty compiler, for tests of the self-test: the text of a shader is changed before the driver gets
// it, so that the shader misbehaves as it would with a driver bug.
import { Gpu } from '../../src/gpu/device.ts';
import { describeAdapter, requestAdapter } from '../../src/gpu/adapter.ts';

/** A text in a shader, and its replacement. */
export type Mistake = readonly [text: string, instead: string];

export interface WrongDevice {
  readonly device: GPUDevice;
  /** Returns the number of changed shaders. */
  readonly changed: () => number;
}

/** A device that makes these mistakes. It has shader-f16 and subgroups if the adapter does. */
export async function wrongDevice(mistakes: readonly Mistake[]): Promise<WrongDevice> {
  const adapter = await requestAdapter();
  const requiredFeatures = (['shader-f16', 'subgroups'] as const).filter((feature) =>
    adapter.features.has(feature),
  );
  const device = await adapter.requestDevice({ label: 'wrong', requiredFeatures });
  const create = device.createShaderModule.bind(device);
  let changed = 0;
  device.createShaderModule = (descriptor) => {
    let { code } = descriptor;
    for (const [text, instead] of mistakes) code = code.replaceAll(text, instead);
    if (code !== descriptor.code) changed += 1;
    return create({ ...descriptor, code });
  };
  return { device, changed: () => changed };
}

/** Wraps a device in a `Gpu`. `software` selects the family of kernels; by default the adapter decides. */
export function gpuOf(device: GPUDevice, software?: boolean): Promise<Gpu> {
  const info = describeAdapter(device.adapterInfo);
  return Gpu.of(device, { ...info, software: software ?? info.software }, false);
}
