/** Applies the model's final norm to stored hidden states after the forward pass. */
import type { Gpu } from '../gpu/device.js';
import { lower, sizeWords, type ForwardSize, type Target } from '../gpu/lowering.js';
import type { Task } from '../gpu/task.js';
import { GraphBuilder } from '../graph/graph.js';

/** Parameters of the final norm. The buffers hold (embedDim) floats each. */
export interface FinalNorm {
  readonly weight: GPUBuffer;
  readonly bias: GPUBuffer;
  readonly eps: number;
  /** The target of the forward pass, whose kernels the self-test accepted on this device. */
  readonly target: Target;
}

/**
 * Normalizes every row of `x`, (batch · numTokens, embedDim). Uses the same kernel as the forward pass, so
 * that the bits equal those of a norm within the forward pass. The task owns the result.
 */
export async function applyNorm(
  gpu: Gpu,
  task: Task,
  { weight, bias, eps, target }: FinalNorm,
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
  const { variant, workgroups } = lower(node!, target, size);
  const kernel = await gpu.pipelines.compile(variant);
  return task.burst((burst) => {
    const uniform = burst.uniformOf('norm size', sizeWords(size));
    const normed = burst.storage('normed hidden state', shape[0]! * embedDim * 4);
    burst.dispatch(kernel, [uniform, x, weight, bias, normed], workgroups(size));
    return normed;
  });
}
