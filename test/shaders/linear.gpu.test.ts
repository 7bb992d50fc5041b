import { afterAll, describe, expect, test } from 'vitest';
import type { WeightStorage } from '../../src/gpu/kernels/kernel.ts';
import { EVERY_TILE } from '../../src/gpu/kernels/tunedKernels.ts';
import type { Target } from '../../src/gpu/lowering.ts';
import type { Node } from '../../src/graph/graph.ts';
import { expectClose, Random, ROUNDING, WorstDistances, type Tolerance } from '../random.ts';
import { gelu, silu } from '../reference/activation.ts';
import * as twins from '../reference/linear.ts';
import { full } from '../full.ts';
import {
  bitsOf,
  familiesOf,
  nodeOf,
  packWeight,
  runNode,
  storagesOf,
  tokenRows,
  type PackedWeight,
} from './harness.ts';
import { sharedGpu } from '../gpu/sharedDevice.ts';

/**
 * Tolerance of an inner product. Partial sums stay near 1 and each of `terms` additions rounds once, so the error is
 * a random walk of about √terms / 4 roundings, and the largest of some 10,000 errors is 4 to 7 times that. Weights
 * have the size of a linear layer's, inputs are in [-1, 1).
 */
const LINEAR = (terms: number): Tolerance => ({ maxAbs: 3 * Math.sqrt(terms) * ROUNDING, nmse: 1e-12 });
/**
 * The tolerance of LINEAR with weights SPREAD times as large, followed by gelu. The slope of gelu is at most 1.13, and
 * its own relative error is 2e-7.
 */
const GELU = (terms: number): Tolerance => ({ maxAbs: 1.13 * SPREAD * LINEAR(terms).maxAbs, nmse: 1e-12 });
/** Tolerance of SwiGLU. gate and up both reach 2 · SPREAD, and each is multiplied by the error of the other. */
const SWIGLU = (terms: number): Tolerance => ({
  maxAbs: 3 * SPREAD ** 2 * LINEAR(terms).maxAbs,
  nmse: 1e-12,
});
/**
 * Tolerance of an activation function alone, for inputs from -10 to 10: a few roundings at 10, including the error of
 * the polynomial.
 */
const ACTIVATION: Tolerance = { maxAbs: 2e-6, nmse: 1e-13 };
/** Allowed absolute value far below zero: silu clamps at -80 and gives x · e⁻⁸⁰ where the result is smaller still. */
const FAR_BELOW = 1e-28;

/**
 * Scale of the weights before an activation function, relative to a linear layer's, so that the inputs cover the
 * curved part of the function as well as its straight ends.
 */
const SPREAD = 3;

const forms = ['linear', 'linearGelu', 'linearSwiglu', 'linearScaleResidual'] as const;
type Form = (typeof forms)[number];

interface Layer {
  readonly form: Form;
  readonly inFeatures: number;
  /** Rows of the weight. The output of SwiGLU has half as many columns. */
  readonly outFeatures: number;
  readonly weight: PackedWeight;
  readonly bias: Float32Array<ArrayBuffer>;
  readonly gamma: Float32Array<ArrayBuffer>;
}

/**
 * (in, out) features that are multiples neither of a 32-row tile nor of a 64-column panel. For SwiGLU, half the
 * out features is not a multiple of 8 vectors.
 */
const shapes = [
  [344, 136],
  [100, 344],
  [588, 72],
] as const;

/**
 * (batch, tokens) with 1, 3, 15, 17, 33, 65, 72, 73, 100 and 131 rows. A remainder of at most 8 rows after the last full
 * tile is not computed as a tile: 33 and 65 rows have a remainder of one, 72 of eight, 73 of nine, 131 of three, also
 * after a tile of 128 rows.
 */
const rowCounts = [
  [1, 1],
  [3, 1],
  [1, 15],
  [1, 17],
  [3, 11],
  [1, 65],
  [2, 36],
  [1, 73],
  [2, 50],
  [1, 131],
] as const;

const gpu = await sharedGpu();
const worst = new WorstDistances();
afterAll(() => worst.print());

/** A kernel for a linear layer: `alternative` is its index among the alternatives of a target. */
interface Family extends Omit<Target, 'weights'> {
  readonly alternative: number;
}

const tiled: Family = { software: false, alternative: 0 };
const narrow: Family = { software: false, alternative: 1 };
const tall: Family = { software: false, ...EVERY_TILE, alternative: 0 };
const widest: Family = { software: false, ...EVERY_TILE, alternative: 1 };
const small: Family = { software: false, ...EVERY_TILE, alternative: 4 };
/** A software adapter takes seconds to compile the tall tile, so only the full tier tests it there. */
const withTall = full || !gpu.software;
const families: (readonly [string, Family])[] = [
  ...familiesOf(gpu).map(([name, target]) => [name, { ...target, alternative: 0 }] as const),
  ...(withTall ? [['tall', tall] as const] : []),
  ['widest', widest],
  ['narrow', narrow],
  ['small', small],
];

