// Kernels with int8 weights, compared with the CPU references on the dequantized weights.
import { afterAll, expect, test } from 'vitest';
import { packMatrix } from '../../src/weights/packing.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import { linear, linearScaleResidual } from '../reference/linear.ts';
import { patchEmbed } from '../reference/patch_embed.ts';
import { quantize } from '../reference/quantize.ts';
import { familiesOf, nodeOf, runNode, tokenRows } from './harness.ts';
import { full } from '../full.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

/**
 * The tolerance of linear.gpu.test.ts and patch_embed.gpu.test.ts. Scaling rounds each weight once more.
 */
const LINEAR = (terms: number): Tolerance => ({ maxAbs: 3 * Math.sqrt(terms) * ROUNDING, nmse: 1e-12 });
const PATCH_EMBED = (terms: number): Tolerance => ({ maxAbs: 8 * Math.sqrt(terms) * ROUNDING, nmse: 1e-12 });

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

/** Random rows of very different sizes, so that their scales differ. One row is zero. */
function weightOf(rows: number, columns: number): Float32Array<ArrayBuffer> {
  const random = new Random(rows + columns);
  const weight = random.uniform(rows * columns, Math.sqrt(3 / columns));
  for (let row = 0; row < rows; row++) {
    const size = row === 3 ? 0 : 10 ** -random.integer(0, 4);
    for (let k = 0; k < columns; k++) weight[row * columns + k]! *= size;
  }
  return weight;
}

/**
 * Targets for the tiles that only a tuning can select: no lanes wanted for the widest tile, and more lanes than
 * possible wanted for the tiles before the small one.
 */
const tiles = [
  ['widest', { software: false, wantedLanesWidest: 0 }],
  ['small', { software: false, wantedLanes: Infinity, wantedLanesNarrow: Infinity }],
] as const;

// A software adapter takes seconds to compile these tiles, so only the full tier tests them there.
test.each([...familiesOf(gpu), ...(full || !gpu.software ? tiles : [])])(
  'linear, %s: columns and rows that do not fill a tile',
  async (family, target) => {
    const [inFeatures, outFeatures] = [100, 344];
    const weight = weightOf(outFeatures, inFeatures);
    const { values } = quantize(outFeatures, inFeatures, weight);
    const packed = packMatrix(outFeatures, inFeatures, weight, 'int8');
    const random = new Random(1);
    const [bias, gamma] = [random.uniform(outFeatures, 0.2), random.uniform(outFeatures)];
    for (const rows of [1, 17, 65]) {
      const [x, residual] = [random.uniform(rows * inFeatures), random.uniform(rows * outFeatures)];
      const size = { rows, inFeatures, outFeatures };
      const run = (scaled: boolean): Promise<Float32Array<ArrayBuffer>> => {
        const node = nodeOf((graph) => {
          const plain = [
            graph.input('x', [rows, inFeatures]),
            graph.weight('weight', [outFeatures, inFeatures]),
            graph.weight('bias', [outFeatures]),
          ] as const;
          return scaled
            ? graph.linearScaleResidual(
                'node',
                ...plain,
                graph.weight('gamma', [outFeatures]),
                graph.input('residual', [rows, outFeatures]),
              )
            : graph.linear('node', ...plain);
        });
        return runNode(gpu, node, {
          target: { ...target, weights: 'int8' },
          size: tokenRows(1, rows),
          data: { x, weight: packed, bias, gamma, residual },
        });
      };
      const tolerance = LINEAR(inFeatures);
      worst.note(
        `${family} int8`,
        expectClose(`${family}, ${rows} rows`, await run(false), linear(size, x, values, bias), tolerance),
        tolerance,
      );
      worst.note(
        `${family} int8, residual`,
        expectClose(
          `${family}, residual, ${rows} rows`,
          await run(true),
          linearScaleResidual(size, x, values, bias, gamma, residual),
          tolerance,
        ),
        tolerance,
      );
    }
  },
);

test('patch_embed.wgsl', async () => {
  const [embedDim, patchSize, batch, rows, cols] = [128, 14, 2, 3, 5];
  const inFeatures = 3 * patchSize ** 2;
  const weight = weightOf(embedDim, inFeatures);
  const random = new Random(2);
  const [bias, pixels] = [
    random.uniform(embedDim, 0.2),
    random.uniform(batch * 3 * rows * cols * patchSize ** 2, 2),
  ];
  const node = nodeOf((graph) =>
    graph.patchEmbed(
      'node',
      graph.input('pixels', [batch, 3, rows * patchSize, cols * patchSize]),
      graph.weight('weight', [embedDim, 3, patchSize, patchSize]),
      graph.weight('bias', [embedDim]),
    ),
  );
  const data = { pixels, weight: packMatrix(embedDim, inFeatures, weight, 'int8'), bias };
  const found = await runNode(gpu, node, {
    target: { software: gpu.software, weights: 'int8' },
    size: { batch, rows, cols, numTokens: 1 + rows * cols },
    data,
  });
  const tolerance = PATCH_EMBED(inFeatures);
  const { values } = quantize(embedDim, inFeatures, weight);
  worst.note(
    'patch_embed int8',
    expectClose(
      'patch_embed',
      found,
      patchEmbed({ batch, rows, cols, embedDim, patchSize }, pixels, values, bias),
      tolerance,
    ),
    tolerance,
  );
  expect(found.length).toBe(batch * rows * cols * embedDim);
});
