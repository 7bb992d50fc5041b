/** The model's final norm, applied to hidden states after the forward. */
import type { Gpu } from '../gpu/device.js';
import { lower, targetOf, type ForwardSize } from '../gpu/lowering.js';
import { GraphBuilder } from '../graph/graph.js';

/** Its parameters on the GPU, (embedDim) each. */
export interface FinalNorm {
  readonly weight: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly eps: number;
}

/**
 * The norm of every row of `x`, (batch · numTokens, embedDim), with the forward's own kernel and so with its
 * bits. The caller destroys what it gets.
 * @throws DeviceError
 */
export async function applyNorm(
  gpu: Gpu,
  { weight, bias, eps }: FinalNorm,
  x: GPUBuffer,
  size: ForwardSize,
  embedDim: number,
): Promise<GPUBuffer> {
  const shape = [size.batch * size.numTokens, embedDim];
  const graph = new GraphBuilder();
  const out = graph.layerNorm(
    'out',
    graph.input('x', shape),
    graph.weight('weight', [embedDim]),
    graph.weight('bias', [embedDim]),
    eps,
  );
  const [node] = graph.build([out]).nodes;
  const { variant, workgroups } = lower(node!, targetOf(gpu, 'f32'), size);
  const kernel = await gpu.pipelines.compile(variant);
  const made: GPUBuffer[] = [];
  try {
    const [uniform, normed] = await gpu.allocating(() => {
      made.push(gpu.memory.uniformOf('norm size', [size.batch, size.rows, size.cols, size.numTokens]));
      made.push(gpu.memory.storage('normed hidden state', shape[0]! * embedDim * 4));
      return made as [GPUBuffer, GPUBuffer];
    });
    const encoder = gpu.device.createCommandEncoder({ label: 'norm' });
    const pass = encoder.beginComputePass({ label: 'norm' });
    pass.setPipeline(kernel.pipeline);
    pass.setBindGroup(
      0,
      gpu.pipelines.bind(
        kernel,
        [uniform, x, weight, bias, normed].map((buffer) => ({ buffer })),
      ),
    );
    pass.dispatchWorkgroups(...workgroups(size));
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    gpu.memory.destroy(uniform); // lives until the GPU is done with it
    return normed;
  } catch (error) {
    for (const buffer of made) gpu.memory.destroy(buffer);
    throw error;
  }
}
