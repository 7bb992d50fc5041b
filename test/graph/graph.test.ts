import { describe, expect, test } from 'vitest';
import { DINOv2Error } from '../../src/errors.ts';
import { GraphBuilder, type Value } from '../../src/graph/graph.ts';
import { configOf, type DINOv2Config } from '../../src/model/config.ts';
import { buildForward, countTokens } from '../../src/model/vit.ts';

const tiny: DINOv2Config = { ...configOf('small'), embedDim: 64, numHeads: 1, depth: 2, hiddenFeatures: 256 };
const models: [string, DINOv2Config][] = [
  ...(['small', 'base', 'large', 'giant'] as const).flatMap((size): [string, DINOv2Config][] => [
    [size, configOf(size)],
    [`${size} with registers`, configOf(size, { registers: true })],
  ]),
  ['tiny', tiny],
];

describe.each(models)('%s', (_, config) => {
  const { graph, lastHiddenState } = buildForward(config, { batch: 2, rows: 3, cols: 4 });

  test('has at most 7 dispatches per block', () => {
    for (let layer = 0; layer < config.depth; layer++) {
      expect(
        graph.nodes.filter(({ label }) => label.startsWith(`blocks.${layer}.`)).length,
      ).toBeLessThanOrEqual(7);
    }
    expect(graph.nodes.length).toBeLessThanOrEqual(7 * config.depth + 3);
  });

  test('writes every value before it is read', () => {
    const made = new Set<Value>();
    for (const { inputs, output } of graph.nodes) {
      for (const value of inputs)
        if (value.kind === 'activation') expect(made.has(value), value.name).toBe(true);
      expect(made.has(output)).toBe(false);
      made.add(output);
    }
    expect(made.has(lastHiddenState)).toBe(true);
  });

  test('gives a last hidden state with one row per token', () => {
    expect(lastHiddenState.shape).toEqual([
      2 * countTokens(config, { batch: 2, rows: 3, cols: 4 }),
      config.embedDim,
    ]);
  });
});

test('requested hidden states are kept: number 0 is the input of the first block, number depth the output of the last', () => {
  const { graph, hiddenStates, lastHiddenState } = buildForward(
    tiny,
    { batch: 1, rows: 2, cols: 2 },
    { layers: [0, 2] },
  );
  expect([...hiddenStates.keys()]).toEqual([0, 2]);
  expect(hiddenStates.get(0)!.name).toBe('tokens');
  expect(graph.outputs).toEqual([lastHiddenState, hiddenStates.get(0), hiddenStates.get(2)]);
  const { inputs } = graph.nodes.at(-1)!;
  expect(inputs[0]).toBe(hiddenStates.get(2));
});

describe('GraphBuilder', () => {
  const cases: [string, (graph: GraphBuilder) => unknown, RegExp][] = [
    [
      'a weight with the wrong number of columns',
      (g) => g.linear('fc', g.input('x', [5, 8]), g.weight('w', [4, 12]), g.weight('b', [4])),
      /^fc: expected a weight with 8 columns, found w \(4, 12\)/,
    ],
    [
      'a bias of the wrong length',
      (g) => g.linearGelu('fc', g.input('x', [5, 8]), g.weight('w', [4, 8]), g.weight('b', [8])),
      /^fc: expected \(4\), found b \(8\)/,
    ],
    [
      'a vector instead of a matrix',
      (g) => g.linear('fc', g.input('x', [8]), g.weight('w', [4, 8]), g.weight('b', [4])),
      /^fc: expected 2 axes, found x \(8\)/,
    ],
    [
      'gate and up with an odd total width',
      (g) => g.linearSwiglu('w12', g.input('x', [5, 8]), g.weight('w', [5, 8]), g.weight('b', [5])),
      /^w12: expected gate and up of equal width, found w \(5, 8\)/,
    ],
    [
      'a residual with the wrong number of rows',
      (g) =>
        g.linearScaleResidual(
          'proj',
          g.input('x', [5, 8]),
          g.weight('w', [4, 8]),
          g.weight('b', [4]),
          g.weight('gamma', [4]),
          g.input('r', [6, 4]),
        ),
      /^proj: expected \(5, 4\), found r \(6, 4\)/,
    ],
    [
      'a gamma of the wrong length',
      (g) =>
        g.linearScaleResidual(
          'proj',
          g.input('x', [5, 8]),
          g.weight('w', [4, 8]),
          g.weight('b', [4]),
          g.weight('gamma', [8]),
          g.input('r', [5, 4]),
        ),
      /^proj: expected \(4\), found gamma \(8\)/,
    ],
    [
      'a norm of the wrong width',
      (g) => g.layerNorm('norm', g.input('x', [5, 8]), g.weight('w', [4]), g.weight('b', [4]), 1e-6),
      /^norm: expected \(8\), found w \(4\)/,
    ],
    [
      'a width that the heads do not divide',
      (g) => g.attention('attn', g.input('qkv', [5, 100]), 3),
      /^attn: expected 3 × 3 heads of equal width, found qkv \(5, 100\)/,
    ],
    [
      'an image that ends within a patch',
      (g) =>
        g.patchEmbed(
          'proj',
          g.input('pixels', [1, 3, 14, 20]),
          g.weight('w', [8, 3, 14, 14]),
          g.weight('b', [8]),
        ),
      /^proj: expected height and width that are multiples of 14, found pixels \(1, 3, 14, 20\)/,
    ],
    [
      'positions for another grid',
      (g) =>
        g.assembleTokens(
          'tokens',
          2,
          g.input('patches', [8, 4]),
          g.weight('cls', [1, 1, 4]),
          g.input('positions', [10, 4]),
        ),
      /^tokens: expected \(5, 4\), found positions \(10, 4\)/,
    ],
    [
      'registers of the wrong width',
      (g) =>
        g.assembleTokens(
          'tokens',
          1,
          g.input('patches', [4, 4]),
          g.weight('cls', [1, 1, 4]),
          g.input('positions', [5, 4]),
          g.weight('registers', [1, 4, 8]),
        ),
      /^tokens: expected \(1, 4, 4\), found registers \(1, 4, 8\)/,
    ],
    [
      'a duplicate name',
      (g) => [g.input('x', [1, 4]), g.input('x', [1, 4])],
      /^x: expected a unique tensor name, found a second tensor with this name/,
    ],
  ];
  test.each(cases)('rejects %s', (_, build, message) => {
    const attempt = (): unknown => build(new GraphBuilder());
    expect(attempt).toThrow(DINOv2Error);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.objectContaining({ code: 'GRAPH_SHAPE' }));
  });
});
