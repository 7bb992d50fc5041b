/** Chooses a kernel that passes the self-test, for an operation outside of a model's forward pass. */
import { selfTest } from '../gpu/checks/selfTest.js';
import type { Gpu } from '../gpu/device.js';
import type { WeightStorage } from '../gpu/kernels/kernel.js';
import { alternatives, targetOf, type Dispatch, type Target } from '../gpu/lowering.js';
import type { Node } from '../graph/graph.js';
import { loadPart } from '../platform/part.js';

/**
 * Returns the first kernel of a node. If the self-test rejects this kernel, or it does not compile, returns
 * another kernel that passes. A device tests each kernel once: later calls, and models whose forward pass has
 * the same kernel, share the result.
 *
 * @param storage how the node's weights are stored
 * @throws DeviceError KERNEL_WRONG or KERNEL_COMPILE if no kernel passes; DEVICE_LOST, …
 */
export async function testedDispatch(gpu: Gpu, node: Node, storage: WeightStorage): Promise<Dispatch> {
  const target: Target = { ...targetOf(gpu, storage), keep: ([first]) => [first] };
  try {
    await selfTest(gpu, [node], target);
    return alternatives(node, target)[0];
  } catch (error) {
    const { isRejection, tryOtherKernels } = await loadPart(import('./otherKernels.js'));
    if (!isRejection(error)) throw error;
    const candidate = { dtype: 'f32', storage };
    const other = await tryOtherKernels(gpu, [node], [candidate], 'outside of the forward pass', [error]);
    if (!other) throw error;
    return alternatives(node, { ...targetOf(gpu, storage), ...other.more })[0];
  }
}
