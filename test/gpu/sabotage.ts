// Devices whose compiler is wrong: the text of a shader is changed on its way to the driver, as a driver's
// bug would change what it does.
import { Gpu } from '../../src/gpu/device.ts';
import { describeAdapter, requestAdapter } from '../../src/gpu/adapter.ts';

/** A text that stands in a shader, and what the compiler takes it for. */
export type Mistake = readonly [text: string, instead: string];

export interface WrongDevice {
  readonly device: GPUDevice;
  /** How many shaders were changed. */
  readonly changed: () => number;
}

/** A device with shader-f16 and subgroups where the adapter has them, that makes these mistakes. */
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

/** The library's view of a device. `software` chooses the family of kernels; without it, the adapter does. */
export function gpuOf(device: GPUDevice, software?: boolean): Promise<Gpu> {
  const info = describeAdapter(device.adapterInfo);
  return Gpu.of(device, { ...info, software: software ?? info.software }, false);
}