/**
 * Tiles that a software adapter never uses by default and takes seconds to compile. On software, only the full tier
 * tests more than one form of them.
 */
const unusual: readonly Family[] = [tall, widest, narrow, small];
const formsOf = (family: Family): readonly Form[] =>
  gpu.software && !full && unusual.includes(family) ? ['linear'] : forms;

describe.each(families)('linear, %s', (name, family) => {
  test.each(formsOf(family))(
    '%s: every weight storage, with rows and columns that do not fill a tile',
    async (form) => {
      // A software adapter takes seconds to compile a variant, so each storage is tested with one shape there. The full
      // tier tests all shapes of kernels without barriers; outside of it, kernels with barriers get one storage.
      const all = !gpu.software || (full && family.software);
      const storages = storagesOf(gpu);
      for (const [turn, storage] of storages.entries()) {
        if (gpu.software && !full && !family.software && turn < storages.length - 1) continue;
        for (const [inFeatures, outFeatures] of all
          ? shapes
          : [shapes[(turn + forms.indexOf(form)) % shapes.length]!]) {
          const layer = randomLayer(form, inFeatures, outFeatures, storage);
          for (const [batch, numTokens] of rowCounts) {
            const rows = batch * numTokens;
            const x = new Random(rows).uniform(rows * inFeatures);
            const residual = new Random(rows + 1).uniform(
              (rows * layer.outFeatures) / (form === 'linearSwiglu' ? 2 : 1),
            );
            const found = await run(layer, storage, family, batch, numTokens, x, residual);
            const tolerance =
              form === 'linearGelu'
                ? GELU(inFeatures)
                : form === 'linearSwiglu'
                  ? SWIGLU(inFeatures)
                  : LINEAR(inFeatures);
            const where = `${name}.${form}, ${storage}, ${rows} × ${inFeatures} · ${outFeatures}`;
            worst.note(
              `${name}.${form} ${storage}`,
              expectClose(where, found, twin(layer, rows, x, residual), tolerance),
              tolerance,
            );
          }
        }
      }
    },
  );

  test('an image alone and in a batch of 3 gives the same bits', async () => {
    const form = formsOf(family).at(-1)!;
    const turn = storagesOf(gpu).length - 1;
    const storage = storagesOf(gpu)[turn]!;
    const [inFeatures, outFeatures] = shapes[(turn + forms.indexOf(form)) % shapes.length]!; // compiled by the test above
    const layer = randomLayer(form, inFeatures, outFeatures, storage);
    const numTokens = 13;
    const x = new Random(1).uniform(3 * numTokens * inFeatures);
    const residual = new Random(2).uniform(3 * numTokens * outFeatures);
    const together = bitsOf(await run(layer, storage, family, 3, numTokens, x, residual));
    for (let image = 0; image < 3; image++) {
      const rows = (values: Float32Array<ArrayBuffer>, columns: number): Float32Array<ArrayBuffer> =>
        values.slice(image * numTokens * columns, (image + 1) * numTokens * columns);
      const alone = bitsOf(
        await run(layer, storage, family, 1, numTokens, rows(x, inFeatures), rows(residual, outFeatures)),
      );
      expect(alone).toEqual(together.slice(image * alone.length, (image + 1) * alone.length));
    }
  });
});

test('535 and 1024 rows', async () => {
  const [inFeatures, outFeatures] = shapes[1];
  const layer = randomLayer('linear', inFeatures, outFeatures, 'f16-packed');
  for (const [name, family] of full ? families : families.slice(0, familiesOf(gpu).length)) {
    for (const rows of [535, 1024]) {
      const x = new Random(rows).uniform(rows * inFeatures);
      const found = await run(layer, 'f16-packed', family, 1, rows, x);
      expectClose(`${rows} rows, ${name}`, found, twin(layer, rows, x), LINEAR(inFeatures));
    }
  }
});

// The input size selects the tile, and the adapter selects how f16 weights are staged, so the bits must be the same.
const compared = forms.filter(
  (form) => storagesOf(gpu).includes('f16') || unusual.some((family) => formsOf(family).includes(form)),
);
test.each(compared)(
  '%s: the same bits from every tile, and for f16 weights staged as f32 or as f16',
  async (form) => {
    const turn = storagesOf(gpu).length - 1;
    const storage = storagesOf(gpu)[turn]!; // f16 if the adapter supports it
    const [inFeatures, outFeatures] = shapes[(turn + forms.indexOf(form)) % shapes.length]!; // compiled by the tests above
    const layer = randomLayer(form, inFeatures, outFeatures, storage);
    const tiles = [...(withTall ? [tall] : []), widest, narrow, small];
    const others = tiles.filter((family) => formsOf(family).includes(form));
    if (storage === 'f16')
      others.push(...[tiled, ...tiles].map((family) => ({ ...family, operands: 'f16' as const })));
    // With 75 rows the remainder fills a tile of every kernel. 97 rows half fill a 64-row tile, and leave one row after
    // the 32-row tiles. 69 rows leave five rows after the tiles of most kernels, and 133 rows after those of every kernel.
    for (const rows of [75, 97, 69, 133]) {
      const x = new Random(rows).uniform(rows * inFeatures);
      const residual = new Random(rows + 1).uniform((rows * outFeatures) / (form === 'linearSwiglu' ? 2 : 1));
      const bits = bitsOf(await run(layer, storage, tiled, 1, rows, x, residual));
      for (const other of others)
        expect(bitsOf(await run(layer, storage, other, 1, rows, x, residual)), `${rows} rows`).toEqual(bits);
    }
  },
);

