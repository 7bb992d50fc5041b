// A model with two small blocks that loads quickly on any adapter, and devices to run it on.
import { syntheticTensor } from '../../src/weights/synthetic.ts';
import type { DINOv2 } from '../../src/dinov2.ts';
import { requestAdapter } from '../../src/gpu/adapter.ts';
import type { Node } from '../../src/graph/graph.ts';
import { configOf, type DINOv2Config } from '../../src/model/config.ts';
import { buildForward } from '../../src/model/vit.ts';

export const tiny: DINOv2Config = {
  ...configOf('small'),
  embedDim: 64,
  numHeads: 1,
  depth: 2,
  hiddenFeatures: 256,
  imageSize: 56,
};

/** The operations of a model, with a mask. Every input size uses the same kernels. */
export const nodesOf = (config: DINOv2Config): readonly Node[] =>
  buildForward(config, { batch: 1, rows: 1, cols: 1 }, { masked: true }).graph.nodes;

/** Every operation with the dimensions of a model: both kinds of MLP, with and without registers. */
export const everyNode = (config: DINOv2Config): readonly Node[] => [
  ...nodesOf({ ...config, ffn: 'mlp', numRegisterTokens: 0 }),
  ...nodesOf({ ...config, ffn: 'swiglu', numRegisterTokens: 4 }),
];

/**
 * A device with WebGPU's default limits, and with subgroups if the adapter supports them. Without subgroups a
 * software adapter compiles the tiled kernels, which takes up to a minute.
 */
export async function requestDevice(features: GPUFeatureName[] = []): Promise<GPUDevice> {
  const adapter = await requestAdapter();
  const requiredFeatures = [
    ...features,
    ...(['subgroups'] as const).filter((feature) => adapter.features.has(feature)),
  ];
  return adapter.requestDevice({ label: "the caller's", requiredFeatures });
}

/** Makes a device report a GPU as its adapter, so that the library uses the tiled kernels on any adapter. */
export function asGpu(device: GPUDevice): GPUDevice {
  return Object.defineProperty(device, 'adapterInfo', {
    value: { vendor: 'test', architecture: 'tiles', description: 'a GPU for the test' },
  });
}

/** Normalised pixels computed by a formula. */
export function pixelsOf(height: number, width: number, batch = 1): Float32Array {
  return syntheticTensor(`pixel_values.${height}x${width}`, [batch, 3, height, width]);
}

/** The bits of the last hidden state for the pixels of `pixelsOf`. */
export async function bitsOfForward(
  model: DINOv2,
  height: number,
  width: number,
  batch = 1,
): Promise<Uint32Array> {
  using features = await model.forward(pixelsOf(height, width, batch), { height, width, batch });
  return new Uint32Array((await features.lastHiddenState()).buffer);
}

/**
 * Waits until `dispose()` has freed all memory. `dispose()` returns at once, and frees buffers when running forwards
 * have ended.
 */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}
