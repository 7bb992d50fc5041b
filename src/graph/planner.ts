/**
 * Gives every activation of a graph one of a few shared buffers ("slots"), so that no two values that are
 * alive at the same time share one. Greedy by size, after Pisarchyk and Lee, "Efficient Memory Management for
 * Deep Neural Net Inference" (arXiv 2001.03288), section 5.2.
 *
 * Whole buffers, not one arena: a dispatch may not bind one buffer as `read` and as `read_write`, even where
 * the ranges are disjoint.
 */
import { F32_BYTES } from './constants.js';
import { elementCount, type Graph, type Value } from './graph.js';

export interface Slot {
  /** Size of the largest value that it ever holds. */
  readonly bytes: number;
}

export interface Plan {
  readonly slots: readonly Slot[];
  /** Index into `slots` for every activation. */
  readonly slotOf: ReadonlyMap<Value, number>;
  /** What the activations would take with a buffer each. */
  readonly unsharedBytes: number;
  /** What the slots take. */
  readonly plannedBytes: number;
}

interface Lifetime {
  readonly value: Value;
  readonly bytes: number;
  /**
   * Index of the node that writes the value, and of the last one that reads it. Both ends belong to the
   * lifetime.
   */
  readonly first: number;
  last: number;
}

/**
 * Assigns slots. Pure: equal graphs give equal plans.
 * With `share: false` every value gets a buffer of its own, which tells a planner's bug from a kernel's.
 */
export function planMemory(graph: Graph, { share = true }: { share?: boolean } = {}): Plan {
  const lifetimes = lifetimesOf(graph);
  const slots: { bytes: number; users: Lifetime[] }[] = [];
  const slotOf = new Map<Value, number>();

  // The largest first: whatever comes later fits into a slot that is there, if its lifetime does. The sort is
  // stable.
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
