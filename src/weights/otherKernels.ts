/**
 * Finds other kernels of the same element types, when the usual kernels do not compile on a GPU or compute
 * wrongly: the tiled kernels in place of those for software adapters, and the tiles that are usually compiled
 * only by `tune`. Loaded only after the usual kernels of every element type have failed.
 */
import { DeviceError } from '../errors.js';
import { selfTest } from '../gpu/checks/selfTest.js';
import type { Gpu } from '../gpu/device.js';
import { variantKey, type WeightStorage } from '../gpu/kernels/kernel.js';
import { EVERY_TILE } from '../gpu/kernels/tunedKernels.js';
import { alternatives, targetOf, type Target } from '../gpu/lowering.js';
import type { Node } from '../graph/graph.js';

/** An element type and its storage; a `Candidate` of precision.ts. */
interface Stored {
  readonly dtype: string;
  readonly storage: WeightStorage;
}

/** The choice of other kernels, with the reason; a `Precision` of precision.ts. */
interface Choice {
  readonly more: Partial<Target>;
  readonly selfTestMs: number;
  readonly failures: readonly DeviceError[];
  readonly reason: string;
}

/**
 * Tries the other kernels of each candidate, in order. Returns the first choice that passes the self-test;
 * undefined if there is none.
 *
 * @param why the reason for the element type, such as `as requested`
 * @param failures the errors of the usual kernels
 * @throws DeviceError if the device is lost or out of memory
 */
export async function tryOtherKernels<Candidate extends Stored>(
  gpu: Gpu,
  nodes: readonly Node[],
  candidates: readonly Candidate[],
  why: string,
  failures: readonly DeviceError[],
): Promise<(Candidate & Choice) | undefined> {
  for (const candidate of candidates) {
    const { dtype, storage } = candidate;
    const more: Partial<Target> = gpu.laneKernels
      ? { laneKernels: undefined }
      : await workingTiles(gpu, nodes, targetOf(gpu, storage));
    try {
      const selfTestMs = await selfTest(gpu, nodes, { ...targetOf(gpu, storage), ...more });
      return {
        ...candidate,
        more,
        selfTestMs,
        failures,
        reason: `${dtype}, stored as ${storage}, ${why}, with other kernels than usual: passed the self-test in ${selfTestMs.toFixed(0)} ms. The usual kernels were rejected: ${failures.map(({ message }) => message).join(' ')}`,
      };
    } catch (error) {
      if (!isRejection(error)) throw error;
    }
  }
  return undefined;
}

/** Tests each tile of each node alone. Returns a target without the tiles that fail. */
async function workingTiles(gpu: Gpu, nodes: readonly Node[], usual: Target): Promise<Partial<Target>> {
  const works = new Map<string, boolean>();
  for (const node of nodes)
    for (const dispatch of alternatives(node, { ...usual, ...EVERY_TILE })) {
      const key = variantKey(dispatch.variant);
      if (works.has(key)) continue;
      try {
        // EVERY_TILE, because the number of rows that the self-test uses depends on the largest tile.
        await selfTest(gpu, [node], { ...usual, ...EVERY_TILE, keep: () => [dispatch] });
        works.set(key, true);
      } catch (error) {
        if (!isRejection(error)) throw error;
        works.set(key, false);
      }
    }
  const keep: Target['keep'] = (all) => {
    const [first, ...others] = all.filter(({ variant }) => works.get(variantKey(variant)) !== false);
    return first ? [first, ...others] : all; // the self-test then throws the error of these kernels
  };
  return { ...EVERY_TILE, keep };
}

/** True for the error of a kernel that computes wrongly or does not compile. */
export const isRejection = (error: unknown): error is DeviceError =>
  error instanceof DeviceError && (error.code === 'KERNEL_WRONG' || error.code === 'KERNEL_COMPILE');
