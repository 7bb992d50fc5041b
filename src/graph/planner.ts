/**
 * Plans memory: assigns each activation of a graph to one of a few shared buffers ("slots"). Two activations
 * that are needed at the same time never share a slot. The algorithm is greedy by size: Pisarchyk and Lee,
 * "Efficient Memory Management for Deep Neural Net Inference" (arXiv 2001.03288), section 5.2.
 *
 * Slots are whole buffers, not ranges of one buffer, because a dispatch may not bind the same buffer as
 * `read` and as `read_write`, even if the ranges are disjoint.
 */
import { F32_BYTES } from './constants.js';
import { elementCount, type Graph, type Value } from './graph.js';

/** A buffer that several activations share. */
export interface Slot {
  /** Bytes of the buffer: the size of the largest activation in the slot. */
  readonly bytes: number;
}

/** The assignment of a graph's activations to slots. */
export interface Plan {
  /** All slots of the plan. */
  readonly slots: readonly Slot[];
  /** For each activation, the index of its slot in `slots`. */
  readonly slotOf: ReadonlyMap<Value, number>;
  /** Total bytes that the activations would take if each activation had its own buffer. */
  readonly unsharedBytes: number;
  /** Total bytes of the slots. */
  readonly plannedBytes: number;
}

interface Lifetime {
  readonly value: Value;
  readonly bytes: number;
  /** Index of the node that writes the activation. */
  readonly first: number;
  /** Index of the last node that reads the activation. Infinity for an output of the graph. */
  last: number;
}

/**
 * Assigns each activation of a graph to a slot. Equal graphs give equal plans.
 *
 * @param share false gives each activation its own slot. If a result is wrong with sharing and correct with
 *   `share: false`, the bug is in the planner, not in a kernel. Default: true
 */
export function planMemory(graph: Graph, { share = true }: { share?: boolean } = {}): Plan {
  const lifetimes = lifetimesOf(graph);
  const slots: { bytes: number; users: Lifetime[] }[] = [];
  const slotOf = new Map<Value, number>();

  // The activations are assigned in descending order of size, so each activation fits into every existing
  // slot. The sort is stable, so equal graphs give equal plans.
  for (const lifetime of [...lifetimes].sort((a, b) => b.bytes - a.bytes)) {
    const free = (slot: { users: Lifetime[] }): boolean =>
      slot.users.every((user) => user.last < lifetime.first || lifetime.last < user.first);
    let index = share ? slots.findIndex(free) : -1;
    if (index < 0) index = slots.push({ bytes: lifetime.bytes, users: [] }) - 1;
    slots[index]!.users.push(lifetime);
    slotOf.set(lifetime.value, index);
  }

  const total = (items: readonly { bytes: number }[]): number =>
    items.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    slots: slots.map(({ bytes }) => ({ bytes })),
    slotOf,
    unsharedBytes: total(lifetimes),
    plannedBytes: total(slots),
  };
}

function lifetimesOf(graph: Graph): Lifetime[] {
  const byValue = new Map<Value, Lifetime>();
  graph.nodes.forEach(({ inputs, output }, index) => {
    for (const value of inputs) {
      const lifetime = byValue.get(value);
      if (lifetime) lifetime.last = index;
    }
    byValue.set(output, {
      value: output,
      bytes: elementCount(output.shape) * F32_BYTES,
      first: index,
      last: index,
    });
  });
  for (const value of graph.outputs) {
    const lifetime = byValue.get(value);
    if (lifetime) lifetime.last = Infinity;
  }
  return [...byValue.values()];
}
