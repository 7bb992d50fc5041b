/** Describes a compiled program as text. */
import type { Value } from '../graph/graph.js';
import { kernelName } from './kernels/kernel.js';
import type { Program } from './program.js';

/** Describes a program: one line for each step, and the activation bytes with and without sharing. */
export function describeProgram({ steps, plan }: Program): string {
  const name = (value: Value): string =>
    `${value.name} (${value.shape.join(', ')})${value.kind === 'activation' ? ` @${plan.slotOf.get(value)}` : ''}`;
  const lines = steps.map(({ node, kernel, workgroups }) => {
    const activations = node.inputs
      .filter(({ kind }) => kind !== 'weight')
      .map(name)
      .join(' + ');
    return `${kernelName(kernel.variant.kernel).padEnd(36)} ${workgroups.join('×').padEnd(12)} ${activations} → ${name(node.output)}`;
  });
  const { slots, unsharedBytes, plannedBytes } = plan;
  const summary = `${steps.length} dispatches; activations ${megabytes(unsharedBytes)} → ${megabytes(plannedBytes)} in ${slots.length} buffers`;
  return [...lines, summary].join('\n');
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
