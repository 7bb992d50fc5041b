import { describe, expect, test } from 'vitest';
import { elementCount, GraphBuilder, type Graph, type Value } from '../../src/graph/graph.ts';
import { planMemory, type Plan } from '../../src/graph/planner.ts';
import { configOf } from '../../src/model/config.ts';
import { buildForward } from '../../src/model/vit.ts';
import { Random } from '../random.ts';

/**
 * The range of nodes during which each value must be kept: from the node that writes it to the last node that reads
 * it, or to the end for outputs.
 */
function lifetimes(graph: Graph): Map<Value, readonly [number, number]> {
  return new Map(
    graph.nodes.map(({ output }, first) => {
      const reads = graph.nodes.flatMap(({ inputs }, index) => (inputs.includes(output) ? [index] : []));
      return [
        output,
        [first, graph.outputs.includes(output) ? Infinity : Math.max(first, ...reads)],
      ] as const;
    }),
  );
}

/** Checks the guarantees of a plan, from their definition. */
function expectSound(graph: Graph, plan: Plan): void {
  const alive = [...lifetimes(graph)];
  for (const [value, [first, last]] of alive) {
    const slot = plan.slotOf.get(value);
    expect(slot, value.name).toBeDefined();
    expect(plan.slots[slot!]!.bytes).toBeGreaterThanOrEqual(4 * elementCount(value.shape));
    for (const [other, [otherFirst, otherLast]] of alive) {
      if (other === value || plan.slotOf.get(other) !== slot) continue;
      expect(
        last < otherFirst || otherLast < first,
        `${value.name} and ${other.name} share slot ${slot} although both are in use`,
      ).toBe(true);
    }
  }
  for (const { label, inputs, output } of graph.nodes) {
    const read = inputs.filter(({ kind }) => kind === 'activation').map((value) => plan.slotOf.get(value));
    expect(read.includes(plan.slotOf.get(output)), `${label} reads and writes one slot`).toBe(false);
  }
  expect(plan.plannedBytes).toBe(plan.slots.reduce((sum, { bytes }) => sum + bytes, 0));
  expect(plan.unsharedBytes).toBe(
    graph.nodes.reduce((sum, { output }) => sum + 4 * elementCount(output.shape), 0),
  );
}

describe('real models', () => {
  const grid = { batch: 1, rows: 37, cols: 37 };

  test('ViT-L at 518 × 518: 4 slots, 45 MB at most', () => {
    const { graph } = buildForward(configOf('large'), grid);
    const plan = planMemory(graph);
    expectSound(graph, plan);
    expect(plan.slots.length).toBeLessThanOrEqual(4);
    expect(plan.plannedBytes).toBeLessThanOrEqual(45e6);
  });

  test.each(['small', 'base', 'large', 'giant'] as const)(
    '%s, with and without registers and hidden states',
    (size) => {
      for (const registers of [false, true]) {
        const config = configOf(size, { registers });
        const { graph } = buildForward(config, { batch: 2, rows: 3, cols: 5 });
        const plan = planMemory(graph);
        expectSound(graph, plan);
        expect(plan.slots.length).toBeLessThanOrEqual(4);

        // Each kept hidden state may add at most one slot.
        const layers = [0, 3, config.depth];
        const kept = buildForward(config, { batch: 2, rows: 3, cols: 5 }, { layers });
        const keptPlan = planMemory(kept.graph);
        expectSound(kept.graph, keptPlan);
        expect(keptPlan.slots.length).toBeLessThanOrEqual(plan.slots.length + layers.length);
      }
    },
  );

  test('the number and size of slots does not depend on depth', () => {
    const config = configOf('small');
    const shallow = planMemory(buildForward({ ...config, depth: 2 }, grid).graph);
    expect(planMemory(buildForward({ ...config, depth: 40 }, grid).graph).slots).toEqual(shallow.slots);
  });

  test('equal graphs have equal plans', () => {
    const [a, b] = [0, 1].map(() => buildForward(configOf('base'), grid).graph);
    const byName = (graph: Graph): [string, number][] =>
      [...planMemory(graph).slotOf].map(([{ name }, slot]) => [name, slot]);
    expect(byName(a!)).toEqual(byName(b!));
  });
});

/** A graph of linear layers with random widths. Each reads one or two earlier values. */
function randomGraph(seed: number): Graph {
  const random = new Random(seed);
  const graph = new GraphBuilder();
  const rows = random.integer(1, 9);
  const values = [graph.input('pixels', [rows, 4 * random.integer(1, 6)])];
  const length = random.integer(1, 40);
  for (let i = 0; i < length; i++) {
    const x = random.pick(values);
    const residual = random.pick(values);
    const weight = (name: string, ...shape: number[]): Value => graph.weight(`${name}.${i}`, shape);
    const columns = random.next() < 0.4 ? residual.shape[1]! : 4 * random.integer(1, 50);
    const parts = [x, weight('weight', columns, x.shape[1]!), weight('bias', columns)] as const;
    const scaled = columns === residual.shape[1];
    values.push(
      scaled
        ? graph.linearScaleResidual(`node.${i}`, ...parts, weight('gamma', columns), residual)
        : graph.linear(`node.${i}`, ...parts),
    );
  }
  const outputs = values.filter(
    ({ kind }, index) => kind === 'activation' && (index === values.length - 1 || random.next() < 0.15),
  );
  return graph.build(outputs);
}

describe('500 random graphs', () => {
  test('values in use never share a slot, no node writes a slot that it reads, and outputs are kept', () => {
    for (let seed = 0; seed < 500; seed++) {
      const graph = randomGraph(seed);
      expectSound(graph, planMemory(graph));
    }
  });

  test('sharing never takes more memory, and with share: false every value has its own slot', () => {
    for (let seed = 0; seed < 500; seed++) {
      const graph = randomGraph(seed);
      const apart = planMemory(graph, { share: false });
      expectSound(graph, apart);
      expect(new Set(apart.slotOf.values()).size).toBe(graph.nodes.length);
      expect(apart.plannedBytes).toBe(apart.unsharedBytes);
      expect(planMemory(graph).plannedBytes).toBeLessThanOrEqual(apart.plannedBytes);
    }
  });
});