// The weight is the identity matrix, so the kernel returns gelu(x) or silu(x).
test.each(['linearGelu', 'linearSwiglu'] as const)(
  '%s: the activation function, from -10 to 10 and far beyond',
  async (form) => {
    const far = [
      -1e6, -1e4, -100, -88, -87, -20, -5.6, -1e-3, -1e-30, 0, 1e-30, 1e-3, 5.6, 20, 87, 88, 100, 1e4, 3e38,
    ].map(Math.fround);
    const near = Float32Array.from(
      { length: 40_000 - far.length },
      (_, i) => ((i % 2 === 0 ? i : -i) / 40_000) * 10,
    );
    const x = new Float32Array([...far, ...near]);
    const rows = x.length / 4;
    const outFeatures = form === 'linearGelu' ? 4 : 8;
    const identity = new Float32Array(outFeatures * 4);
    for (let i = 0; i < 4; i++) identity[i * 4 + i] = 1;
    const bias = new Float32Array(outFeatures).fill(1, 4); // SwiGLU: up is 1
    const layer: Layer = {
      form,
      inFeatures: 4,
      outFeatures,
      weight: packWeight(outFeatures, 4, identity, 'f32'),
      bias,
      gamma: bias,
    };

    const found = await run(layer, 'f32', { ...familiesOf(gpu).at(-1)![1], alternative: 0 }, 1, rows, x);
    const f = form === 'linearGelu' ? gelu : silu;
    const expected = Float64Array.from(x, f);
    worst.note(
      `${form === 'linearGelu' ? 'gelu' : 'silu'} alone`,
      expectClose(form, found.slice(far.length), expected.slice(far.length), ACTIVATION),
      ACTIVATION,
    );
    for (let i = 0; i < far.length; i++) {
      const error = Math.abs(found[i]! - expected[i]!);
      const allowed =
        Math.abs(x[i]!) > 10 ? Math.max(FAR_BELOW, 4 * ROUNDING * Math.abs(expected[i]!)) : ACTIVATION.maxAbs;
      expect(error, `${form}(${x[i]}) is ${expected[i]}, found ${found[i]}`).toBeLessThanOrEqual(allowed);
    }
  },
);

function nodeFor({ form, inFeatures, outFeatures }: Layer, rows: number): Node {
  return nodeOf((graph) => {
    const x = graph.input('x', [rows, inFeatures]);
    const weight = graph.weight('weight', [outFeatures, inFeatures]);
    const bias = graph.weight('bias', [outFeatures]);
    if (form !== 'linearScaleResidual') return graph[form]('node', x, weight, bias);
    return graph[form](
      'node',
      x,
      weight,
      bias,
      graph.weight('gamma', [outFeatures]),
      graph.input('residual', [rows, outFeatures]),
    );
  });
}

function run(
  layer: Layer,
  storage: WeightStorage,
  { alternative, ...target }: Family,
  batch: number,
  numTokens: number,
  x: Float32Array<ArrayBuffer>,
  residual: Float32Array<ArrayBuffer> = new Float32Array(0),
): Promise<Float32Array<ArrayBuffer>> {
  const { weight, bias, gamma } = layer;
  return runNode(gpu, nodeFor(layer, batch * numTokens), {
    target: { ...target, weights: storage },
    alternative,
    size: tokenRows(batch, numTokens),
    data: { x, weight: weight.packed, bias, gamma, residual },
  });
}

function twin(
  { form, inFeatures, outFeatures, weight, bias, gamma }: Layer,
  rows: number,
  x: Float32Array,
  residual = new Float32Array(0),
): Float64Array {
  return twins[form]({ rows, inFeatures, outFeatures }, x, weight.values, bias, gamma, residual);
}

/** Random weights of the size of a linear layer's. Every seventh is so small that it is subnormal in f16. */
function randomLayer(form: Form, inFeatures: number, outFeatures: number, storage: WeightStorage): Layer {
  const random = new Random(inFeatures * 7 + outFeatures);
  const spread = form === 'linearGelu' || form === 'linearSwiglu' ? SPREAD : 1;
  const weight = random.uniform(outFeatures * inFeatures, spread * Math.sqrt(3 / inFeatures));
  for (let i = 0; i < weight.length; i += 7) weight[i]! *= 1e-4;
  return {
    form,
    inFeatures,
    outFeatures,
    weight: packWeight(outFeatures, inFeatures, weight, storage),
    bias: random.uniform(outFeatures, 0.2),
    gamma: random.uniform(outFeatures),
  };
}
