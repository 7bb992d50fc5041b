import { describe, expect, test } from 'vitest';
import { laneKernels } from '../../src/gpu/kernels/laneKernels.ts';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import { alternatives, lower, type Target } from '../../src/gpu/lowering.ts';
import { flopsOf } from '../../src/gpu/program.ts';
import type { Node } from '../../src/graph/graph.ts';
import { configOf } from '../../src/model/config.ts';
import { buildForward, countTokens } from '../../src/model/vit.ts';

test('flopsOf: ViT-S at 224 × 224 takes 12.2 GFlop', () => {
  const config = configOf('small');
  const grid = { batch: 1, rows: 16, cols: 16 };
  const { graph } = buildForward(config, grid);
  const size = { ...grid, numTokens: countTokens(config, grid) };
  const total = graph.nodes.reduce((sum, node) => sum + flopsOf(node, size), 0);
  expect(total / 1e9).toBeCloseTo(12.2, 0);
});

describe('lower', () => {
  const families: Omit<Target, 'weights'>[] = [
    { software: false },
    { software: true },
    { software: true, laneKernels: laneKernels[4] },
    { software: true, laneKernels: laneKernels[8] },
  ];
  const targets = families.flatMap((family) =>
    (['f32', 'f16', 'f16-packed'] as const).map((weights) => ({ ...family, weights })),
  );
  const config = configOf('giant', { registers: true });

  test('the input size selects among kernels that are already compiled, and changes none of them', () => {
    for (const target of targets) {
      const smallest = buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph.nodes.map((node) =>
        alternatives(node, target).map(({ variant }) => variant),
      );
      for (const grid of [
        { batch: 1, rows: 16, cols: 16 },
        { batch: 7, rows: 50, cols: 13 },
      ]) {
        const size = { ...grid, numTokens: countTokens(config, grid) };
        for (const [i, node] of buildForward(config, grid).graph.nodes.entries())
          expect(smallest[i]).toContainEqual(lower(node, target, size).variant);
      }
    }
  });

  test('many rows use the tile with the most work per lane, few rows the tile with the most active lanes', () => {
    const nodes = buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph.nodes.filter(
      ({ operation }) => operation.kind === 'linearScaleResidual',
    );
    const kernelFor = (rows: number, wantedLanes?: number): string[] =>
      nodes
        .slice(0, 1)
        .map(
          (node) =>
            lower(
              node,
              { software: false, weights: 'f32', wantedLanes },
              { batch: 1, rows: 1, cols: 1, numTokens: rows },
            ).variant.kernel.name,
        );
    expect(kernelFor(1370)).toEqual(['linear']); // 22 × 24 tiles of 64 lanes
    expect(kernelFor(65)).toEqual(['linear_narrow']);
    expect(kernelFor(65, 1000)).toEqual(['linear']);
  });

  test('tiles that are off by default are compiled and used only if a tuning selects them', () => {
    const { nodes } = buildForward(config, { batch: 1, rows: 1, cols: 1 }).graph;
    const namesOf = (of: ReturnType<typeof alternatives>): string[] =>
      of.map(({ variant: { kernel, constants } }) =>
        [kernel.name, constants['QUERY_GROUPS'] ?? constants['LANES_X']]
          .filter((part) => part !== undefined)
          .join(' '),
      );
    const linear = nodes.find(({ operation }) => operation.kind === 'linearSwiglu')!;
    const attention = nodes.find(({ operation }) => operation.kind === 'attention')!;
    const target = { software: false, weights: 'f32', wantedLanes: 5000 } as const;
    expect([linear, attention].map((node) => namesOf(alternatives(node, target)))).toEqual([
      ['linear 8', 'linear_narrow'],
      ['attention 8'],
    ]);
    const every = { ...target, ...EVERY_TILE };
    expect([linear, attention].map((node) => namesOf(alternatives(node, every)))).toEqual([
      ['linear_tall', 'linear 16', 'linear 8', 'linear_narrow', 'linear_small'],
      ['attention 8', 'attention 4'],
    ]);
    const size = { batch: 1, rows: 8, cols: 8, numTokens: 69 };
    const chosen = (node: Node, wanted: Partial<Target>): number => {
      const { workgroups, variant } = lower(node, { ...every, ...wanted }, size);
      expect(alternatives(node, every).map(({ variant }) => variant)).toContainEqual(variant);
      return workgroups(size).reduce((product, count) => product * count);
    };
    const [tall, widest, wide, narrow, small] = alternatives(linear, every).map(({ workgroups }) =>
      workgroups(size).reduce((product, count) => product * count),
    );
    expect([wide! / widest!, narrow! / wide!, small! / narrow!]).toEqual([2, 1.5, 2]); // ratios for 69 rows
    expect(tall).toBe(widest); // 69 rows are one tile of 128 rows, or two of 64
    expect(chosen(linear, { wantedLanesTall: 256 * tall! })).toBe(tall);
    expect(chosen(linear, { wantedLanesWidest: 128 * widest! })).toBe(widest);
    expect(chosen(linear, { wantedLanesWidest: 128 * widest! + 1 })).toBe(wide);
    expect(chosen(linear, { wantedLanes: 64 * wide! })).toBe(wide);
    expect(chosen(linear, { wantedLanes: 64 * wide! + 1 })).toBe(narrow);
    expect(chosen(linear, { wantedLanes: 64 * wide! + 1, wantedLanesNarrow: 64 * narrow! })).toBe(narrow);
    expect(chosen(linear, { wantedLanes: 64 * wide! + 1, wantedLanesNarrow: 64 * narrow! + 1 })).toBe(small);
    expect(chosen(attention, { wantedLanesAttention: 64 * 3 * 24 })).toBe(3 * 24);
    expect(chosen(attention, { wantedLanesAttention: 64 * 3 * 24 + 1 })).toBe(5 * 24);
  });

  // WebGPU allows 65,535 workgroups along an axis. The cases are a batch of 8 images of 1036 × 1036 pixels, and a
  // batch of 1000 small ones.
  test.each([
    { batch: 8, rows: 74, cols: 74 },
    { batch: 1000, rows: 10, cols: 10 },
  ])('workgroup counts stay within the limit for %o', (grid) => {
    const size = { ...grid, numTokens: countTokens(config, grid) };
    for (const target of targets) {
      for (const node of buildForward(config, grid).graph.nodes) {
        const workgroups = lower(node, target, size).workgroups(size);
        for (const count of workgroups) {
          expect(Number.isInteger(count)).toBe(true);
          expect(count, `${node.label}: ${workgroups.join(' × ')}`).toBeLessThanOrEqual(65_535);
          expect(count).toBeGreaterThan(0);
        }
      }
    }
  });
});
